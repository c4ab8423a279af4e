package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// quiet is how long a node believes that nothing is lost without a heartbeat.
	quiet = 2500 * time.Millisecond
	// silent is how long it waits before it says that it is cut off.
	silent = 4 * time.Second
	// rejoin is how long an edge that hears nothing waits before it looks for another hub.
	rejoin = 8 * time.Second
	// doubt is how long a bucket must seem to be the wrong one: a new leader may be
	// behind for a moment.
	doubt = 10 * time.Second

	// verifyEvery is how often a hub asks which bucket it is that it hears.
	verifyEvery = 5 * time.Second

	firstRetry   = 100 * time.Millisecond
	longestRetry = 2 * time.Second
	askTimeout   = time.Second
	// patience is how long a link is kept over which the register cannot be had.
	patience = 20 * time.Second
	// behind is the wait before a replica that is behind is asked again.
	behind = 30 * time.Millisecond
)

// errNoLeader: nobody who keeps the register leads it at the moment.
var errNoLeader = errors.New("no hub leads the register: a majority of them must be up; if they are lost for good, see `orla cluster rescue --help`")

// errSilent: there has been no heartbeat for too long.
var errSilent = errors.New("no word from the hubs")

// followOthers follows a register that others keep, or that this node keeps with
// others: what fails is mostly not here, so the link is kept and tried again.
func (s *session) followOthers(ctx context.Context, stable func()) error {
	wait, since, said := firstRetry, time.Now(), ""
	for {
		err := s.follow(ctx, func() {
			stable()
			wait, since = firstRetry, time.Now()
		})
		if ctx.Err() != nil || !s.linkGood(err) {
			return err
		}
		if s.c.status.Load().reg != nil || errors.Is(err, errSilent) {
			since, wait = time.Now(), firstRetry
		}
		s.c.setStatus(&status{err: err})
		_, lost := errors.AsType[*lostError](err)
		if text := err.Error(); text != said {
			said = text
			level := s.c.log.Warn
			if lost {
				level = s.c.log.Error
			}
			level("register unavailable, the node serves its last good state", "error", err)
		}
		if !lost && time.Since(since) > patience && s.c.kind == edge {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
		wait = min(2*wait, longestRetry)
	}
}

// linkGood reports whether after err the same link may be used.
func (s *session) linkGood(err error) bool {
	switch {
	case errors.Is(err, errMended):
		return false // the store has to be reopened
	case errors.Is(err, errSilent):
		return s.c.kind != edge // an edge had better look for another hub
	case s.link.nc.IsClosed():
		return false
	case s.c.kind == hub:
		return s.link.srv.JetStreamEnabled()
	}
	return true
}

// join is resume for a register that is not this node's alone.
func (s *session) join(ctx context.Context) error {
	info, err := s.ask(ctx)
	if s.c.kind == hub {
		info, err = s.replant(ctx, info, err)
	}
	bctx, cancel := s.c.bounded(ctx)
	defer cancel()
	if errors.Is(err, errGone) && !s.c.synced.known && s.c.kind != edge {
		if err = s.found(bctx); err == nil {
			info, err = s.reg.info(bctx)
		}
	}
	if err != nil && !errors.Is(err, errGone) {
		return err
	}
	if err == nil && s.c.kind != edge {
		if err := s.grow(bctx); err != nil {
			s.c.log.Warn("register not configured", "error", err)
		}
	}
	return s.adopted(ctx, info, err)
}

// ask asks the leader about the bucket. While there is none, nobody answers, so it does
// not wait for long.
func (s *session) ask(ctx context.Context) (bucketInfo, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, min(askTimeout, s.c.cfg.Timeout), errNoLeader)
	defer cancel()
	return s.reg.info(ctx)
}

