package runtime

import (
	"context"
	"errors"
	"sync"
)

// ErrClosed is returned once the Engine has been closed.
var ErrClosed = errors.New("runtime: engine is closed")

// shared keeps values that several users have in common: made by the first, freed by
// the last.
type shared[K comparable, V any] struct {
	free func(ctx context.Context, v V) error

	mu     sync.Mutex // guards the two below, and lease.refs
	leases map[K]*lease[K, V]
	closed bool
}

// lease is a value and the number of those who have it.
type lease[K comparable, V any] struct {
	key  K
	refs int

	ready chan struct{} // closed once the two below are set
	value V
	err   error
}

func newShared[K comparable, V any](free func(context.Context, V) error) *shared[K, V] {
	return &shared[K, V]{free: free, leases: make(map[K]*lease[K, V])}
}

// acquire returns the value of key, built if nobody has it. Building goes on when ctx
// ends, for the others who wait. The caller releases the lease, unless there is an
// error, which nobody keeps: the next one tries again.
func (s *shared[K, V]) acquire(ctx context.Context, key K, build func(context.Context) (V, error)) (*lease[K, V], error) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil, ErrClosed
	}
	l := s.leases[key]
	first := l == nil
	if first {
		l = &lease[K, V]{key: key, ready: make(chan struct{})}
		s.leases[key] = l
	}
	l.refs++
	s.mu.Unlock()

	if first {
		l.value, l.err = build(context.WithoutCancel(ctx))
		if l.err != nil {
			s.forget(l)
		}
		close(l.ready)
		return l.orError()
	}
	select {
	case <-l.ready:
		return l.orError()
	case <-ctx.Done():
		return nil, errors.Join(context.Cause(ctx), s.release(context.WithoutCancel(ctx), l))
	}
}

func (l *lease[K, V]) orError() (*lease[K, V], error) {
	if l.err != nil {
		return nil, l.err
	}
	return l, nil
}

// forget lets later calls of acquire begin anew.
func (s *shared[K, V]) forget(l *lease[K, V]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.leases[l.key] == l {
		delete(s.leases, l.key)
	}
}

// release gives a lease back; the last one frees the value.
func (s *shared[K, V]) release(ctx context.Context, l *lease[K, V]) error {
	s.mu.Lock()
	l.refs--
	last := l.refs == 0
	if last && s.leases[l.key] == l {
		delete(s.leases, l.key)
	}
	s.mu.Unlock()
	if !last {
		return nil
	}
	<-l.ready // the builder may be at it, when everybody else has given up
	if l.err == nil {
		return s.free(ctx, l.value)
	}
	return nil // there is nothing to free
}

// close refuses new leases.
func (s *shared[K, V]) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
}
