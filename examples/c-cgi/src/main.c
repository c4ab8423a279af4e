// A function in C: a CGI program, as it could have been written in 1995. The request comes
// in environment variables and on standard input; the answer goes to standard output.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *env(const char *name) {
  const char *value = getenv(name);
  return value ? value : "";
}

// put_text writes s so that HTML shows it as it is.
static void put_text(const char *s) {
  for (; *s; s++) switch (*s) {
      case '<': fputs("&lt;", stdout); break;
      case '>': fputs("&gt;", stdout); break;
      case '&': fputs("&amp;", stdout); break;
      case '"': fputs("&quot;", stdout); break;
      default: putchar(*s);
    }
}

static void page(void) {
  puts("Content-Type: text/html; charset=utf-8\n");
  printf("<!doctype html><title>C</title><h1>%s</h1>", env("GREETING"));
  printf("<p>You asked for <code>");
  put_text(env("PATH_INFO"));
  printf("</code>, with the query <code>");
  put_text(env("QUERY_STRING"));
  puts("</code>.</p>");
}

// count reads the body and tells how many lines and bytes it has.
static void count(void) {
  char buf[4096];
  size_t n, bytes = 0, lines = 0;
  while ((n = fread(buf, 1, sizeof buf, stdin)) > 0) {
    bytes += n;
    for (size_t i = 0; i < n; i++) lines += buf[i] == '\n';
  }
  printf("Content-Type: application/json\n\n{\"bytes\": %zu, \"lines\": %zu}\n", bytes, lines);
}

int main(void) {
  if (!strcmp(env("PATH_INFO"), "/count")) {
    if (strcmp(env("REQUEST_METHOD"), "POST"))
      puts("Status: 405 Method Not Allowed\nAllow: POST\nContent-Type: text/plain\n\nsend what is to be counted");
    else
      count();
  } else if (!strcmp(env("PATH_INFO"), "/old")) {
    puts("Location: /new\n");
  } else {
    fprintf(stderr, "page for %s\n", env("REMOTE_ADDR")); // goes to the app's log
    page();
  }
  return 0;
}