// adopted brings the model up to a bucket of which the leader has said info and err.
func (s *session) adopted(ctx context.Context, info bucketInfo, err error) error {
	m := &s.c.synced
	if err != nil && !m.known {
		return fmt.Errorf("wait for the register: %w", err)
	}
	if m.known && err == nil && info.ID != m.pos.bucket && info.ID.continues(m.pos.bucket) && info.LastSeq >= m.pos.seq {
		s.c.log.Warn("register was made anew on purpose", "revision", m.pos.seq, "new_revision", info.LastSeq)
		return s.takeAll(ctx, info)
	}
	if why := m.lost(info, err); why != "" {
		if s.doubted.IsZero() {
			s.doubted = time.Now()
		}
		if time.Since(s.doubted) < cmp.Or(s.c.cfg.doubt, doubt) {
			return fmt.Errorf("the register is in doubt: %s", why)
		}
		return &lostError{info: info, why: why + "; this node does not obey it: see `orla cluster rescue --help`"}
	}
	s.doubted = time.Time{}
	if !m.known {
		return s.takeAll(ctx, info)
	}
	s.ahead = max(s.ahead, info.LastSeq)
	return s.catchUp(ctx)
}

// takeAll makes the model what the bucket has.
func (s *session) takeAll(ctx context.Context, info bucketInfo) error {
	if info.Msgs > copyFrom {
		f, err := s.borrow(ctx, info)
		if err == nil {
			s.takeCopy(f)
			return nil
		}
		s.c.log.Info("register read from its stream, which takes longer", "count", info.Msgs, "cause", err)
	}
	wait := patienceFor(s.c.cfg.Timeout)
	for {
		all, err := s.reg.fetch(ctx, 1)
		if err != nil {
			return err
		}
		last := uint64(0)
		if n := len(all); n > 0 {
			last = all[n-1].Revision
		}
		if all, last = whole(all, last); last >= info.LastSeq {
			s.batch = nil
			s.deliver(entriesOf(all), position{bucket: info.ID, seq: last}, true)
			return nil
		}
		if err := wait.pause(ctx); err != nil {
			return err
		}
	}
}

// takeCopy makes the model what another node has lent.
func (s *session) takeCopy(f *frozen) {
	s.batch = nil
	m := &s.c.synced
	m.mu.Lock()
	m.changed = max(m.changed, f.changed)
	m.mu.Unlock()
	s.deliver(f.entries, f.pos, true)
	s.c.log.Info("register taken over from another node's copy", "revision", f.pos.seq, "count", len(f.entries))
}

// catchUp fetches what is after the model's position until nothing that was heard of
// is missing. Any replica may answer, and may be behind.
func (s *session) catchUp(ctx context.Context) error {
	wait := patienceFor(s.c.cfg.Timeout)
	for {
		pos := s.c.synced.pos
		all, err := s.reg.fetch(ctx, pos.seq+1)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(all, s.foreign) {
			return errForeign
		}
		if n := len(all); n > 0 {
			last := all[n-1].Revision
			if all, last = whole(all, last); last > pos.seq {
				s.batch = nil
				s.deliver(entriesOf(all), position{bucket: pos.bucket, seq: last}, false)
				wait = patienceFor(s.c.cfg.Timeout)
			}
		}
		if s.c.synced.pos.seq >= s.ahead {
			return nil
		}
		if err := wait.pause(ctx); err != nil {
			return fmt.Errorf("fill up to revision %d, at %d: %w", s.ahead, s.c.synced.pos.seq, err)
		}
	}
}

// limit is when one gives up on replicas that are behind.
type limit time.Time

func patienceFor(d time.Duration) limit { return limit(time.Now().Add(d)) }

