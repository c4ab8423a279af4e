// An http-wasm handler that does what the request's path says, for the tests of the
// host side of the ABI. It uses the host functions raw.
#include <stdint.h>
#include <string.h>

#define HOST(name) __attribute__((import_module("http_handler"), import_name(#name)))
HOST(enable_features) uint32_t enable_features(uint32_t);
HOST(get_config) uint32_t get_config(void *, uint32_t);
HOST(log) void host_log(int32_t, const void *, uint32_t);
HOST(log_enabled) uint32_t log_enabled(int32_t);
HOST(get_method) uint32_t get_method(void *, uint32_t);
HOST(set_method) void set_method(const void *, uint32_t);
HOST(get_uri) uint32_t get_uri(void *, uint32_t);
HOST(set_uri) void set_uri(const void *, uint32_t);
HOST(get_protocol_version) uint32_t get_protocol_version(void *, uint32_t);
HOST(get_source_addr) uint32_t get_source_addr(void *, uint32_t);
HOST(get_header_names) uint64_t get_header_names(uint32_t, void *, uint32_t);
HOST(get_header_values) uint64_t get_header_values(uint32_t, const void *, uint32_t, void *, uint32_t);
HOST(set_header_value) void set_header_value(uint32_t, const void *, uint32_t, const void *, uint32_t);
HOST(add_header_value) void add_header_value(uint32_t, const void *, uint32_t, const void *, uint32_t);
HOST(remove_header) void remove_header(uint32_t, const void *, uint32_t);
HOST(read_body) uint64_t read_body(uint32_t, void *, uint32_t);
HOST(write_body) void write_body(uint32_t, const void *, uint32_t);
HOST(get_status_code) uint32_t get_status_code(void);
HOST(set_status_code) void set_status_code(uint32_t);

#define EXPORT(name) __attribute__((export_name(#name)))
#define S(s) s, sizeof(s) - 1
#define IS(s) (strcmp(uri, s) == 0)
enum { REQUEST, RESPONSE, REQUEST_TRAILERS, RESPONSE_TRAILERS };

static char buf[65536], uri[4096];
static int counter;

static void say(const char *s) { write_body(RESPONSE, s, strlen(s)); }

static void say_number(uint32_t n) {
  char digits[12], *p = digits + 11;
  *p = 0;
  do *--p = '0' + n % 10; while (n /= 10);
  say(p);
}

// say_list writes NUL-terminated strings with bars between them.
static void say_list(uint64_t count_len) {
  say_number(count_len >> 32);
  for (uint32_t i = 0; i < (uint32_t)count_len; i++)
    if (!buf[i]) buf[i] = '|';
  say(":");
  write_body(RESPONSE, buf, (uint32_t)count_len);
}

static void pump(uint32_t kind) {
  for (;;) {
    uint64_t r = read_body(kind, buf, sizeof buf);
    if ((uint32_t)r) write_body(RESPONSE, buf, (uint32_t)r);
    if (r >> 32) return;
  }
}

// simple answers what needs one or two host functions.
static int simple(void) {
  if (IS("/hello")) {
    set_header_value(RESPONSE, S("content-type"), S("text/plain"));
    say("hello");
  } else if (IS("/count")) {
    say_number(++counter);
  } else if (IS("/nothing")) {
  } else if (IS("/meta")) {
    write_body(RESPONSE, buf, get_method(buf, sizeof buf));
    say(" ");
    write_body(RESPONSE, buf, get_uri(buf, sizeof buf));
    say(" ");
    write_body(RESPONSE, buf, get_protocol_version(buf, sizeof buf));
    say(" ");
    write_body(RESPONSE, buf, get_source_addr(buf, sizeof buf));
  } else if (IS("/names")) {
    say_list(get_header_names(REQUEST, buf, sizeof buf));
  } else if (IS("/values")) {
    say_list(get_header_values(REQUEST, S("X-Multi"), buf, sizeof buf));
  } else if (IS("/limit")) {
    memset(buf, '.', 4);
    uint64_t r = get_header_values(REQUEST, S("x-multi"), buf, 4); // too little room
    write_body(RESPONSE, buf, 4);
    say_number(r >> 32);
    say("/");
    say_number((uint32_t)r);
    say("/");
    say_number(get_method(0, 0));
  } else if (IS("/config")) {
    write_body(RESPONSE, buf, get_config(buf, sizeof buf));
  } else if (IS("/log")) {
    host_log(-1, S("debug"));
    host_log(0, S("info"));
    host_log(1, S("warn"));
    host_log(2, S("error"));
    host_log(3, S("none"));
    for (int l = -1; l < 4; l++) say_number(log_enabled(l));
  } else if (IS("/echo")) {
    pump(REQUEST);
  } else if (IS("/status")) {
    set_status_code(418);
    add_header_value(RESPONSE, S("X-A"), S("1"));
    add_header_value(RESPONSE, S("x-a"), S("2"));
    set_header_value(RESPONSE, S("X-B"), S("1"));
    set_header_value(RESPONSE, S("X-B"), S("2"));
    set_header_value(RESPONSE, S("X-C"), S("1"));
    remove_header(RESPONSE, S("x-c"));
    set_header_value(RESPONSE, S("Connection"), S("close"));
    set_header_value(RESPONSE, S("X-Request-Id"), S("forged"));
    say_list(get_header_names(RESPONSE, buf, sizeof buf));
  } else if (IS("/trailers")) {
    say_number(enable_features(4));
    pump(REQUEST);
    add_header_value(RESPONSE_TRAILERS, S("X-Sum"), S("42"));
    say_list(get_header_names(REQUEST_TRAILERS, buf, sizeof buf));
  } else if (IS("/env-free-response-body")) {
    say_number(read_body(RESPONSE, buf, 1) >> 32);
  } else {
    return 0;
  }
  return 1;
}

