package compile

import (
	"context"
	"slices"
	"sync"
)

// queue hands out turns: one at a time for each tenant, and so many in all. Who waits
// is served in order, but does not hold up those behind it for a turn that only its
// own tenant is in the way of.
type queue struct {
	mu      sync.Mutex // guards all below
	free    int
	busy    map[string]bool // tenants that have their turn
	waiting []*turn
}

type turn struct {
	tenant string
	ready  chan struct{} // closed when the turn has come
}

func newQueue(turns int) *queue { return &queue{free: turns, busy: make(map[string]bool)} }

// acquire waits for a turn, or for the context, whose cause it returns.
func (q *queue) acquire(ctx context.Context, tenant string) error {
	t := &turn{tenant: tenant, ready: make(chan struct{})}
	q.mu.Lock()
	q.waiting = append(q.waiting, t)
	q.grantLocked()
	q.mu.Unlock()
	select {
	case <-t.ready:
		return nil
	case <-ctx.Done():
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if i := slices.Index(q.waiting, t); i >= 0 {
		q.waiting = slices.Delete(q.waiting, i, i+1)
	} else {
		q.releaseLocked(tenant) // it came at the same moment
	}
	return context.Cause(ctx)
}

// release ends tenant's turn.
func (q *queue) release(tenant string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.releaseLocked(tenant)
}

func (q *queue) releaseLocked(tenant string) {
	delete(q.busy, tenant)
	q.free++
	q.grantLocked()
}

func (q *queue) grantLocked() {
	q.waiting = slices.DeleteFunc(q.waiting, func(t *turn) bool {
		if q.free == 0 || q.busy[t.tenant] {
			return false
		}
		q.free--
		q.busy[t.tenant] = true
		close(t.ready)
		return true
	})
}
