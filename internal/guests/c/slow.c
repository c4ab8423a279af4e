// A CGI program that computes before it asks for its request; with EAGER it also begins
// its answer before.
#include <stdio.h>
#include <stdlib.h>

int main(void) {
  for (volatile int i = 0; i < 1000000; i++) {
  }
#ifdef EAGER
  printf("Content-Type: text/plain\n\n");
  fflush(stdout);
#endif
  const char *method = getenv("REQUEST_METHOD");
#ifndef EAGER
  printf("Content-Type: text/plain\n\n");
#endif
  printf("%s", method);
  fflush(stdout);
  exit(0);
}
