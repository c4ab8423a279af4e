// An http-wasm handler that stands in front of others: it hands on what is not under
// /deny, and leaves its configuration in a header field of the request and one of the
// response.
#include <stdint.h>
#include <string.h>

#define HOST(name) __attribute__((import_module("http_handler"), import_name(#name)))
HOST(enable_features) uint32_t enable_features(uint32_t);
HOST(get_config) uint32_t get_config(void *, uint32_t);
HOST(get_uri) uint32_t get_uri(void *, uint32_t);
HOST(set_uri) void set_uri(const void *, uint32_t);
HOST(get_header_values) uint64_t get_header_values(uint32_t, const void *, uint32_t, void *, uint32_t);
HOST(add_header_value) void add_header_value(uint32_t, const void *, uint32_t, const void *, uint32_t);
HOST(write_body) void write_body(uint32_t, const void *, uint32_t);
HOST(set_status_code) void set_status_code(uint32_t);

#define EXPORT(name) __attribute__((export_name(#name)))
#define S(s) s, sizeof(s) - 1
enum { REQUEST, RESPONSE, BUFFER_RESPONSE = 2 };

static char name[256], text[1024];

EXPORT(handle_request) uint64_t handle_request(void) {
  uint32_t n = get_uri(text, sizeof text);
  if (n >= 5 && memcmp(text, "/deny", 5) == 0) {
    set_status_code(403);
    write_body(RESPONSE, S("denied"));
    return 0;
  }
  uint64_t to = get_header_values(REQUEST, S("X-To"), text, sizeof text);
  if (to >> 32) set_uri(text, (uint32_t)to - 1); // without the NUL
  add_header_value(REQUEST, S("X-Seen"), name, get_config(name, sizeof name));
  enable_features(BUFFER_RESPONSE);
  return 1;
}

EXPORT(handle_response) void handle_response(uint32_t ctx, uint32_t failed) {
  add_header_value(RESPONSE, S("X-Passed"), name, get_config(name, sizeof name));
}