// pause waits for a replica to catch up. It returns errNoAnswer when that takes too long.
func (l limit) pause(ctx context.Context) error {
	if time.Now().After(time.Time(l)) {
		return errNoAnswer
	}
	return pause(ctx, behind)
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

// checkOthers looks whether heartbeats come. It looks at the bucket's identity when
// it asks the leader, which is after each reconnect.
func (s *session) checkOthers(ctx context.Context) error {
	age := s.c.pulse.age()
	if s.doubted.IsZero() && age < quiet {
		if s.c.status.Load().err != nil { // it was silent, and is not any more
			s.c.status.Store(&status{reg: s.reg})
		}
		return s.verify(ctx)
	}
	if age > rejoin && s.c.kind == edge {
		return fmt.Errorf("%w for %v", errSilent, age.Round(time.Second))
	}
	if age > silent {
		hint := ""
		if s.c.kind == hub {
			hint = "; a majority of the hubs must be up: if they are lost for good, see `orla cluster rescue --help`"
		}
		s.c.status.Store(&status{reg: s.reg, err: fmt.Errorf("%w for %v: the node serves its last good state%s", errSilent, age.Round(time.Second), hint)})
	}
	// All nodes notice at the same time, mostly an election: they do not ask together.
	if s.doubted.IsZero() && time.Now().Before(s.askNext) {
		return nil
	}
	s.askNext = time.Now().Add(askAfter(age))
	if err := s.catchUp(ctx); err != nil {
		return err
	}
	info, err := s.ask(ctx)
	if errors.Is(err, errUnfinished) {
		return err
	}
	if err != nil && !errors.Is(err, errGone) {
		return nil // no leader: the heartbeat tells
	}
	return s.adopted(ctx, info, err)
}

// askAfter is how long a node waits, by chance, before it asks again after a silence: the
// longer that is, the longer, within limits.
func askAfter(silence time.Duration) time.Duration {
	return checkEvery + rand.N(min(max(silence, checkEvery), longestBackoff))
}

// verify has hubs look, now and then, whether the bucket is still the one that they
// follow: messages cannot tell, they have numbers only. Edges hear of it when the hubs'
// heartbeat stops.
func (s *session) verify(ctx context.Context) error {
	every := min(verifyEvery, cmp.Or(s.c.cfg.doubt, verifyEvery))
	if s.c.kind == edge || time.Since(s.verified) < every {
		return nil
	}
	s.verified = time.Now()
	info, err := s.ask(ctx)
	if err == nil && info.ID == s.c.synced.pos.bucket || err != nil && !errors.Is(err, errGone) {
		return nil
	}
	return s.adopted(ctx, info, err)
}

// errForeign: what was read is of a bucket that was made in the place of the one that
// the node follows.
var errForeign = errors.New("the register in its place is another one")

// foreign reports whether a message is of another bucket than the one that the node
// follows, and has that looked into.
func (s *session) foreign(m message) bool {
	if s.c.kind.owns() || !s.c.synced.known || m.bucket == 0 || m.bucket == s.c.synced.pos.bucket {
		return false
	}
	if s.doubted.IsZero() {
		s.doubted = time.Now()
	}
	return true
}

// found makes the register of a new cluster.
func (s *session) found(ctx context.Context) error {
	n, err := s.replicas(ctx)
	if err != nil {
		return err
	}
	if err := s.consent(ctx); err != nil {
		return err
	}
	err = s.reg.create(ctx, newBucketID(time.Now()), 0, n)
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		return nil // another hub was quicker
	}
	return err
}

// grow gives the register as many replicas as there are hubs, up to five.
func (s *session) grow(ctx context.Context) error {
	n, err := s.replicas(ctx)
	if err != nil {
		n = 0 // some hubs are away: as it is
	}
	return s.reg.configure(ctx, n)
}

// hubs is how many hubs make a cluster: two could not agree without each other.
const hubs = 3

// replicas is how many copies of the register there shall be now.
func (s *session) replicas(context.Context) (int, error) {
	if s.c.kind == external {
		if n := s.c.cfg.Topology.NATS.Replicas; n > 0 {
			return n, nil
		}
		if s.link.nc.ConnectedClusterName() == "" {
			return 1, nil
		}
		return hubs, nil
	}
	peers := s.link.srv.JetStreamClusterPeers()
	switch n := len(peers); {
	case n >= 5:
		return 5, nil
	case n >= hubs:
		return hubs, nil
	default:
		return 0, fmt.Errorf("wait for the other hubs: %d of %d are here", max(n, 1), hubs)
	}
}
