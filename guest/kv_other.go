//go:build !wasip1

package guest

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// native is the store of programs that run without a node.
var native struct {
	mu       sync.Mutex // guards the two below
	values   map[[2]string]nativeValue
	revision uint64
}

type nativeValue struct {
	value    []byte
	revision uint64
	until    time.Time // zero: for ever
}

// The results, as the host gives them.
const (
	nativeNotFound = -1
	nativeConflict = -2
	nativeInvalid  = -4
	nativeTooLarge = -5
)

// nativeLocked returns a key's value, if it is there.
func nativeLocked(store, key string) (v nativeValue, ok bool) {
	v, ok = native.values[[2]string{store, key}]
	if ok && !v.until.IsZero() && time.Now().After(v.until) {
		return nativeValue{}, false
	}
	return v, ok
}

// refusedLocked returns what the host would say of a change of the key; 0 if it may be.
func refusedLocked(store, key string, expect int64) int64 {
	v, _ := nativeLocked(store, key)
	switch {
	case key == "" || len(key) > 256 || !utf8.ValidString(key):
		return nativeInvalid
	case expect != whatever && uint64(expect) != v.revision: //nolint:gosec // not negative
		return nativeConflict
	}
	return 0
}

func hostKVGet(store, key string, buf []byte, revision *uint64) int64 {
	native.mu.Lock()
	defer native.mu.Unlock()
	v, ok := nativeLocked(store, key)
	if !ok {
		return nativeNotFound
	}
	*revision = v.revision
	if len(v.value) <= len(buf) {
		copy(buf, v.value)
	}
	return int64(len(v.value))
}

func hostKVPut(store, key string, value []byte, ttl uint32, expect int64) int64 {
	native.mu.Lock()
	defer native.mu.Unlock()
	if code := refusedLocked(store, key, expect); code != 0 {
		return code
	}
	if len(value) > 1<<20 {
		return nativeTooLarge
	}
	native.revision++
	v := nativeValue{value: slices.Clone(value), revision: native.revision}
	if ttl > 0 {
		v.until = time.Now().Add(time.Duration(ttl) * time.Second)
	}
	if native.values == nil {
		native.values = map[[2]string]nativeValue{}
	}
	native.values[[2]string{store, key}] = v
	return int64(v.revision) //nolint:gosec // a count
}

func hostKVDelete(store, key string, expect int64) int64 {
	native.mu.Lock()
	defer native.mu.Unlock()
	if code := refusedLocked(store, key, expect); code != 0 {
		return code
	}
	delete(native.values, [2]string{store, key})
	return 0
}

func hostKVList(store, prefix, cursor string, most uint32, buf []byte) int64 {
	native.mu.Lock()
	defer native.mu.Unlock()
	var keys []string
	for at := range maps.Keys(native.values) {
		if _, ok := nativeLocked(at[0], at[1]); ok && at[0] == store && at[1] > cursor && strings.HasPrefix(at[1], prefix) {
			keys = append(keys, at[1])
		}
	}
	slices.Sort(keys)
	n := 0
	for i, key := range keys {
		if i == int(most) || n+2+len(key) > len(buf) {
			return 1<<32 | int64(n)
		}
		buf[n], buf[n+1] = byte(len(key)), byte(len(key)>>8)
		n += 2 + copy(buf[n+2:], key)
	}
	return int64(n)
}
