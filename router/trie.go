package router

import (
	"math/bits"
	"slices"
)

// trie is a persistent hash array mapped trie (Bagwell, "Ideal Hash Trees",
// 2001): a change copies the branches on the way to the leaf, about one in every
// 32-fold of entries, and shares all others. The caller hashes.
type trie[T any] struct {
	root *branch[T]
	size int
}

// trieBits of the hash choose the slot at each level.
const trieBits = 5

type branch[T any] struct {
	bitmap uint32 // which of the 32 slots are there
	slots  []slot[T]
}

// slot holds a branch or a leaf.
type slot[T any] struct {
	branch *branch[T]
	leaf   *leaf[T]
}

type leaf[T any] struct {
	hash    uint64
	key     string
	pattern string
	value   T
	next    *leaf[T] // another key with the same hash
}

// index returns the place of hash in b.slots, and its bit in the bitmap.
func (b *branch[T]) index(hash uint64, level int) (i int, bit uint32) {
	bit = 1 << (hash >> (level * trieBits) & (1<<trieBits - 1))
	return bits.OnesCount32(b.bitmap & (bit - 1)), bit
}

func (t trie[T]) get(hash uint64, key string) *leaf[T] {
	b := t.root
	for level := 0; b != nil; level++ {
		i, bit := b.index(hash, level)
		if b.bitmap&bit == 0 {
			return nil
		}
		s := b.slots[i]
		if s.leaf != nil {
			return s.leaf.find(hash, key)
		}
		b = s.branch
	}
	return nil
}

func (l *leaf[T]) find(hash uint64, key string) *leaf[T] {
	if l.hash != hash {
		return nil
	}
	for ; l != nil; l = l.next {
		if l.key == key {
			return l
		}
	}
	return nil
}

func (t trie[T]) with(l *leaf[T]) trie[T] {
	if t.get(l.hash, l.key) == nil {
		t.size++
	}
	if t.root == nil {
		t.root = &branch[T]{}
	}
	t.root = t.root.with(l, 0)
	return t
}

func (b *branch[T]) with(l *leaf[T], level int) *branch[T] {
	i, bit := b.index(l.hash, level)
	if b.bitmap&bit == 0 {
		slots := make([]slot[T], len(b.slots)+1)
		copy(slots, b.slots[:i])
		slots[i].leaf = l
		copy(slots[i+1:], b.slots[i:])
		return &branch[T]{bitmap: b.bitmap | bit, slots: slots}
	}
	out := &branch[T]{bitmap: b.bitmap, slots: slices.Clone(b.slots)}
	s := &out.slots[i]
	switch {
	case s.branch != nil:
		s.branch = s.branch.with(l, level+1)
	case s.leaf.hash == l.hash:
		merged := *l
		merged.next = s.leaf.without(l.key)
		s.leaf = &merged
	default:
		*s = slot[T]{branch: fork(s.leaf, l, level+1)}
	}
	return out
}

// fork returns a branch of two leaves with different hashes.
func fork[T any](a, b *leaf[T], level int) *branch[T] {
	only := &branch[T]{slots: []slot[T]{{leaf: a}}}
	_, only.bitmap = only.index(a.hash, level)
	return only.with(b, level)
}

// without returns the chain without key.
func (l *leaf[T]) without(key string) *leaf[T] {
	if l == nil {
		return nil
	}
	if l.key == key {
		return l.next
	}
	out := *l
	out.next = l.next.without(key)
	return &out
}

func (t trie[T]) without(hash uint64, key string) trie[T] {
	if t.get(hash, key) == nil {
		return t
	}
	t.root = t.root.without(hash, key, 0)
	t.size--
	return t
}

// without returns b without a key that is in it, nil if nothing is left.
func (b *branch[T]) without(hash uint64, key string, level int) *branch[T] {
	i, bit := b.index(hash, level)
	s := b.slots[i]
	if s.branch != nil {
		s.branch = s.branch.without(hash, key, level+1)
		if s.branch != nil && len(s.branch.slots) == 1 && s.branch.slots[0].leaf != nil {
			s = s.branch.slots[0] // a lone leaf needs no branch
		}
	} else {
		s.leaf = s.leaf.without(key)
	}
	if s == (slot[T]{}) {
		if len(b.slots) == 1 {
			return nil
		}
		return &branch[T]{bitmap: b.bitmap &^ bit, slots: slices.Delete(slices.Clone(b.slots), i, i+1)}
	}
	out := &branch[T]{bitmap: b.bitmap, slots: slices.Clone(b.slots)}
	out.slots[i] = s
	return out
}

// each calls f for every leaf, in no order.
func (b *branch[T]) each(f func(*leaf[T])) {
	if b == nil {
		return
	}
	for _, s := range b.slots {
		s.branch.each(f)
		for l := s.leaf; l != nil; l = l.next {
			f(l)
		}
	}
}
