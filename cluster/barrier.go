package cluster

import (
	"context"
	"fmt"
	"sync"
)

// Barrier returns when this node knows of every change that was acknowledged before the
// call, by whichever hub, and the revision up to which it does. It is a write of the
// heartbeat, through the stream like every change: who leads it has to have a majority
// at the time of the call. A hub that led the register, and does not know yet that it
// has been deposed, answers other reads from what it had. All calls that come while one
// write is on its way share the next.
//
// It returns [ErrUnavailable], at an edge with [ErrReadOnly].
func (c *Cluster) Barrier(ctx context.Context) (uint64, error) {
	if c.kind == edge {
		return 0, fmt.Errorf("%w: %w: ask a hub for what is latest", ErrUnavailable, ErrReadOnly)
	}
	st := c.awaitStatus(ctx)
	if st.reg == nil {
		return 0, fmt.Errorf("%w: %w", ErrUnavailable, st.err)
	}
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	revision, err := c.marks.share(ctx, func() (uint64, error) {
		ctx, cancel := c.bounded(context.WithoutCancel(ctx)) // it is not of this call alone
		defer cancel()
		return c.mark(ctx, st.reg)
	})
	if err == nil {
		err = c.synced.at.wait(ctx, revision, c.stopped)
	}
	if err != nil {
		return 0, fmt.Errorf("%w: ask for what is latest: %w", ErrUnavailable, reason(ctx, err))
	}
	return revision, nil
}

// mark returns a revision that all changes acknowledged before the call are below.
func (c *Cluster) mark(ctx context.Context, reg *register) (uint64, error) {
	if c.kind.owns() { // nobody else can lead
		info, err := reg.info(ctx)
		return info.LastSeq, err
	}
	var value []byte
	if c.cfg.Beat != nil {
		value = c.cfg.Beat()
	}
	reply, err := reg.nc.RequestWithContext(ctx, subjectPrefix+keyBeat, value)
	if err != nil {
		return 0, err
	}
	return reg.acknowledged(reply.Data)
}

// rounds has calls that come at the same time share what one of them would do. A call never
// shares what began before it: that may be of before.
type rounds struct {
	mu      sync.Mutex // guards what follows
	running bool
	next    *round // of the calls that came while one ran; nil: none has
}

// round is shared by the calls that came before it began.
type round struct {
	do       func() (uint64, error)
	done     chan struct{} // closed when what follows is there
	revision uint64
	err      error
}

// share returns what do does, or the do of another call that came after the last one
// began, or the context's cause. It is done in a goroutine that ends with it.
func (r *rounds) share(ctx context.Context, do func() (uint64, error)) (uint64, error) {
	r.mu.Lock()
	if r.next == nil {
		r.next = &round{done: make(chan struct{})}
	}
	mine := r.next
	mine.do = do // of the call that came last, so that it knows what is newest
	if !r.running {
		r.running = true
		go r.run()
	}
	r.mu.Unlock()
	select {
	case <-mine.done:
		return mine.revision, mine.err
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
}

// run does one round after the other while there are calls that wait for one.
func (r *rounds) run() {
	for {
		r.mu.Lock()
		now := r.next
		r.next, r.running = nil, now != nil
		r.mu.Unlock()
		if now == nil {
			return
		}
		now.revision, now.err = now.do()
		close(now.done)
	}
}

// Latest is [Cluster.Get] after a [Cluster.Barrier]: it costs a share of a write, and is
// as new as the call whatever becomes of the hubs meanwhile.
func (c *Cluster) Latest(ctx context.Context, key string) (Entry, error) {
	if err := checkKey(key); err != nil {
		return Entry{}, fmt.Errorf("get: %w", err)
	}
	if _, err := c.Barrier(ctx); err != nil {
		return Entry{}, fmt.Errorf("get %q: %w", key, err)
	}
	c.synced.mu.RLock()
	defer c.synced.mu.RUnlock()
	e, ok := c.synced.entries[key]
	if !ok {
		return Entry{}, fmt.Errorf("get %q: %w", key, ErrNotFound)
	}
	return e, nil
}
