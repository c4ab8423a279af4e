// A CGI program that does with the key-value store what its path says, and prints what
// came of it: /get/STORE/KEY/BUFFER, /put/STORE/KEY/TTL/EXPECT with the value as body,
// /delete/STORE/KEY/EXPECT, /list/STORE/PREFIX/CURSOR/LIMIT/BUFFER, /wild/… and /env/NAME.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../../guest/orla_kv.h"

static char buf[2 << 20];
static char body[2 << 20];

int main(void)
{
	char path[1024];
	char *word[7] = { "", "", "", "", "", "", "" };
	snprintf(path, sizeof path, "%s", getenv("PATH_INFO"));
	char *rest = path + 1;
	for (int n = 0; n < 7 && rest; n++)
		word[n] = strsep(&rest, "/");
	const char *what = word[0], *store = word[1], *key = word[2];
	printf("Content-Type: text/plain\n\n");
	if (!strcmp(what, "get")) {
		uint64_t revision = 0;
		int64_t n = orla_kv_get(store, strlen(store), key, strlen(key), buf, strtoul(word[3], NULL, 0), &revision);
		printf("%lld %s %.*s", n, revision ? "at" : "-", (int)(n < 0 ? 0 : n), buf);
	} else if (!strcmp(what, "put")) {
		size_t n = fread(body, 1, sizeof body, stdin);
		printf("%lld", orla_kv_put(store, strlen(store), key, strlen(key), body, n, strtoul(word[3], NULL, 0),
					   strtoll(word[4], NULL, 0)));
	} else if (!strcmp(what, "delete")) {
		printf("%lld", orla_kv_delete(store, strlen(store), key, strlen(key), strtoll(word[3], NULL, 0)));
	} else if (!strcmp(what, "list")) {
		const char *cursor = word[3];
		int64_t n = orla_kv_list(store, strlen(store), key, strlen(key), cursor, strlen(cursor), strtoul(word[4], NULL, 0),
					 buf, strtoul(word[5], NULL, 0));
		if (n < 0) {
			printf("%lld", n);
			return 0;
		}
		char *end = buf + (uint32_t)n;
		for (char *p = buf; p < end;) {
			int size = (unsigned char)p[0] | (unsigned char)p[1] << 8;
			printf("%.*s,", size, p + 2);
			p += 2 + size;
		}
		printf("%s", n & ORLA_KV_MORE ? "…" : "");
	} else if (!strcmp(what, "wild")) {
		printf("%lld", orla_kv_get(store, strlen(store), (char *)-8, 100, buf, sizeof buf, NULL));
	} else if (!strcmp(what, "env")) {
		const char *v = getenv(store);
		printf("%s=%s", store, v ? v : "(unset)");
	}
	return 0;
}
