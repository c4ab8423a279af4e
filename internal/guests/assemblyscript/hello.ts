// A handler that answers "hello": see guests.Hellos.

@external("http_handler", "set_header_value")
declare function setHeaderValue(kind: i32, name: usize, nameSize: i32, value: usize, valueSize: i32): void;

@external("http_handler", "write_body")
declare function writeBody(kind: i32, body: usize, size: i32): void;

const RESPONSE = 1;

export function handle_request(): u64 {
  const name = String.UTF8.encode("content-type");
  const value = String.UTF8.encode("text/plain");
  const body = String.UTF8.encode("hello");
  setHeaderValue(RESPONSE, changetype<usize>(name), name.byteLength, changetype<usize>(value), value.byteLength);
  writeBody(RESPONSE, changetype<usize>(body), body.byteLength);
  return 0;
}
