package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// checkEvery bounds how long a lost message, a bucket that is gone or space on
	// a full disk goes unnoticed.
	checkEvery = time.Second
	// checksMissed is how many checks in a row may fail before the server is
	// restarted.
	checksMissed = 3
	// backlog is how many messages may wait for the sync; the rest is dropped and
	// filled up.
	backlog = 4096

	firstBackoff   = 250 * time.Millisecond
	longestBackoff = 15 * time.Second
)

// supervise keeps a session up until ctx ends.
func (c *Cluster) supervise(ctx context.Context) {
	wait := firstBackoff
	for attempt := 1; ; attempt++ {
		err := c.session(ctx, func() { wait, attempt = firstBackoff, 0 })
		if ctx.Err() != nil {
			return
		}
		c.setStatus(&status{err: err})
		level := slog.LevelError
		if errors.Is(err, errMended) {
			level = slog.LevelInfo
		}
		if _, lost := errors.AsType[*lostError](err); lost || level == slog.LevelInfo {
			wait = firstBackoff
		}
		c.log.Log(ctx, level, "register unavailable, the node serves its last good state; will try again",
			"error", err, "attempt", attempt, "wait", wait.String())
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		wait = min(2*wait, longestBackoff)
	}
}

var errRestarting = errors.New("the register is restarting")

// errMended ends a session whose server stopped storing but could store again.
var errMended = errors.New("the disk takes writes again")

// session is one life of the link to the register and of the sync. It belongs to one
// goroutine.
type session struct {
	c    *Cluster
	reg  *register
	link *link

	msgs  chan *nats.Msg
	lost  chan struct{} // holds a token when messages may have been lost
	batch []message     // the beginning of a batch, after the model's position

	missed   int       // failed checks in a row
	failure  error     // why writes fail
	doubted  time.Time // since when the bucket seems to be the wrong one; zero: it does not
	verified time.Time // when the bucket was last known to be the right one
	askNext  time.Time // before which a node without a heartbeat does not ask again
	ahead    uint64    // the highest sequence heard of
}

// session runs until ctx ends or the link has to be made anew, and stops what it
// started. It calls stable once it has been up for a while.
func (c *Cluster) session(ctx context.Context, stable func()) error {
	s := &session{
		c: c, reg: newRegister(c.cfg.Topology, c.cfg.Timeout),
		msgs: make(chan *nats.Msg, backlog), lost: make(chan struct{}, 1),
	}
	l, err := c.openLink(s.reg.fail, s.suspect)
	if err != nil {
		return err
	}
	defer l.close()
	s.link, s.reg.nc = l, l.nc
	c.attachBus(l.nc)
	defer c.attachBus(nil)
	c.link.Store(l)
	defer c.link.Store(nil)
	sub, err := l.nc.ChanSubscribe(republished+">", s.msgs)
	if err != nil {
		return fmt.Errorf("subscribe to the register: %w", err)
	}
	defer sub.Unsubscribe() //nolint:errcheck // the connection ends with it
	if c.kind == hub {
		if err := s.testify(); err != nil {
			return err
		}
	}
	if c.kind != edge && c.kind != alone {
		defer c.lender.clear()
		if err := s.lend(); err != nil {
			return err
		}
	}
	if err := l.nc.FlushTimeout(c.cfg.Timeout); err != nil {
		return fmt.Errorf("subscribe to the register: %w", err)
	}
	if c.kind.owns() {
		return s.follow(ctx, stable)
	}
	return s.followOthers(ctx, stable)
}

// follow brings the node in line with the register, and keeps it there until ctx ends
// or that fails.
func (s *session) follow(ctx context.Context, stable func()) error {
	if err := s.resume(ctx); err != nil {
		return err
	}
	s.c.setStatus(&status{reg: s.reg})
	defer s.c.status.Store(&status{err: errRestarting}) // until supervise knows better
	return s.run(ctx, stable)
}

// suspect notes that messages may have been lost.
func (s *session) suspect() {
	select {
	case s.lost <- struct{}{}:
	default:
	}
}

func (s *session) run(ctx context.Context, stable func()) error {
	check := time.NewTicker(checkEvery)
	defer check.Stop()
	beat := s.beats()
	defer beat.Stop()
	settled := time.After(2 * longestBackoff)
	for {
		var err error
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-settled:
			stable()
		case m := <-s.msgs:
			err = s.receive(ctx, m)
		case <-s.lost:
			err = s.refill(ctx)
		case <-check.C:
			err = s.check(ctx)
		case <-beat.C:
			s.beat(ctx, beat)
		case s.failure = <-s.reg.failed:
			s.c.status.Store(&status{reg: s.reg, err: s.failure})
			s.c.log.Error("register takes no changes, the node serves on", "error", s.failure)
		}
		if err != nil {
			return err
		}
	}
}

