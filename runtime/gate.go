package runtime

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
)

// errBusy says that a function has as many requests inside and waiting as it may.
var errBusy = errors.New("runtime: too many requests at one time")

// gate lets so many requests into a function at a time, the others in order of
// arrival, and only so many wait.
type gate struct {
	places  *semaphore.Weighted
	queue   int64
	maxWait time.Duration
	waiting atomic.Int64
}

func newGate(places int, maxWait time.Duration) *gate {
	return &gate{places: semaphore.NewWeighted(int64(places)), queue: int64(places), maxWait: maxWait}
}

// enter takes a place, which leave gives back. It returns [errBusy] if the queue is
// full or the wait too long, or the cause of the context. queued is told +1 and -1.
func (g *gate) enter(ctx context.Context, queued func(int64)) error {
	if g.places.TryAcquire(1) {
		return nil
	}
	if g.waiting.Add(1) > g.queue {
		g.waiting.Add(-1)
		return errBusy
	}
	queued(1)
	defer func() {
		g.waiting.Add(-1)
		queued(-1)
	}()
	wait, cancel := context.WithTimeoutCause(ctx, g.maxWait, errBusy)
	defer cancel()
	if g.places.Acquire(wait, 1) != nil {
		return context.Cause(wait)
	}
	return nil
}

func (g *gate) leave() { g.places.Release(1) }
