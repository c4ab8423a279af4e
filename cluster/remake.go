package cluster

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Register is all that a register has.
type Register struct {
	Bucket   int64  // its identity
	Revision uint64 // its last; when it is made anew: the highest that any node has seen
	Entries  []Entry
}

// Register returns what this node knows of the register.
func (c *Cluster) Register() Register {
	c.synced.mu.RLock()
	defer c.synced.mu.RUnlock()
	return Register{Bucket: int64(c.synced.pos.bucket), Revision: c.synced.pos.seq, Entries: c.synced.entries.sorted()}
}

// Encode returns the register as a file of the last good state has it, with a checksum.
func (r Register) Encode() []byte {
	s := state{pos: position{bucket: bucketID(r.Bucket), seq: r.Revision}, entries: table{}}
	s.entries.merge(r.Entries, true)
	return s.encode()
}

// MaxRegister is the size in bytes of the largest encoded register.
const MaxRegister = 512 << 20

// DecodeRegister is the inverse of [Register.Encode]; b must not be changed afterwards.
func DecodeRegister(b []byte) (Register, error) {
	s, err := decodeState(b)
	if err != nil {
		return Register{}, err
	}
	return Register{Bucket: int64(s.pos.bucket), Revision: s.pos.seq, Entries: s.entries.sorted()}, nil
}

// Lost returns why the register is lost, for a person to have it made anew; empty if
// it is not known to be.
func (c *Cluster) Lost() string {
	err := c.status.Load().err
	if lost, ok := errors.AsType[*lostError](err); ok {
		return lost.why
	}
	if errors.Is(err, errUnfinished) {
		return err.Error()
	}
	return ""
}

// Remake makes a lost register anew, with these entries; their revisions are above all
// that were seen of the one before, so that every node takes the new one over. It
// returns the last. It refuses, with [ErrHealthy], unless the register is lost.
func (c *Cluster) Remake(ctx context.Context, from Register) (uint64, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, rebuildIn, errNoAnswer)
	defer cancel()
	if c.Lost() == "" {
		return 0, fmt.Errorf("%w: the register is not lost", ErrHealthy)
	}
	r, err := c.rescuer()
	if err != nil {
		return 0, err
	}
	defer r.sys.Close()
	cond, err := r.condition(ctx)
	if err != nil {
		return 0, err
	}
	c.synced.mu.RLock()
	pos := c.synced.pos
	c.synced.mu.RUnlock()
	old, err := r.reg.stream(ctx)
	if err != nil && !errors.Is(err, errGone) {
		return 0, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	above := max(pos.seq, from.Revision)
	if err == nil {
		above = max(above, old.State.LastSeq)
	}
	id := pos.bucket
	if bucketID(from.Bucket).continues(id) {
		id = bucketID(from.Bucket)
	}
	last, err := r.remake(ctx, id.next(), above+1, replicasFor(cond.here()), from.Entries)
	if err != nil {
		return 0, fmt.Errorf("%w: make the register anew: %w", ErrUnavailable, err)
	}
	if err := c.synced.at.wait(ctx, last, c.stopped); err != nil {
		return last, fmt.Errorf("take the new register over: %w", err)
	}
	return last, nil
}

// replicasFor is how many copies so many hubs keep.
func replicasFor(here int) int {
	if here >= 5 {
		return 5
	}
	return min(max(here, 1), hubs)
}

// hearsIn bounds the wait for this hub to hear that another leads a new bucket, and
// hearsAgain is how often it is tried.
const (
	hearsIn    = 5 * time.Second
	hearsAgain = 50 * time.Millisecond
)

// fill makes changes in a new bucket. That it has been made, and is led by one of the
// hubs, does not mean that its subjects are known at this one yet.
func (r *rescuer) fill(ctx context.Context, changes []Change) error {
	for until := time.Now().Add(hearsIn); ; {
		bctx, cancel := r.c.bounded(ctx)
		_, err := r.reg.publish(bctx, changes, make([]uint64, len(changes)))
		cancel()
		if !errors.Is(err, errGone) || time.Now().After(until) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(hearsAgain):
		}
	}
}

// remake puts a new bucket in the place of what there is. Until it is whole it says so,
// and nobody takes it for the register.
func (r *rescuer) remake(ctx context.Context, id bucketID, first uint64, replicas int, entries []Entry) (uint64, error) {
	if err := r.reg.remove(ctx); err != nil {
		return 0, err
	}
	js, err := r.reg.jetStream()
	if err != nil {
		return 0, err
	}
	cfg := bucketConfig(id, first, replicas)
	cfg.Metadata[metaUnfinished] = byRescue
	if _, err := js.CreateStream(ctx, cfg); err != nil {
		return 0, fmt.Errorf("create the bucket: %w", reason(ctx, err))
	}
	err = inBatches(entries, func(changes []Change) error {
		return r.fill(ctx, changes)
	})
	if err != nil {
		return 0, err
	}
	info, err := r.reg.stream(ctx)
	if err != nil {
		return 0, err
	}
	want := uint64(len(entries))
	if n := info.State.Msgs; n < want || n > want+1 { // a hub's heartbeat may be among them
		return 0, fmt.Errorf("the new bucket has %d entries of %d", n, len(entries))
	}
	if err := r.reg.finish(ctx, info.Config, id); err != nil {
		return 0, err
	}
	return info.State.LastSeq, nil
}

// finish makes an unfinished bucket, whose configuration is cfg, the register.
func (r *register) finish(ctx context.Context, cfg jetstream.StreamConfig, id bucketID) error {
	js, err := r.jetStream()
	if err != nil {
		return err
	}
	cfg.Metadata = map[string]string{metaBucket: strconv.FormatInt(int64(id), 10)}
	if _, err := js.UpdateStream(ctx, cfg); err != nil {
		return fmt.Errorf("finish the bucket: %w", reason(ctx, err))
	}
	return nil
}

// inBatches calls f with changes that make the entries, in batches that fit.
func inBatches(entries []Entry, f func([]Change) error) error {
	for len(entries) > 0 {
		var changes []Change
		size := 0
		for _, e := range entries[:min(rebuildChanges, len(entries))] {
			changes = append(changes, Change{Key: e.Key, Value: e.Value})
			if size += len(e.Value); size >= rebuildBytes {
				break
			}
		}
		if err := f(changes); err != nil {
			return err
		}
		entries = entries[len(changes):]
	}
	return nil
}
