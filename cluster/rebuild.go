package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	// rebuildIn bounds one attempt, the time that apply takes included.
	rebuildIn = 5 * time.Minute
	// A rebuild publishes in batches that end at whichever comes first.
	rebuildChanges = 500
	rebuildBytes   = 8 << 20
)

// resume makes sure that there is a bucket and that the model is of it.
func (s *session) resume(ctx context.Context) error {
	if !s.c.kind.owns() {
		return s.join(ctx)
	}
	bctx, cancel := s.c.bounded(ctx)
	defer cancel()
	_, err := s.reg.info(bctx)
	if errors.Is(err, errGone) && !s.c.synced.known {
		err = s.reg.create(bctx, newBucketID(time.Now()), 0, 1)
	}
	if err == nil {
		err = s.reg.configure(bctx, 1)
	}
	if err != nil && !errors.Is(err, errGone) {
		return err
	}
	err = s.fill(ctx)
	if lost, ok := errors.AsType[*lostError](err); ok {
		return s.rebuild(ctx, lost.info, lost.why)
	}
	return err
}

// rebuild makes the bucket anew from what this node knows, which goes on being
// served. Only a node that runs alone may do so: nobody else writes, and it is
// done at the start of a session, whose register no commit has got hold of.
//
// Whatever happens on the way, the state on disk stays sufficient to do it again:
// it is up to date before the old bucket is touched, and its position is not one
// of the new bucket.
func (s *session) rebuild(ctx context.Context, info bucketInfo, why string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, rebuildIn, errNoAnswer)
	defer cancel()
	before := s.c.synced.pos
	entries, err := s.replace(ctx, info)
	if err == nil {
		err = s.seed(ctx, entries)
	}
	if err == nil {
		err = s.takeOver(ctx, len(entries))
	}
	if err != nil {
		return fmt.Errorf("rebuild the register, which was lost (%s): %w", why, err)
	}
	s.c.log.Error("register was lost; rebuilt from the last good state", "cause", why,
		"revision", before.seq, "count", len(entries), "new_revision", s.c.synced.pos.seq)
	return nil
}

// replace puts an empty bucket in the place of the lost one, and returns what
// belongs into it.
func (s *session) replace(ctx context.Context, info bucketInfo) ([]Entry, error) {
	if err := s.adopt(ctx, info); err != nil {
		return nil, err
	}
	if err := s.reg.remove(ctx); err != nil {
		return nil, err
	}
	if err := s.reg.create(ctx, newBucketID(time.Now()), max(s.c.synced.pos.seq, info.LastSeq)+1, 1); err != nil {
		return nil, err
	}
	return s.c.synced.entries.sorted(), nil
}

// adopt adds to the model what a bucket that was made anew has: what it says of a
// key is newer; of keys that it has never heard of it says nothing. Such a bucket
// is mostly one that an earlier rebuild did not finish. It returns when the model
// is applied and on disk.
func (s *session) adopt(ctx context.Context, info bucketInfo) error {
	pos := s.c.synced.pos
	if info.Msgs > 0 && info.ID != pos.bucket {
		all, err := s.reg.fetch(ctx, 1)
		if err != nil {
			return err
		}
		all, _ = whole(all, info.LastSeq)
		s.deliver(entriesOf(all), position{seq: pos.seq}, false)
	}
	if err := s.c.saved.wait(ctx, s.c.box.lastTicket(), s.c.stopped); err != nil {
		return fmt.Errorf("wait until the last good state is on disk: %w", err)
	}
	return nil
}

// seed writes the entries into the empty bucket.
func (s *session) seed(ctx context.Context, entries []Entry) error {
	return inBatches(entries, func(changes []Change) error { return s.publish(ctx, changes) })
}

func (s *session) publish(ctx context.Context, changes []Change) error {
	ctx, cancel := s.c.bounded(ctx)
	defer cancel()
	_, err := s.reg.publish(ctx, changes, make([]uint64, len(changes)))
	return err
}

// takeOver makes the new bucket the one that the model is of. The entries keep
// their values, and have new revisions.
func (s *session) takeOver(ctx context.Context, want int) error {
	info, err := s.reg.info(ctx)
	if err != nil {
		return err
	}
	all, err := s.reg.fetch(ctx, 1)
	if err != nil {
		return err
	}
	if len(all) != want {
		return fmt.Errorf("the new bucket has %d entries of %d", len(all), want)
	}
	s.deliver(entriesOf(all), info.pos(), false)
	return nil
}