// fault breaks the ABI.
static int fault(void) {
  if (IS("/fault/pointer")) get_uri((void *)0xfffffff0u, 4096);
  else if (IS("/fault/write")) write_body(RESPONSE, (void *)0x7fffffffu, 0x7fffffffu);
  else if (IS("/fault/read-nothing")) read_body(REQUEST, buf, 0);
  else if (IS("/fault/status")) set_status_code(42);
  else if (IS("/fault/early-hints")) set_status_code(103);
  else if (IS("/fault/header-name")) set_header_value(RESPONSE, S("a b"), S("1"));
  else if (IS("/fault/header-value")) set_header_value(RESPONSE, S("A"), S("1\r\nB: 2"));
  else if (IS("/fault/header-kind")) set_header_value(7, S("A"), S("1"));
  else if (IS("/fault/body-kind")) write_body(7, S("A"));
  else if (IS("/fault/method")) set_method(S("GET /"));
  else if (IS("/fault/uri")) set_uri(S("http://other.example/"));
  else if (IS("/fault/trailer")) add_header_value(RESPONSE_TRAILERS, S("X-Sum"), S("42"));
  else if (IS("/fault/unreachable")) __builtin_trap();
  else if (IS("/fault/late-status")) { say("begun"); set_status_code(500); }
  else if (IS("/fault/late-trap")) { say("begun"); __builtin_trap(); }
  else if (IS("/fault/headers")) for (memset(buf, 120, 1024);;) add_header_value(RESPONSE, S("X-Filler"), buf, 1024);
  else if (IS("/loop")) for (volatile int i = 0;; i++) {}
  else if (IS("/flood")) for (;;) write_body(RESPONSE, buf, sizeof buf);
  else return 0;
  return 1;
}

EXPORT(handle_request) uint64_t handle_request(void) {
  memset(uri, 0, sizeof uri);
  get_uri(uri, sizeof uri - 1);
  if (simple() || fault()) return 0;
  if (IS("/next/plain")) return 1;
  if (IS("/next/ctx")) return (uint64_t)77 << 32 | 1;
  if (IS("/next/begun")) {
    say("begun");
    return 1;
  }
  if (IS("/next/change")) {
    set_method(S("PUT"));
    set_uri(S("/changed?x=1"));
    set_header_value(REQUEST, S("X-Added"), S("yes"));
    remove_header(REQUEST, S("X-Multi"));
    set_header_value(REQUEST, S("Host"), S("inner.example"));
    write_body(REQUEST, S("new "));
    write_body(REQUEST, S("body"));
    return 1;
  }
  if (IS("/next/peek") || IS("/next/consume")) {
    if (IS("/next/peek")) enable_features(1);
    read_body(REQUEST, buf, 4);
    return 1;
  }
  if (IS("/next/buffer") || IS("/next/overwrite") || IS("/next/panic")) {
    enable_features(2 | 4);
    return 1;
  }
  if (IS("/next/too-late") || IS("/next/see")) return 1;
  say("nowhere");
  return 0;
}

EXPORT(handle_response) void handle_response(uint32_t ctx, uint32_t failed) {
  if (IS("/next/ctx")) set_header_value(RESPONSE, S("X-Ctx"), S("seen")), set_status_code(ctx + 200);
  if (IS("/next/see")) {
    uint32_t status = get_status_code();
    host_log(0, status == 404 ? "404" : "???", 3);
  }
  if (IS("/next/too-late")) set_status_code(500);
  if (IS("/next/panic")) host_log(0, failed ? "failed" : "fine", failed ? 6 : 4);
  if (IS("/next/buffer")) {
    set_status_code(get_status_code() + 1);
    uint64_t r = read_body(RESPONSE, buf, sizeof buf);
    uint32_t n = (uint32_t)r;
    for (uint32_t i = 0; i < n; i++)
      if (buf[i] >= 'a' && buf[i] <= 'z') buf[i] -= 32;
    write_body(RESPONSE, buf, n);
    if (r >> 32) say("!");
    add_header_value(RESPONSE_TRAILERS, S("X-Guest"), S("1"));
  }
  if (IS("/next/overwrite")) say("mine");
}
