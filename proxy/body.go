package proxy

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

var errBodyClosed = errors.New("proxy: request body read after the exchange")

// linger is how long the server may go on reading a request whose answer has been
// sent, so that the client gets to read it.
const linger = 500 * time.Millisecond

// clientBody is a request's body on its way to an upstream. It knows how far it
// was read, whose fault an error is, and ends with the exchange although a
// transport may still hold it.
type clientBody struct {
	src   io.Reader
	rc    *http.ResponseController
	timer *headTimer

	closed  atomic.Bool
	started atomic.Bool
	eof     atomic.Bool

	mu  sync.Mutex // held while reading
	err error      // what the client's side failed with; guarded by mu
}

// Read implements [io.Reader]. The wait for the client does not count as a wait
// for the upstream.
func (b *clientBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed.Load() {
		return 0, errBodyClosed
	}
	b.started.Store(true)
	b.timer.pause()
	n, err := b.src.Read(p)
	b.timer.resume()
	switch {
	case err == io.EOF:
		b.eof.Store(true)
	case err != nil && b.err == nil:
		b.err = err
	}
	return n, err
}

// Close implements [io.Closer] and does nothing: the body is the server's, and
// another attempt may need it.
func (b *clientBody) Close() error { return nil }

// failure returns the error of the client's side, if there was one. It is called
// when no attempt is in progress.
func (b *clientBody) failure() error {
	if b == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

// untouched reports whether all of the body can still be sent.
func (b *clientBody) untouched() bool { return b == nil || !b.started.Load() }

// drained reports whether the body was read to its end.
func (b *clientBody) drained() bool { return b == nil || b.eof.Load() }

// finish ends the body. When it returns nobody reads from the server's body any
// more, which the server relies on after the handler has returned.
func (b *clientBody) finish() {
	if b.drained() {
		return
	}
	b.closed.Store(true)
	if !b.mu.TryLock() {
		if b.rc.SetReadDeadline(time.Unix(1, 0)) != nil {
			return // not a server's connection: nothing to wait for
		}
		b.mu.Lock()
	}
	defer b.mu.Unlock()
	// The server discards some of what is left before it closes the connection.
	// Where there are no deadlines there is nothing to bound.
	_ = b.rc.SetReadDeadline(time.Now().Add(linger))
}

// headTimer cancels an attempt when the upstream takes too long to answer.
type headTimer struct {
	limit time.Duration

	mu   sync.Mutex // guards what follows
	t    *time.Timer
	done bool
}

func (h *headTimer) start(cancel context.CancelCauseFunc) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.done = false
	h.t = time.AfterFunc(h.limit, func() { cancel(errHeadTimeout) })
}

func (h *headTimer) stop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.done = true
	h.t.Stop()
}

func (h *headTimer) pause() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.t.Stop()
}

func (h *headTimer) resume() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.done {
		h.t.Reset(h.limit)
	}
}
