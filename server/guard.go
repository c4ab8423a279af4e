package server

import (
	"net/http"
	"sync"
	"time"
)

// guard resets an HTTP/2 stream whose client leaves no room in its flow control
// window for too long. HTTP/1 needs none: there the connection stalls, see
// [conn.Write].
type guard struct {
	stall time.Duration
	w     interface{ SetWriteDeadline(t time.Time) error } // nil: no guard

	mu    sync.Mutex // guards armed, and is held while the stream is reset
	armed bool
	timer *time.Timer
}

func (g *guard) init(r *http.Request, w http.ResponseWriter, stall time.Duration) {
	if r.ProtoMajor != 2 {
		return
	}
	g.stall = stall
	g.w, _ = w.(interface{ SetWriteDeadline(t time.Time) error })
}

// arm starts the clock: a write begins.
func (g *guard) arm() {
	if g.w == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.armed = true
	if g.timer == nil {
		g.timer = time.AfterFunc(g.stall, g.cut)
		return
	}
	g.timer.Reset(g.stall)
}

// disarm stops it. After disarm the stream is not touched.
func (g *guard) disarm() {
	if g.w == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.armed = false
	g.timer.Stop()
}

func (g *guard) cut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.armed {
		_ = g.w.SetWriteDeadline(time.Unix(1, 0)) // in the past: a reset
	}
}

// finish bounds what net/http writes after the handler has returned.
func (g *guard) finish() {
	if g.w != nil {
		_ = g.w.SetWriteDeadline(time.Now().Add(g.stall)) // of a stream that is open
	}
}
