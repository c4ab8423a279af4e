/* The key-value store of an app, for guests in C. A function may use the stores that
 * its table of orla.toml names: kv = ["sessions"].
 *
 * A negative result is one of the ORLA_KV_ codes. Stores are named by [a-z0-9_-], keys
 * are UTF-8 of 1 to 256 bytes, values have at most 1 MiB. A read sees the writes before
 * it, from whichever node they came.
 */
#ifndef ORLA_KV_H
#define ORLA_KV_H

#include <stddef.h>
#include <stdint.h>

enum {
	ORLA_KV_NOT_FOUND = -1,   /* there is no such key */
	ORLA_KV_CONFLICT = -2,    /* the key is not at the expected revision */
	ORLA_KV_DENIED = -3,      /* the function is not granted the store */
	ORLA_KV_INVALID = -4,     /* no key, no revision, no limit or too small a buffer */
	ORLA_KV_TOO_LARGE = -5,   /* the value has more than 1 MiB */
	ORLA_KV_QUOTA = -6,       /* the app's keys or bytes are used up */
	ORLA_KV_UNAVAILABLE = -7, /* the store cannot be reached now; the log says why */
};

/* Whatever revision there is. 0 means that there must be no such key. */
#define ORLA_KV_ANY ((int64_t)-1)
/* In the result of orla_kv_list: there are more keys. */
#define ORLA_KV_MORE ((int64_t)1 << 32)

#define ORLA_KV_IMPORT(name) __attribute__((import_module("orla_kv"), import_name(name)))

/* Returns the size of the value, and writes it to buf if there is room for all of it. The
 * revision goes to *revision unless that is NULL. */
ORLA_KV_IMPORT("get")
int64_t orla_kv_get(const char *store, size_t store_len, const char *key, size_t key_len, void *buf, size_t buf_len,
		    uint64_t *revision);

/* Returns the new revision. The key goes by itself after ttl seconds, unless that is 0. */
ORLA_KV_IMPORT("put")
int64_t orla_kv_put(const char *store, size_t store_len, const char *key, size_t key_len, const void *value,
		    size_t value_len, uint32_t ttl, int64_t expect);

/* Returns 0, also when there is no such key and expect is ORLA_KV_ANY. */
ORLA_KV_IMPORT("delete")
int64_t orla_kv_delete(const char *store, size_t store_len, const char *key, size_t key_len, int64_t expect);

/* Writes keys that begin with prefix and come after the key cursor ("" for the first) to
 * buf, in the order of their bytes, each after its length in 2 bytes, little endian. At
 * most limit of them, 1 to 1,000; buf has at least 258 bytes. Returns how many bytes it
 * has written, plus ORLA_KV_MORE if there are more keys. */
ORLA_KV_IMPORT("list")
int64_t orla_kv_list(const char *store, size_t store_len, const char *prefix, size_t prefix_len, const char *cursor,
		     size_t cursor_len, uint32_t limit, void *buf, size_t buf_len);

#endif
