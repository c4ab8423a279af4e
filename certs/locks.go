package certs

import (
	"context"
	"fmt"
	"sync"

	"github.com/caddyserver/certmagic"
)

var _ certmagic.Locker = (*locks)(nil)

// locks are certmagic's locks within this process. The zero value has none.
type locks struct {
	lock sync.Mutex               // guards held
	held map[string]chan struct{} // by name; closed when the lock is released
}

// Lock implements [certmagic.Locker].
func (l *locks) Lock(ctx context.Context, name string) error {
	for {
		l.lock.Lock()
		held := l.held[name]
		if held == nil {
			if l.held == nil {
				l.held = map[string]chan struct{}{}
			}
			l.held[name] = make(chan struct{})
			l.lock.Unlock()
			return nil
		}
		l.lock.Unlock()
		select {
		case <-held:
		case <-ctx.Done():
			return fmt.Errorf("lock %q: %w", name, ctx.Err())
		}
	}
}

// Unlock implements [certmagic.Locker].
func (l *locks) Unlock(_ context.Context, name string) error {
	l.lock.Lock()
	defer l.lock.Unlock()
	held := l.held[name]
	if held == nil {
		return fmt.Errorf("unlock %q: it is not locked", name)
	}
	delete(l.held, name)
	close(held)
	return nil
}
