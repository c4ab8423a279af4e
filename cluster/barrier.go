package cluster

import (
	"context"
	"fmt"
)

// Barrier returns when this node knows of every change that was acknowledged before the
// call, by whichever hub, and the revision up to which it does. It is a write of the
// heartbeat, through the stream like every change: who leads it has to have a majority
// at the time of the call. A hub that led the register, and does not know yet that it
// has been deposed, answers other reads from what it had.
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
	revision, err := c.mark(ctx, st.reg)
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

// Latest is [Cluster.Get] after a [Cluster.Barrier]: it costs a write, and is as new as
// the call whatever becomes of the hubs meanwhile.
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
