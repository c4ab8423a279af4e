package cluster

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// MaxKVKey is how many bytes a key of the key-value store may have.
const MaxKVKey = 256

// kvSubject returns the subject under which an app's key is kept: apps cannot reach
// each other's, whatever their keys are.
func kvSubject(app, store, key string) (string, error) {
	prefix, err := kvStorePrefix(app, store)
	if err != nil {
		return "", err
	}
	switch {
	case key == "":
		return "", fmt.Errorf("%w: the key is empty", ErrKVInvalid)
	case len(key) > MaxKVKey:
		return "", fmt.Errorf("%w: the key has %d bytes, the most is %d", ErrKVInvalid, len(key), MaxKVKey)
	case !utf8.ValidString(key):
		return "", fmt.Errorf("%w: the key is not UTF-8", ErrKVInvalid)
	}
	return prefix + escapeKVKey(key), nil
}

// kvStorePrefix returns what the subjects of a store's keys begin with.
func kvStorePrefix(app, store string) (string, error) {
	for _, part := range [...]string{app, store} {
		if part == "" || len(part) > 63 || strings.ContainsFunc(part, func(r rune) bool { return r > 0x7f || !plainKVByte(byte(r)) }) {
			return "", fmt.Errorf("%w: %q is no name of an app or store", ErrKVInvalid, part)
		}
	}
	return kvPrefix + app + "." + store + ".", nil
}

// plainKVByte reports whether a subject holds b as it is.
func plainKVByte(b byte) bool {
	return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || b == '_' || b == '-'
}

const hexDigits = "0123456789abcdef"

// escapeKVKey writes a key as one token of a subject: a byte that is not plain as
// "=" and two hexadecimal digits.
func escapeKVKey(key string) string {
	var b strings.Builder
	for i := range len(key) {
		if c := key[i]; plainKVByte(c) {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'=', hexDigits[c>>4], hexDigits[c&15]})
		}
	}
	return b.String()
}

// unescapeKVKey is the reverse of escapeKVKey. It reports false for what that never
// returns.
func unescapeKVKey(token string) (string, bool) {
	key := make([]byte, 0, len(token))
	for i := 0; i < len(token); i++ {
		c := token[i]
		if c != '=' {
			if !plainKVByte(c) {
				return "", false
			}
			key = append(key, c)
			continue
		}
		if i+2 >= len(token) {
			return "", false
		}
		hi, lo := strings.IndexByte(hexDigits, token[i+1]), strings.IndexByte(hexDigits, token[i+2])
		if hi < 0 || lo < 0 || plainKVByte(byte(hi<<4|lo)) {
			return "", false
		}
		key = append(key, byte(hi<<4|lo))
		i += 2
	}
	return string(key), true
}
