// Imports the http-wasm ABI without exporting a handler.
#include <stdint.h>
__attribute__((import_module("http_handler"), import_name("set_status_code"))) void set_status_code(uint32_t);
int main(void) { set_status_code(200); }
