package telemetry

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// TailConfig bounds what a [Tail] keeps.
type TailConfig struct {
	// Records is the most records kept of an app. Zero means 1,000.
	Records int
	// Bytes is the most memory, about, that an app's records take. Zero means 1 MiB.
	Bytes int
	// Apps is the most apps that records are kept of; a further one takes the
	// place of the one that was silent the longest. Zero means 100.
	Apps int
	// Backlog is the most records that wait for a subscriber. Zero means 256.
	Backlog int
}

// Tail holds the recent log records of each app and hands new ones to whoever
// follows them. Its methods may be called at the same time.
type Tail struct {
	c    TailConfig
	apps sync.Map // string to *appLog; read without mu

	mu    sync.Mutex // guards changes of apps; taken before appLog.mu
	count int        // of apps
	clock atomic.Int64
}

// NewTail returns an empty Tail.
func NewTail(c TailConfig) *Tail {
	c.Records = cmp.Or(c.Records, 1000)
	c.Bytes = cmp.Or(c.Bytes, 1<<20)
	c.Apps = cmp.Or(c.Apps, 100)
	c.Backlog = max(2, cmp.Or(c.Backlog, 256))
	return &Tail{c: c}
}

// appLog is one app's records and subscribers.
type appLog struct {
	last atomic.Int64 // Tail.clock when last written

	mu     sync.Mutex // guards what follows; held while sending, which never blocks
	gone   bool       // no longer in Tail.apps
	ring   []entry    // grows to TailConfig.Records, then wraps
	head   int        // index of the oldest entry
	length int
	bytes  int
	subs   []*subscriber
}

type subscriber struct {
	ch      chan Record
	dropped int
}

// Recent returns the last n records of an app, oldest first.
func (t *Tail) Recent(app string, n int) []Record {
	a, ok := t.lookup(app)
	if !ok {
		return nil
	}
	a.mu.Lock()
	recent := a.lastLocked(n)
	a.mu.Unlock()
	return records(recent)
}

// Subscribe returns an app's records from now on, also if the app has none yet.
// The channel is closed by cancel, which may be called more than once, and by
// [Tail.Forget]. A reader that falls behind loses records and finds one in their
// place that tells how many: its message is "dropped N records".
func (t *Tail) Subscribe(app string) (<-chan Record, func()) {
	_, ch, cancel := t.Follow(app, 0)
	return ch, cancel
}

// Follow is Recent and Subscribe in one, without a gap or an overlap in between.
func (t *Tail) Follow(app string, n int) ([]Record, <-chan Record, func()) {
	s := &subscriber{ch: make(chan Record, t.c.Backlog)}
	for {
		a := t.open(app)
		a.mu.Lock()
		if a.gone {
			a.mu.Unlock()
			continue
		}
		a.subs = append(a.subs, s)
		recent := a.lastLocked(n)
		a.mu.Unlock()
		return records(recent), s.ch, func() { a.unsubscribe(s) }
	}
}

// Forget drops an app's records and ends its subscriptions.
func (t *Tail) Forget(app string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if a, ok := t.lookup(app); ok {
		t.removeLocked(app, a)
	}
}

func (t *Tail) lookup(app string) (*appLog, bool) {
	v, ok := t.apps.Load(app)
	if !ok {
		return nil, false
	}
	return v.(*appLog), true
}

// open returns the app's log, making it, and room for it, if need be.
func (t *Tail) open(app string) *appLog {
	if a, ok := t.lookup(app); ok {
		return a
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if a, ok := t.lookup(app); ok {
		return a
	}
	if t.count >= t.c.Apps {
		t.evictLocked()
	}
	a := new(appLog)
	a.last.Store(t.clock.Add(1))
	t.apps.Store(app, a)
	t.count++
	return a
}

// evictLocked removes the app that was silent the longest, sparing those that
// somebody follows as long as there is another.
func (t *Tail) evictLocked() {
	var oldest, followed *appLog
	var oldestName, followedName string
	for k, v := range t.apps.Range {
		a, name := v.(*appLog), k.(string)
		a.mu.Lock()
		hasReader := len(a.subs) > 0
		a.mu.Unlock()
		switch {
		case hasReader && (followed == nil || a.last.Load() < followed.last.Load()):
			followed, followedName = a, name
		case !hasReader && (oldest == nil || a.last.Load() < oldest.last.Load()):
			oldest, oldestName = a, name
		}
	}
	if oldest == nil {
		oldest, oldestName = followed, followedName
	}
	t.removeLocked(oldestName, oldest)
}

func (t *Tail) removeLocked(app string, a *appLog) {
	t.apps.Delete(app)
	t.count--
	a.mu.Lock()
	defer a.mu.Unlock()
	a.gone = true
	a.ring, a.length, a.bytes = nil, 0, 0
	for _, s := range a.subs {
		close(s.ch)
	}
	a.subs = nil
}

// write keeps e and hands it to the app's subscribers.
func (t *Tail) write(app string, e entry) {
	for {
		a := t.open(app)
		a.last.Store(t.clock.Add(1))
		if a.write(e, t.c) {
			return
		}
	}
}

// write reports false if the log has been removed from the Tail meanwhile.
func (a *appLog) write(e entry, c TailConfig) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.gone {
		return false
	}
	a.keepLocked(e, c)
	if len(a.subs) == 0 {
		return true
	}
	r := e.record()
	for _, s := range a.subs {
		s.send(r)
	}
	return true
}

func (a *appLog) keepLocked(e entry, c TailConfig) {
	size := e.size()
	for a.length > 0 && (a.length >= c.Records || a.bytes+size > c.Bytes) {
		a.dropOldestLocked()
	}
	if a.length == len(a.ring) {
		a.growLocked(c.Records)
	}
	a.ring[(a.head+a.length)%len(a.ring)] = e
	a.length++
	a.bytes += size
}

func (a *appLog) dropOldestLocked() {
	a.bytes -= a.ring[a.head].size()
	a.ring[a.head] = entry{}
	a.head = (a.head + 1) % len(a.ring)
	a.length--
}

func (a *appLog) growLocked(limit int) {
	ring := make([]entry, min(limit, max(16, 2*len(a.ring))))
	for i := range a.length {
		ring[i] = a.ring[(a.head+i)%len(a.ring)]
	}
	a.ring, a.head = ring, 0
}

func (a *appLog) lastLocked(n int) []entry {
	n = min(max(n, 0), a.length)
	out := make([]entry, n)
	for i := range out {
		out[i] = a.ring[(a.head+a.length-n+i)%len(a.ring)]
	}
	return out
}

func (a *appLog) unsubscribe(s *subscriber) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if i := slices.Index(a.subs, s); i >= 0 {
		a.subs = slices.Delete(a.subs, i, i+1)
		close(s.ch)
	}
}

// send never blocks. It is called with the app's lock held, so that nobody else
// sends on the channel: room that is there stays there.
func (s *subscriber) send(r Record) {
	room := cap(s.ch) - len(s.ch)
	switch {
	case s.dropped == 0 && room >= 1:
		s.ch <- r
	case s.dropped > 0 && room >= 2:
		s.ch <- droppedRecord(s.dropped, time.Now())
		s.ch <- r
		s.dropped = 0
	default:
		s.dropped++
	}
}
