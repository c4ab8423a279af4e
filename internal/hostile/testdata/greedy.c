// A handler that has the host do the work: few calls, each of which is long.
#include <stdint.h>
#include <string.h>

#define IMPORT(module, name) __attribute__((import_module(module), import_name(#name)))
#define HTTP(name) IMPORT("http_handler", name)
#define WASI(name) IMPORT("wasi_snapshot_preview1", name)
HTTP(get_uri) uint32_t get_uri(void *, uint32_t);
HTTP(get_header_names) uint64_t get_header_names(uint32_t, void *, uint32_t);
HTTP(write_body) void write_body(uint32_t, const void *, uint32_t);
WASI(random_get) uint32_t random_bytes(void *, uint32_t);
WASI(poll_oneoff) uint32_t poll_events(const void *, void *, uint32_t, void *);
WASI(fd_write) uint32_t write_all(uint32_t, const void *, uint32_t, uint32_t *);

enum { RESPONSE = 1, SIZE = 48 << 20, PIECES = 1 << 20, EVENTS = SIZE / 48 };

static char large[SIZE];
static struct { const void *p; uint32_t size; } pieces[PIECES];
static uint32_t count;

// subscribe fills the memory with subscriptions of one type: 0 is a clock, 1 is reading
// from descriptor 0.
static void subscribe(char type) {
  for (int i = 0; i < EVENTS; i++) large[48 * i + 8] = type;
}

__attribute__((export_name("handle_request"))) uint64_t handle_request(void) {
  char uri[64] = {0};
  get_uri(uri, sizeof uri - 1);
#define IS(s) (strcmp(uri, s) == 0)
  if (IS("/hog")) {
    while (__builtin_wasm_memory_grow(0, 1) != -1) {
    }
    for (volatile int i = 0;; i++) {
    }
  }
  if (IS("/random")) for (;;) random_bytes(large, SIZE);
  if (IS("/names")) for (;;) get_header_names(0, large, SIZE);
  if (IS("/body")) for (;;) write_body(RESPONSE, large, SIZE);
  if (IS("/clocks") || IS("/inputs"))
    for (;;) {
      subscribe(IS("/inputs"));
      poll_events(large, large, EVENTS, &count);
    }
  memset(large, '\n', SIZE);
  if (IS("/lines")) for (;;) {
    pieces[0].p = large;
    pieces[0].size = SIZE;
    write_all(2, pieces, 1, &count);
  }
  for (int i = 0; i < PIECES; i++) {
    pieces[i].p = large;
    pieces[i].size = SIZE;
  }
  if (IS("/pieces")) for (;;) write_all(2, pieces, PIECES, &count);
  return 0;
}
