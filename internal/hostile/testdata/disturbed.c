// A handler that leaves behind what it can, and then does what the path says.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HOST(name) __attribute__((import_module("http_handler"), import_name(#name)))
HOST(get_uri) uint32_t get_uri(void *, uint32_t);
HOST(get_header_values) uint64_t get_header_values(uint32_t, const void *, uint32_t, void *, uint32_t);
HOST(write_body) void write_body(uint32_t, const void *, uint32_t);
HOST(log) void host_log(int32_t, const void *, uint32_t);

enum { REQUEST, RESPONSE, PAGE = 65536, MORE = 100 };
#define IS(s) (strcmp(uri, s) == 0)

static unsigned requests;
static char secret[256], scattered[2 << 20], *kept;

static unsigned seen(void) {
  unsigned n = kept != 0;
  for (unsigned i = 0; i < sizeof secret; i++) n += secret[i] != 0;
  for (unsigned i = 0; i < sizeof scattered; i += 4096) n += scattered[i] != 0;
  return n;
}

static char *grow(void) {
  size_t at = __builtin_wasm_memory_grow(0, MORE);
  return at == (size_t)-1 ? 0 : (char *)(at * PAGE);
}

// deep goes far down the stack, past what every instance has.
static int deep(volatile int *n) {
  volatile char frame[64];
  frame[*n & 63] = 1;
  if (++*n == 4000) return frame[0];
  return deep(n) + frame[1];
}

static unsigned act(const char *uri) {
  char *more;
  if (IS("/trap")) __builtin_trap();
  if (IS("/loop")) for (volatile int i = 0;; i++) {}
  if (IS("/log")) host_log(0, secret, strlen(secret));
  if (IS("/deep")) {
    volatile int n = 0;
    deep(&n);
  }
  if ((IS("/grow") || IS("/grow-trap")) && (more = grow())) {
    memset(more, 0xaa, MORE * PAGE);
    if (IS("/grow-trap")) __builtin_trap();
  }
  unsigned n = 0;
  if (IS("/regrow") && (more = grow()))
    for (unsigned i = 0; i < MORE * PAGE; i++) n += more[i] != 0;
  return n;
}

__attribute__((export_name("handle_request"))) uint64_t handle_request(void) {
  char uri[64] = {0}, answer[64];
  unsigned before = seen(), pages = __builtin_wasm_memory_size(0);
  get_uri(uri, sizeof uri - 1);
  get_header_values(REQUEST, "x-secret", 8, secret, sizeof secret);
  for (unsigned i = 0; i < sizeof scattered; i += 4096 * 5) scattered[i] = 1;
  kept = malloc(100000);
  memcpy(kept, secret, sizeof secret);
  requests++;
  before += act(uri);
  write_body(RESPONSE, answer, snprintf(answer, sizeof answer, "n=%u seen=%u pages=%u", requests, before, pages));
  return 0;
}
