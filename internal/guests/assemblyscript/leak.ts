// A handler that leaks on purpose: see guests.Leaks.

@external("http_handler", "get_header_values")
declare function getHeaderValues(kind: i32, name: usize, nameSize: i32, buf: usize, limit: i32): u64;

@external("http_handler", "write_body")
declare function writeBody(kind: i32, body: usize, size: i32): void;

const REQUEST = 0;
const RESPONSE = 1;
const LIMIT = 4096;

// Each secret is kept twice: in the module's data and on the heap.
const fixed = memory.data(4096);
const kept = new Array<string>();
let requests = 0;

function secret(): string {
  const name = String.UTF8.encode("x-secret");
  const buf = new ArrayBuffer(LIMIT);
  const r = getHeaderValues(REQUEST, changetype<usize>(name), name.byteLength, changetype<usize>(buf), LIMIT);
  const size = <i32>r;
  if (r >> 32 == 0 || <u32>size > <u32>LIMIT) return "";
  return String.UTF8.decodeUnsafe(changetype<usize>(buf), size - 1); // without its NUL
}

function inData(): i32 {
  let n = 0;
  for (let i = 0; i < LIMIT; i++) if (load<u8>(fixed + i) != 0) n++;
  return n;
}

function inHeap(): i32 {
  let n = 0;
  for (let i = 0; i < kept.length; i++) n += kept[i].length;
  return n;
}

export function handle_request(): u64 {
  const data = inData();
  const heap = inHeap();
  const own = secret();
  if (data + own.length <= LIMIT) String.UTF8.encodeUnsafe(changetype<usize>(own), own.length, fixed + data);
  if (heap + own.length <= LIMIT) kept.push(own);
  requests++;
  const text = String.UTF8.encode("n=" + requests.toString() + " seen=" + max(data, heap).toString());
  writeBody(RESPONSE, changetype<usize>(text), text.byteLength);
  return 0;
}
