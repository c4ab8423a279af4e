//go:build linux

package pebble

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Accepted tells when the authority has accepted requests of the kind, by the machine's
// clock: not those that were refused for their nonce, or failed. It may be called
// concurrently.
func (s *Server) Accepted(op Operation) []time.Time {
	s.front.mu.Lock()
	defer s.front.mu.Unlock()
	return slices.Clone(s.front.accepted[op])
}

// Orders are those that the authority has accepted, since the test began. It may be
// called concurrently.
func (s *Server) Orders() []Order {
	s.front.mu.Lock()
	defer s.front.mu.Unlock()
	return slices.Clone(s.front.orders)
}

// FailEvery makes every n-th request fail from now on, whatever it is, with 503 Service
// Unavailable. Zero ends it. It may be called concurrently.
func (s *Server) FailEvery(n int) {
	s.front.mu.Lock()
	defer s.front.mu.Unlock()
	s.front.failEvery, s.front.requests = n, 0
}

// Offer leaves out all challenges but those of the kinds: "http-01", "tls-alpn-01",
// "dns-01". None means that all are offered. It may be called concurrently.
func (s *Server) Offer(kinds ...string) {
	s.front.mu.Lock()
	defer s.front.mu.Unlock()
	s.front.offered = slices.Clone(kinds)
}

// Answer has requests of the kind answered by h instead of the authority; nil ends it.
// It may be called concurrently.
func (s *Server) Answer(op Operation, h http.HandlerFunc) {
	s.front.mu.Lock()
	defer s.front.mu.Unlock()
	s.front.answers[op] = h
}

// Hold makes requests of the kind wait before they are seen by the authority, until they
// are released or given up. It may be called concurrently.
func (s *Server) Hold(op Operation) *Hold {
	h := &Hold{arrived: make(chan struct{}), released: make(chan struct{})}
	h.end = func() {
		s.front.mu.Lock()
		defer s.front.mu.Unlock()
		if s.front.held[op] == h {
			delete(s.front.held, op)
		}
	}
	s.front.mu.Lock()
	defer s.front.mu.Unlock()
	s.front.held[op] = h
	return h
}

// Hold is what makes requests wait.
type Hold struct {
	end      func()
	first    sync.Once
	last     sync.Once
	arrived  chan struct{}
	released chan struct{}
}

// Arrived is closed when the first request waits.
func (h *Hold) Arrived() <-chan struct{} { return h.arrived }

// Release lets go of the requests that wait, and of those to come.
func (h *Hold) Release() {
	h.last.Do(func() {
		h.end()
		close(h.released)
	})
}

// wait reports whether the request was released; if not, its client has given up.
func (h *Hold) wait(ctx context.Context) bool {
	h.first.Do(func() { close(h.arrived) })
	select {
	case <-h.released:
		return true
	case <-ctx.Done():
		return false
	}
}
