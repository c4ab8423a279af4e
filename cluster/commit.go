package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
)

// Commit makes all changes or none, if each key's last revision is the expected
// one. It returns the new revision of the last change; the others have the
// revisions just before it, in order: change i of n has revision-(n-1)+i. What it
// acknowledges is on disk. [Cluster.Wait] tells when the node has taken it over.
//
// It returns [ErrConflict], naming a key that was changed, or [ErrUnavailable],
// wrapping the reason, and then [ErrUncertain] too if the changes may have been
// made all the same. The values must not be changed before it returns.
func (c *Cluster) Commit(ctx context.Context, changes ...Change) (uint64, error) {
	revision, err := c.commit(ctx, changes)
	c.metrics.committed(ctx, err)
	return revision, err
}

func (c *Cluster) commit(ctx context.Context, changes []Change) (uint64, error) {
	if err := checkChanges(changes); err != nil {
		return 0, err
	}
	if c.kind == edge {
		return 0, fmt.Errorf("%w: %w: make the change at a hub", ErrUnavailable, ErrReadOnly)
	}
	st := c.awaitStatus(ctx)
	if st.err != nil {
		return 0, fmt.Errorf("%w: %w", ErrUnavailable, st.err)
	}
	size, expect := int64(0), make([]uint64, len(changes))
	for i, ch := range changes {
		size += int64(len(ch.Value))
		expect[i] = ch.Expect
	}
	if err := c.checkSpace(size); err != nil {
		return 0, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	return c.publish(ctx, st.reg, changes, expect)
}

// bounded limits the time of one operation on the register.
func (c *Cluster) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, c.cfg.Timeout, errNoAnswer)
}

// commitAttempts bounds how often a commit that lost against a delete is tried.
const commitAttempts = 3

// publish publishes the changes. For the stream a deleted key is one whose last
// message is a delete marker, with a sequence of its own: where the caller expects
// that there is no such key, expect becomes the marker's sequence, and the stream
// compares with that.
func (c *Cluster) publish(ctx context.Context, reg *register, changes []Change, expect []uint64) (uint64, error) {
	for range commitAttempts {
		revision, err := reg.publish(ctx, changes, expect)
		if !errors.Is(err, errWrongLast) {
			return revision, err
		}
		if !c.kind.owns() {
			if revision, err = c.wasMade(ctx, changes); revision != 0 || err != nil {
				return revision, err
			}
		}
		for i, ch := range changes {
			if expect[i], err = reg.expected(ctx, ch); err != nil {
				return 0, err
			}
		}
	}
	return 0, fmt.Errorf("commit %q: %w: others kept changing it", changes[0].Key, ErrConflict)
}

// wasMade returns the revision of changes that were made although a leader has refused
// them, and 0 if they were not. After an election there are two leaders for a moment,
// and both get the message: the one that was deposed refuses what the other takes. What
// comes through the stream after it tells.
func (c *Cluster) wasMade(ctx context.Context, changes []Change) (uint64, error) {
	revision, err := c.Barrier(ctx)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrUncertain, err)
	}
	c.synced.mu.RLock()
	defer c.synced.mu.RUnlock()
	for _, ch := range changes {
		e, ok := c.synced.entries[ch.Key]
		if ok != (ch.Value != nil) || ok && (e.Revision <= ch.Expect || !bytes.Equal(e.Value, ch.Value)) {
			return 0, nil
		}
		if ok {
			revision = e.Revision
		}
	}
	return revision, nil
}

// expected returns the sequence of the key's last message if it is one that the
// change may follow, else [ErrConflict].
func (r *register) expected(ctx context.Context, ch Change) (uint64, error) {
	e, err := r.last(ctx, ch.Key)
	if errors.Is(err, ErrNotFound) {
		if ch.Expect == 0 {
			return 0, nil
		}
		return 0, fmt.Errorf("commit %q: %w: expected revision %d, there is no such key", ch.Key, ErrConflict, ch.Expect)
	}
	switch {
	case err != nil:
		return 0, err
	case e.Revision == ch.Expect, ch.Expect == 0 && e.Value == nil:
		return e.Revision, nil
	case e.Value == nil:
		return 0, fmt.Errorf("commit %q: %w: expected revision %d, it was deleted at %d", ch.Key, ErrConflict, ch.Expect, e.Revision)
	case ch.Expect == 0:
		return 0, fmt.Errorf("commit %q: %w: it exists, at revision %d", ch.Key, ErrConflict, e.Revision)
	default:
		return 0, fmt.Errorf("commit %q: %w: expected revision %d, it is at %d", ch.Key, ErrConflict, ch.Expect, e.Revision)
	}
}

// Get returns the key's entry as the stream's leader has it: a read after a write
// sees it. It returns [ErrNotFound] or [ErrUnavailable].
func (c *Cluster) Get(ctx context.Context, key string) (Entry, error) {
	if err := checkKey(key); err != nil {
		return Entry{}, fmt.Errorf("get: %w", err)
	}
	st := c.awaitStatus(ctx)
	if st.reg == nil {
		return Entry{}, fmt.Errorf("%w: %w", ErrUnavailable, st.err)
	}
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	e, err := st.reg.last(ctx, key)
	if err == nil && e.Value == nil {
		return Entry{}, fmt.Errorf("get %q: %w", key, ErrNotFound)
	}
	return e, err
}

// Known returns the key's entry as this node has it, without asking: at the revision
// given or a later one, which another node may have changed meanwhile. It returns
// [ErrNotFound], or [ErrUnavailable] if the node does not come to know that revision.
func (c *Cluster) Known(ctx context.Context, key string, revision uint64) (Entry, error) {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	if err := c.synced.at.wait(ctx, revision, c.stopped); err != nil {
		return Entry{}, fmt.Errorf("%w: get %q as of revision %d: %w", ErrUnavailable, key, revision, err)
	}
	c.synced.mu.RLock()
	defer c.synced.mu.RUnlock()
	e, ok := c.synced.entries[key]
	if !ok {
		return Entry{}, fmt.Errorf("get %q: %w", key, ErrNotFound)
	}
	return e, nil
}

// List returns the entries whose keys begin with prefix, in the order of their
// revisions, all as of one revision that is not older than the call: a read after
// a write sees it. It returns [ErrUnavailable].
func (c *Cluster) List(ctx context.Context, prefix string) ([]Entry, error) {
	st := c.awaitStatus(ctx)
	if st.reg == nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, st.err)
	}
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	info, err := st.reg.info(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: list %q: %w", ErrUnavailable, prefix, err)
	}
	// The leader has told how far it is; from there on what the sync knows will do.
	if err := c.synced.at.wait(ctx, info.LastSeq, c.stopped); err != nil {
		return nil, fmt.Errorf("%w: list %q: %w", ErrUnavailable, prefix, err)
	}
	c.synced.mu.RLock()
	defer c.synced.mu.RUnlock()
	found := table{}
	for key, e := range c.synced.entries {
		if strings.HasPrefix(key, prefix) {
			found[key] = e
		}
	}
	return found.sorted(), nil
}
