package host

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// ErrStopped is returned to a guest that reads or writes after [Exchange.Stop].
var ErrStopped = errors.New("host: the exchange was stopped")

// flushAfter is how long written bytes may wait for more before they are sent on.
// A short answer is finished within it, and then gets a Content-Length.
const flushAfter = 5 * time.Millisecond

// copySize is the size of the pieces in which a guest's bytes leave its memory.
const copySize = 32 << 10

// Exchange is one request being answered by one guest. Both bodies stream. What a
// guest writes is copied out of its memory first, since an HTTP/2 connection may
// hold on to the bytes of a write that it gave up, and guest memory is unmapped
// when the guest ends.
//
// The guest's goroutine calls everything but Stop, which anybody may call.
type Exchange struct {
	// Request is what the guest sees; its Body is not to be read past the Exchange.
	Request *http.Request

	w    http.ResponseWriter
	rc   *http.ResponseController
	body bool // the request may have a body
	buf  []byte
	mute bool // the answer has no body: HEAD, 204, 304

	mu     sync.Mutex // serialises writes and flushes; taken before state
	unsent bool       // written since the last flush
	timer  *time.Timer

	state   sync.Mutex // guards the three below; held for no I/O
	started bool
	stopped bool
	sending bool // a write or flush that may wait for the client is under way
}

// NewExchange returns an Exchange for the request that w answers.
func NewExchange(w http.ResponseWriter, r *http.Request) *Exchange {
	x := &Exchange{Request: r, w: w, rc: http.NewResponseController(w), body: r.ContentLength != 0 && r.Body != nil}
	if x.body {
		// HTTP/1 would else swallow what is left of the request when the answer begins.
		_ = x.rc.EnableFullDuplex() // unsupported means not needed
	}
	return x
}

// Header is the answer's header; changes count until Start.
func (x *Exchange) Header() http.Header { return x.w.Header() }

// Started reports whether the head of the answer has been sent.
func (x *Exchange) Started() bool {
	x.state.Lock()
	defer x.state.Unlock()
	return x.started
}

// Start sends the head of the answer. The status is 200 to 599.
func (x *Exchange) Start(status int) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.state.Lock()
	stopped := x.stopped
	x.started = x.started || !stopped
	x.state.Unlock()
	if stopped {
		return ErrStopped
	}
	x.mute = x.Request.Method == http.MethodHead || status == http.StatusNoContent || status == http.StatusNotModified
	x.w.WriteHeader(status)
	x.touchLocked()
	return nil
}

// Read reads the request's body.
func (x *Exchange) Read(p []byte) (int, error) {
	if !x.body {
		return 0, io.EOF
	}
	x.state.Lock()
	stopped := x.stopped
	x.state.Unlock()
	if stopped {
		return 0, ErrStopped
	}
	return x.Request.Body.Read(p)
}

// Write sends a piece of the answer's body, after Start. To HEAD, and with a status
// that forbids a body, it sends nothing and reports success.
func (x *Exchange) Write(p []byte) (int, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.mute {
		return len(p), nil
	}
	done := 0
	for done < len(p) {
		if want := min(len(p)-done, copySize); len(x.buf) < want {
			x.buf = make([]byte, want)
		}
		n, err := 0, ErrStopped
		if x.begin() {
			n, err = x.w.Write(x.buf[:copy(x.buf, p[done:])])
			x.end()
		}
		done += n
		if err != nil {
			return done, fmt.Errorf("write response: %w", err)
		}
	}
	x.touchLocked()
	return done, nil
}

// begin reports whether sending may begin; end ends it.
func (x *Exchange) begin() bool {
	x.state.Lock()
	defer x.state.Unlock()
	x.sending = !x.stopped
	return x.sending
}

func (x *Exchange) end() {
	x.state.Lock()
	defer x.state.Unlock()
	x.sending = false
}

// touchLocked sees to it that what was written is sent soon.
func (x *Exchange) touchLocked() {
	if x.unsent {
		return
	}
	x.unsent = true
	if x.timer == nil {
		x.timer = time.AfterFunc(flushAfter, x.Flush)
		return
	}
	x.timer.Reset(flushAfter)
}

// Flush sends what was written at once.
func (x *Exchange) Flush() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.unsent || !x.begin() {
		return
	}
	defer x.end()
	x.unsent = false
	_ = x.rc.Flush() // a broken connection shows at the next write
}

// Stop makes reads and writes of the guest fail, those that are under way too. It
// is for a guest whose time is up or whose client has gone.
func (x *Exchange) Stop() {
	x.state.Lock()
	x.stopped = true
	sending := x.sending
	x.state.Unlock()
	if sending { // the answer has begun and cannot be mended
		_ = x.rc.SetWriteDeadline(time.Unix(1, 0))
	}
	if x.body {
		_ = x.rc.SetReadDeadline(time.Unix(1, 0))
	}
}

// Close ends the guest's part: when it returns, and no Stop is under way, nothing
// but the caller uses the ResponseWriter.
func (x *Exchange) Close() {
	x.state.Lock()
	x.stopped = true
	x.state.Unlock()
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.timer != nil {
		x.timer.Stop()
	}
}
