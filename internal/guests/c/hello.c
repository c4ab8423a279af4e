// A handler that answers "hello": see guests.Hellos.
#include <stdint.h>

#define HOST(name) __attribute__((import_module("http_handler"), import_name(#name)))
HOST(set_header_value) void set_header_value(uint32_t, const void *, uint32_t, const void *, uint32_t);
HOST(write_body) void write_body(uint32_t, const void *, uint32_t);

enum { RESPONSE = 1 };

static volatile uint32_t serial;

__attribute__((export_name("handle_request"))) uint64_t handle_request(void) {
#ifdef SERIAL
  serial = SERIAL; // makes a module like no other
#else
  serial++; // a handler that writes nothing would need no clean memory
#endif
  set_header_value(RESPONSE, "content-type", 12, "text/plain", 10);
  write_body(RESPONSE, "hello", 5);
  return 0;
}
