// An http-wasm handler whose initialisation fails as the variable HOW says.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

__attribute__((import_module("http_handler"), import_name("get_status_code"))) uint32_t get_status_code(void);

__attribute__((constructor)) static void start(void) {
  const char *how = getenv("HOW");
  if (!how) return;
  if (!strcmp(how, "trap")) {
    fprintf(stderr, "giving up\n");
    __builtin_trap();
  }
  if (!strcmp(how, "exit")) exit(3);
  if (!strcmp(how, "loop"))
    for (volatile int i = 0;; i++) {}
  if (!strcmp(how, "ask")) get_status_code();
}

__attribute__((export_name("handle_request"))) uint64_t handle_request(void) { return 0; }
