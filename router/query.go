package router

import "strings"

// findQuery returns the value of the first parameter called name in a raw query
// (application/x-www-form-urlencoded, WHATWG URL §5.1), still escaped. Only "&"
// separates parameters; one whose name is wrongly escaped has no name.
func findQuery(raw, name string) (value string, ok bool) {
	for raw != "" {
		var pair string
		pair, raw, _ = strings.Cut(raw, "&")
		if pair == "" {
			continue // "a=1&&b=2"
		}
		key, value, _ := strings.Cut(pair, "=")
		if queryEqual(key, name) {
			return value, true
		}
	}
	return "", false
}

// queryEqual reports whether the escaped text decodes to plain, without
// decoding it anywhere.
func queryEqual(escaped, plain string) bool {
	if len(escaped) < len(plain) {
		return false
	}
	at := 0
	for i := 0; i < len(escaped); i++ {
		c := escaped[i]
		switch c {
		case '+':
			c = ' '
		case '%':
			var ok bool
			if c, ok = unescape(escaped, i); !ok {
				return false
			}
			i += 2
		}
		if at == len(plain) || plain[at] != c {
			return false
		}
		at++
	}
	return at == len(plain)
}
