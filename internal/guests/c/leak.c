// A handler that leaks on purpose: see guests.Leaks.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HOST(name) __attribute__((import_module("http_handler"), import_name(#name)))
HOST(get_header_values) uint64_t get_header_values(uint32_t, const void *, uint32_t, void *, uint32_t);
HOST(write_body) void write_body(uint32_t, const void *, uint32_t);

enum { REQUEST, RESPONSE, LIMIT = 4096 };

// Each secret is kept twice: in the module's data and on the heap.
struct secret { struct secret *before; uint32_t size; char text[]; };
static struct secret *kept;
static char fixed[LIMIT];
static unsigned requests;

static uint32_t in_data(void) {
  uint32_t n = 0;
  for (int i = 0; i < LIMIT; i++) n += fixed[i] != 0;
  return n;
}

static uint32_t in_heap(void) {
  uint32_t n = 0;
  for (struct secret *s = kept; s; s = s->before) n += s->size;
  return n;
}

static void keep(const char *text, uint32_t size, uint32_t data, uint32_t heap) {
  if (size <= LIMIT - data) memcpy(fixed + data, text, size);
  struct secret *s = heap + size <= LIMIT ? malloc(sizeof *s + size) : 0;
  if (!s) return;
  s->before = kept;
  s->size = size;
  memcpy(s->text, text, size);
  kept = s;
}

__attribute__((export_name("handle_request"))) uint64_t handle_request(void) {
  char secret[LIMIT], answer[64];
  uint32_t data = in_data(), heap = in_heap();
  uint64_t r = get_header_values(REQUEST, "x-secret", 8, secret, sizeof secret);
  uint32_t size = (uint32_t)r;
  if (r >> 32 && size <= sizeof secret) keep(secret, size - 1, data, heap); // without its NUL
  int n = snprintf(answer, sizeof answer, "n=%u seen=%u", ++requests, data > heap ? data : heap);
  write_body(RESPONSE, answer, n);
  return 0;
}
