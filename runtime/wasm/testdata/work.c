// Work for guests in C: each kind computes for a while and returns a checksum.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static uint32_t rotr(uint32_t x, int n) { return x >> n | x << (32 - n); }

static uint32_t k[64], state[8];

static void sha_block(const uint8_t *p) {
	uint32_t w[64], s[8];
	for (int i = 0; i < 16; i++)
		w[i] = (uint32_t)p[4 * i] << 24 | p[4 * i + 1] << 16 | p[4 * i + 2] << 8 | p[4 * i + 3];
	for (int i = 16; i < 64; i++)
		w[i] = w[i - 16] + (rotr(w[i - 15], 7) ^ rotr(w[i - 15], 18) ^ w[i - 15] >> 3) + w[i - 7] +
		       (rotr(w[i - 2], 17) ^ rotr(w[i - 2], 19) ^ w[i - 2] >> 10);
	memcpy(s, state, sizeof s);
	for (int i = 0; i < 64; i++) {
		uint32_t t1 = s[7] + (rotr(s[4], 6) ^ rotr(s[4], 11) ^ rotr(s[4], 25)) + ((s[4] & s[5]) ^ (~s[4] & s[6])) + k[i] + w[i];
		uint32_t t2 = (rotr(s[0], 2) ^ rotr(s[0], 13) ^ rotr(s[0], 22)) + ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
		memmove(s + 1, s, 7 * sizeof *s);
		s[4] += t1;
		s[0] = t1 + t2;
	}
	for (int i = 0; i < 8; i++) state[i] += s[i];
}

static int64_t sha(int n) {
	static uint8_t b[4096];
	for (int i = 0; i < 64; i++) k[i] = i * 2654435761u;
	for (int i = 0; i < n; i++)
		for (int j = 0; j < 64; j++) sha_block(b + 64 * j);
	return state[0];
}

static int less(const void *a, const void *b) {
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return x < y ? -1 : x > y;
}

static int64_t sort(int n) {
	static uint32_t xs[5000];
	int64_t sum = 0;
	for (int i = 0; i < n; i++) {
		uint32_t x = i + 1;
		for (int j = 0; j < 5000; j++) xs[j] = x = x * 1664525 + 1013904223;
		qsort(xs, 5000, sizeof *xs, less);
		sum += xs[100];
	}
	return sum;
}

__attribute__((noinline)) static int fib(int n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }

// A machine of 32 instructions, as an interpreter's main loop.
static int64_t dispatch(int n) {
	static uint8_t program[1024];
	int64_t a = 1, b = 2, c = 3;
	for (int i = 0; i < 1024; i++) program[i] = (uint8_t)(i * 37 + i / 7) & 31;
	for (int i = 0; i < n; i++)
		for (int pc = 0; pc < 1024; pc++)
			switch (program[pc]) {
			case 0: a += b; break;
			case 1: b ^= c; break;
			case 2: c -= a; break;
			case 3: a = a * 3 + 1; break;
			case 4: b = b >> 1 | c << 3; break;
			case 5: c = c + pc; break;
			case 6: a ^= a >> 7; break;
			case 7: b += 0x9e3779b9; break;
			case 8: c = a - b; break;
			case 9: a = b & c; break;
			case 10: b |= a; break;
			case 11: c = -c; break;
			case 12: if (a > b) c++; break;
			case 13: a = c * b; break;
			case 14: b = b * 5; break;
			case 15: c ^= 0x55; break;
			case 16: a -= 7; break;
			case 17: b = a + c; break;
			case 18: c = c * c; break;
			case 19: a = a << 1; break;
			case 20: b = b << 2; break;
			case 21: c = c >> 3; break;
			case 22: if (c < 0) a--; break;
			case 23: a += 11; break;
			case 24: b += 12; break;
			case 25: c += 13; break;
			case 26: a ^= b; break;
			case 27: b ^= a; break;
			case 28: a ^= b; break;
			case 29: c += a & 3; break;
			case 30: c ^= b & 5; break;
			default: program[pc & 7] ^= (a ^ b) & 1; break;
			}
	return a ^ b ^ c;
}

static volatile int zero;

__attribute__((noinline)) static int64_t loop(int n) {
	int64_t sum = zero;
	for (int64_t i = 0; i < n; i++) sum += i ^ sum >> 3;
	return sum;
}

// Escapes quotes into a buffer and parses numbers back: short loops and branches.
static int64_t text(int n) {
	static char in[4096], out[8192];
	int64_t sum = 0;
	for (int i = 0; i < 4096; i++) in[i] = "{\"id\": 12345, \"n\": [1,2,3], \"s\":\"a\\b\"}"[i % 40];
	for (int i = 0; i < n; i++) {
		char *o = out;
		for (int j = 0; j < 4096; j++) {
			if (in[j] == '"' || in[j] == '\\') *o++ = '\\';
			*o++ = in[j];
		}
		for (char *p = out; p < o; p++)
			if (*p >= '0' && *p <= '9') sum += strtol(p, &p, 10);
	}
	return sum;
}

__attribute__((export_name("run"))) int64_t run(int kind, int n) {
	switch (kind) {
	case 0: return sha(n);
	case 1: return text(n);
	case 2: return sort(n);
	case 3: return fib(n);
	case 4: return loop(n);
	default: return dispatch(n);
	}
}
