package memory

import "sync/atomic"

// Budget bounds what all apps have together, in bytes or in pieces. The zero value has
// no bound. It is safe for concurrent use.
type Budget struct {
	// Max is the bound; zero means none.
	Max  int64
	used atomic.Int64
}

// Used returns what is taken.
func (b *Budget) Used() int64 { return b.used.Load() }

// portion is how much more than what is left for others one app may have.
const portion = 3

// Share is what one app has of a Budget. It gets no more than three times what it leaves,
// alone three quarters of all, so that no number of apps takes everything: what is left
// is for those that have nothing. It is safe for concurrent use.
type Share struct {
	budget *Budget
	held   atomic.Int64
}

// NewShare returns a Share that holds nothing.
func NewShare(b *Budget) *Share { return &Share{budget: b} }

// Take reports whether n more could be had, and takes them.
func (s *Share) Take(n int64) bool {
	b := s.budget
	used, held := b.used.Add(n), s.held.Add(n)
	switch left := b.Max - used; {
	case b.Max == 0:
		return true
	case left >= 0 && (held == n || held <= portion*left):
		return true
	}
	s.Give(n)
	return false
}

// Give gives n back.
func (s *Share) Give(n int64) {
	s.held.Add(-n)
	s.budget.used.Add(-n)
}
