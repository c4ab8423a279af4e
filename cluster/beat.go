package cluster

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// keyBeat is the key of the heartbeat: some hub writes it about once a second, through
// the same stream as every change, so that a node which hears it knows that it has
// missed nothing.
const keyBeat = "beat"

const (
	beatEvery = time.Second
	// beatJitter keeps hubs from writing at the same time: the first is enough.
	beatJitter = 250 * time.Millisecond
)

// pulse is what is known of the heartbeat.
type pulse struct {
	mu       sync.Mutex // guards what follows
	heard    time.Time  // when the stream was last heard of
	beat     time.Time  // when the last heartbeat came
	revision uint64     // of the last heartbeat
	value    []byte
}

// take takes the heartbeat out of entries, and notes that the stream lives.
func (p *pulse) take(entries []Entry) []Entry {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.heard = time.Now()
	i := slices.IndexFunc(entries, func(e Entry) bool { return e.Key == keyBeat })
	if i < 0 {
		return entries
	}
	for _, e := range entries[i:] {
		if e.Key == keyBeat {
			p.revision, p.value, p.beat = e.Revision, e.Value, p.heard
		}
	}
	return slices.DeleteFunc(slices.Clone(entries), func(e Entry) bool { return e.Key == keyBeat })
}

// age is how long ago the stream was heard of.
func (p *pulse) age() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Since(p.heard)
}

// Beat returns what the last heartbeat said, see Config.Beat, and how long ago the
// register was heard of. A node that is alone has none.
func (c *Cluster) Beat() (value []byte, age time.Duration) {
	c.pulse.mu.Lock()
	defer c.pulse.mu.Unlock()
	if c.kind == alone {
		return nil, 0
	}
	return c.pulse.value, time.Since(c.pulse.heard)
}

// Heartbeat returns how long ago the register was heard of. It reports false for a node
// that is alone, which has no heartbeat; one that has heard of none yet waits for it since
// it was made.
func (c *Cluster) Heartbeat() (age time.Duration, ok bool) {
	if c.kind == alone {
		return 0, false
	}
	c.pulse.mu.Lock()
	defer c.pulse.mu.Unlock()
	since := c.pulse.heard
	if since.IsZero() {
		since = c.made
	}
	return time.Since(since), true
}

// Lag returns how many revisions the node has heard of that it does not serve yet.
func (c *Cluster) Lag() uint64 {
	c.pulse.mu.Lock()
	latest := c.pulse.revision
	c.pulse.mu.Unlock()
	return max(latest, c.synced.at.load(), c.Applied()) - c.Applied()
}

// beats returns a timer that says when this node is to write a heartbeat; one that
// never does for nodes that write none.
func (s *session) beats() *time.Timer {
	t := time.NewTimer(rand.N(beatJitter))
	if s.c.kind == alone || s.c.kind == edge {
		t.Stop()
	}
	return t
}

// beat writes a heartbeat, unless another hub has just done so, and sets the timer.
func (s *session) beat(ctx context.Context, timer *time.Timer) {
	s.c.pulse.mu.Lock()
	since := time.Since(s.c.pulse.beat)
	s.c.pulse.mu.Unlock()
	if since < beatEvery {
		timer.Reset(beatEvery - since + rand.N(beatJitter))
		return
	}
	timer.Reset(beatEvery + rand.N(beatJitter))
	var value []byte
	if s.c.cfg.Beat != nil {
		value = s.c.cfg.Beat()
	}
	// Nobody waits for the answer: what counts is that it comes back republished.
	m := nats.NewMsg(subjectPrefix + keyBeat)
	m.Data = value
	s.reg.id().mark(m)
	if err := s.link.nc.PublishMsg(m); err != nil && ctx.Err() == nil {
		s.c.log.Debug("heartbeat not sent", "error", err)
	}
}
