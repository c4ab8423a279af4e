package memory

import "sync/atomic"

// Budget bounds the bytes of all memories together. The zero value has no bound. It is
// safe for concurrent use.
type Budget struct {
	// Max is the bound in bytes; zero means none.
	Max  int64
	used atomic.Int64
}

// Used returns the bytes that are taken.
func (b *Budget) Used() int64 { return b.used.Load() }

// take reports whether n more bytes could be had, and takes them.
func (b *Budget) take(n int64) bool {
	if b.used.Add(n) > b.Max && b.Max > 0 {
		b.used.Add(-n)
		return false
	}
	return true
}

func (b *Budget) give(n int64) { b.used.Add(-n) }
