// A CGI program that does what its PATH_INFO says, for the tests of the CGI host.
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static int counter; // global: a clean instance sees 0

static void head(const char *type) { printf("Content-Type: %s\r\n\r\n", type); }

// recurse defeats the optimiser, so that every call is one.
static int recurse(volatile int *depth) {
  if (++*depth < 0) return 0;
  volatile char frame[256];
  frame[*depth & 255] = 1;
  return recurse(depth) + frame[0];
}

static int env_dump(int argc, char **argv) {
  head("text/plain");
  for (int i = 0; i < argc; i++) printf("argv[%d]=%s\n", i, argv[i]);
  for (char **e = environ; *e; e++) printf("%s\n", *e);
  return 0;
}

// echo answers each piece of the body as it comes.
static int echo(void) {
  setvbuf(stdout, NULL, _IONBF, 0);
  head("application/octet-stream");
  char buf[4096];
  ssize_t n;
  while ((n = read(0, buf, sizeof buf)) > 0) fwrite(buf, 1, n, stdout);
  return n < 0;
}

static int grow(long mib) {
  long got = 0;
  while (got < mib) {
    char *volatile p = malloc(1 << 20);
    if (!p) break;
    memset(p, 1, 1 << 20);
    got++;
  }
  head("text/plain");
  printf("%ld\n", got);
  return 0;
}

static int cat(const char *path) {
  FILE *f = fopen(path, "r");
  if (!f) {
    printf("Status: 404 Not Found\n\n");
    return 0;
  }
  head("text/plain");
  int c;
  while ((c = fgetc(f)) != EOF) putchar(c);
  fclose(f);
  return 0;
}

static int list(const char *path) {
  DIR *d = opendir(path);
  if (!d) {
    printf("Status: 404 Not Found\n\n");
    return 0;
  }
  head("text/plain");
  for (struct dirent *e; (e = readdir(d));)
    if (e->d_name[0] != '.') printf("%s\n", e->d_name);
  closedir(d);
  return 0;
}

static int change(void) {
  head("text/plain");
  printf("create %s\n", fopen("/new", "w") ? "done" : "refused");
  printf("write %s\n", fopen("/hello.txt", "r+") && fputs("x", fopen("/hello.txt", "r+")) >= 0 && fflush(NULL) == 0 ? "done" : "refused");
  printf("remove %s\n", unlink("/hello.txt") == 0 ? "done" : "refused");
  printf("outside %s\n", fopen("/../../etc/passwd", "r") || fopen("/etc/passwd", "r") ? "done" : "refused");
  return 0;
}

static int open_many(void) {
  int n = 0;
  while (n < 1000 && fopen("/hello.txt", "r")) n++;
  head("text/plain");
  printf("%d\n", n);
  return 0;
}

static int flood(void) {
  head("text/plain");
  char piece[1024];
  memset(piece, 'x', sizeof piece);
  for (;;)
    if (fwrite(piece, 1, sizeof piece, stdout) < sizeof piece) return 1;
}

static int print_lines(void) {
  for (int i = 0; i < 5000; i++) fprintf(stderr, "line %d\n", i);
  head("text/plain");
  return 0;
}

static int log_lines(void) {
  fprintf(stderr, "first\nsecond");
  fflush(stderr);
  fprintf(stderr, " half\r\n\nlast");
  head("text/plain");
  return 0;
}

int main(int argc, char **argv) {
  const char *p = getenv("PATH_INFO"), *q = getenv("QUERY_STRING");
  if (!p) p = "";
  if (!q) q = "";
#define IS(s) (strcmp(p, s) == 0)
  if (IS("/env")) return env_dump(argc, argv);
  if (IS("/echo")) return echo();
  if (IS("/count")) {
    head("text/plain");
    printf("%d\n", ++counter);
    return 0;
  }
  if (IS("/raw")) { // the body is the whole output
    char buf[4096];
    size_t n;
    setvbuf(stdout, NULL, _IONBF, 0);
    while ((n = fread(buf, 1, sizeof buf, stdin)) > 0) fwrite(buf, 1, n, stdout);
    return 0;
  }
  if (IS("/head-length")) {
    printf("Content-Type: text/plain\nContent-Length: 1234\n\n");
    return 0;
  }
  if (IS("/bytewise")) {
    setvbuf(stdout, NULL, _IONBF, 0);
    for (const char *s = "Status: 201\r\nContent-Type: text/plain\r\n\r\nbody"; *s; s++) putchar(*s);
    return 0;
  }
  if (IS("/endless-head"))
    for (;;) printf("X-Filler: ..............................................\n");
  if (IS("/loop"))
    for (volatile int i = 0;; i++) {}
  if (IS("/recurse")) {
    volatile int depth = 0;
    return recurse(&depth);
  }
  if (IS("/sleep")) {
    sleep(3600);
    return 0;
  }
  if (IS("/trap")) __builtin_trap();
  if (IS("/late-trap")) {
    head("text/plain");
    printf("begun");
    fflush(stdout);
    __builtin_trap();
  }
  if (IS("/late-loop")) {
    head("text/plain");
    printf("begun");
    fflush(stdout);
    for (volatile int i = 0;; i++) {}
  }
  if (IS("/exit")) exit(atoi(q));
  if (IS("/late-exit")) {
    head("text/plain");
    printf("done");
    exit(atoi(q));
  }
  if (IS("/grow")) return grow(atol(q));
  if (IS("/cat")) return cat(q);
  if (IS("/ls")) return list(q);
  if (IS("/change")) return change();
  if (IS("/open-many")) return open_many();
  if (IS("/flood")) return flood();
  if (IS("/log")) return log_lines();
  if (IS("/log-many")) return print_lines();
  if (IS("/close-stdin")) {
    close(0);
    head("text/plain");
    printf("ok");
    return 0;
  }
  if (IS("/read-all")) {
    char buf[4096];
    long total = 0;
    ssize_t n;
    while ((n = read(0, buf, sizeof buf)) > 0) total += n;
    head("text/plain");
    printf("%ld\n", total);
    return 0;
  }
  if (IS("/random")) {
    uint32_t r = 0;
    getentropy(&r, sizeof r);
    head("text/plain");
    printf("%u %ld\n", r, (long)time(NULL));
    return 0;
  }
  head("text/plain");
  printf("hello from C\n");
  return 0;
}
