package router

import (
	"cmp"
	"hash/maphash"
	"iter"
	"slices"
	"strings"
)

// Hosts is an immutable map from host patterns, as [ParseHostPattern] returns
// them, to values. With and Without return a new version that shares all but a
// few hundred bytes with the old one, with ten patterns or a million. The zero
// Hosts is empty. Any number of goroutines may use it.
type Hosts[T any] struct {
	seed maphash.Seed // of the versions that come from one empty map
	// "shop.example" has itself as key, "*.shop.example" has ".shop.example" and
	// "*" the empty string: all of them substrings of a host that they match.
	trie trie[T]
}

// hostKey returns the key of a pattern.
func hostKey(pattern string) string {
	return strings.TrimPrefix(pattern, "*")
}

// With returns h with pattern leading to v.
func (h Hosts[T]) With(pattern string, v T) Hosts[T] {
	if h.trie.size == 0 {
		h.seed = maphash.MakeSeed()
	}
	key := hostKey(pattern)
	h.trie = h.trie.with(&leaf[T]{hash: maphash.String(h.seed, key), key: key, pattern: pattern, value: v})
	return h
}

// Without returns h without pattern.
func (h Hosts[T]) Without(pattern string) Hosts[T] {
	if h.trie.size == 0 {
		return h
	}
	key := hostKey(pattern)
	h.trie = h.trie.without(maphash.String(h.seed, key), key)
	return h
}

// Get returns the value of pattern itself.
func (h Hosts[T]) Get(pattern string) (v T, ok bool) {
	if l := h.find(hostKey(pattern)); l != nil {
		return l.value, true
	}
	return v, false
}

func (h Hosts[T]) find(key string) *leaf[T] {
	if h.trie.size == 0 {
		return nil
	}
	return h.trie.get(maphash.String(h.seed, key), key)
}

// Lookup returns the value for a host that [CleanHost] returned, and the pattern
// that it was found by: the host itself, else the longest wildcard, else "*".
// "*.example" matches a.example and b.a.example, not example. A request without
// a host ("") is matched by "*" alone. Lookup does not allocate.
func (h Hosts[T]) Lookup(host string) (v T, pattern string, ok bool) {
	for key := host; ; {
		if l := h.find(key); l != nil {
			return l.value, l.pattern, true
		}
		if key == "" {
			return v, "", false
		}
		dot := strings.IndexByte(key[1:], '.')
		if dot < 0 {
			key = ""
		} else {
			key = key[1+dot:]
		}
	}
}

// Len returns the number of patterns.
func (h Hosts[T]) Len() int { return h.trie.size }

// All goes through the patterns in alphabetical order.
func (h Hosts[T]) All() iter.Seq2[string, T] {
	return func(yield func(string, T) bool) {
		leaves := make([]*leaf[T], 0, h.trie.size)
		h.trie.root.each(func(l *leaf[T]) { leaves = append(leaves, l) })
		slices.SortFunc(leaves, func(a, b *leaf[T]) int { return cmp.Compare(a.pattern, b.pattern) })
		for _, l := range leaves {
			if !yield(l.pattern, l.value) {
				return
			}
		}
	}
}