// check looks whether the stream is ahead, and whether a disk that refused writes
// takes them again. A store that failed once only stores again when it is reopened.
func (s *session) check(ctx context.Context) error {
	if s.failure != nil {
		if s.c.checkSpace(0) == nil && probe(ctx, s.c.natsPath()) == nil {
			return fmt.Errorf("%w: writes had failed: %w", errMended, s.failure)
		}
		return nil
	}
	if !s.c.kind.owns() {
		return s.checkOthers(ctx)
	}
	err := s.fill(ctx)
	if err == nil {
		s.missed = 0
		return nil
	}
	_, lost := errors.AsType[*lostError](err)
	if s.missed++; !lost && s.missed < checksMissed && s.link.srv.JetStreamEnabled() && ctx.Err() == nil {
		s.c.log.Warn("register check failed", "error", err)
		return nil
	}
	return err
}

// receive takes a republished message: the next one, an old one, or one that shows
// a gap.
func (s *session) receive(ctx context.Context, m *nats.Msg) error {
	msg, err := parse(m)
	if err != nil {
		s.c.log.Warn("register message refused", "error", err)
		return s.refill(ctx)
	}
	pos := s.c.synced.pos
	if s.foreign(msg) {
		return nil // the check looks into it
	}
	next := pos.seq + uint64(len(s.batch)) + 1
	s.ahead = max(s.ahead, msg.Revision)
	switch {
	case msg.Revision < next:
		return nil
	case msg.Revision > next:
		s.c.metrics.gap(ctx)
		return s.refill(ctx)
	}
	s.batch = append(s.batch, msg)
	if msg.batch != "" && !msg.complete {
		return nil
	}
	all := s.batch
	s.batch = nil
	s.deliver(entriesOf(all), position{bucket: pos.bucket, seq: msg.Revision}, false)
	return nil
}

// refill brings the model up to date after messages may have been lost. Where others
// keep the register, any of them is asked.
func (s *session) refill(ctx context.Context) error {
	if s.c.kind.owns() {
		return s.fill(ctx)
	}
	return s.catchUp(ctx)
}

// lostError ends a session whose bucket is not the one that the model is of: the
// next session makes it anew.
type lostError struct {
	info bucketInfo // zero if there is no bucket
	why  string
}

func (e *lostError) Error() string { return "the register was lost: " + e.why }

// fill brings the model up to what the stream has now. It returns a lostError if
// the stream is not to be believed.
func (s *session) fill(ctx context.Context) error {
	bctx, cancel := s.c.bounded(ctx)
	defer cancel()
	info, err := s.reg.info(bctx)
	if err != nil && !errors.Is(err, errGone) {
		return err
	}
	if why := s.c.synced.lost(info, err); why != "" {
		return &lostError{info: info, why: why}
	}
	if err != nil {
		return err
	}
	pos, known := s.c.synced.pos, s.c.synced.known
	if known && info.LastSeq == pos.seq {
		return nil
	}
	from := pos.seq + 1
	if !known {
		from = 1
	}
	all, err := s.reg.fetch(ctx, from)
	if err != nil {
		return err
	}
	last := info.LastSeq
	if n := len(all); n > 0 {
		last = max(last, all[n-1].Revision)
	}
	all, last = whole(all, last)
	s.batch = nil
	if known && last <= pos.seq {
		return nil
	}
	s.deliver(entriesOf(all), position{bucket: info.ID, seq: last}, !known)
	return nil
}

// deliver brings the model to pos and hands the entries on. The heartbeat is not for
// those who follow the register.
func (s *session) deliver(entries []Entry, pos position, full bool) {
	entries = s.c.pulse.take(entries)
	m := &s.c.synced
	changed := m.changed
	if s.c.kind == alone {
		changed = pos.seq
	}
	for _, e := range entries {
		changed = max(changed, e.Revision)
	}
	m.mu.Lock()
	m.entries.merge(entries, full)
	m.pos, m.known, m.changed = pos, true, changed
	m.mu.Unlock()
	s.reg.bucket.Store(int64(pos.bucket))
	s.c.box.put(entries, pos, changed, full)
	m.at.advance(pos.seq)
}

// lost tells why the bucket cannot be the one that the model is of; empty: it is.
func (m *model) lost(info bucketInfo, err error) string {
	switch {
	case err != nil && m.known:
		return "the bucket is gone"
	case err != nil || !m.known:
		return ""
	case info.ID != m.pos.bucket:
		return "the bucket was made anew"
	case info.LastSeq < m.pos.seq:
		return fmt.Sprintf("the bucket is back at revision %d", info.LastSeq)
	case info.LastSeq == m.pos.seq && info.Msgs < uint64(len(m.entries)):
		return "the bucket has lost entries"
	}
	return ""
}
