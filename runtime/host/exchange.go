package host

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"time"
)

// ErrStopped is returned to a guest that reads or writes after [Exchange.Stop].
var ErrStopped = errors.New("host: the exchange was stopped")

// ErrRequestSize and ErrResponseSize say that a body is larger than the function may
// have it.
var (
	ErrRequestSize  = errors.New("host: the request's body is larger than the function may read")
	ErrResponseSize = errors.New("host: the response's body is larger than the function may write")
)

// flushAfter is how long written bytes may wait for more before they are sent on.
// A short answer is finished within it, and then gets a Content-Length.
const flushAfter = 5 * time.Millisecond

// pieceSize is the size of the pieces in which a guest's bytes enter and leave its
// memory.
const pieceSize = 32 << 10

// pendingSize is how many written bytes wait for more.
const pendingSize = 4 << 10

// Clock stands still while a guest waits for its client. Its methods are called from
// the guest's goroutine, in turns.
type Clock interface {
	Pause()
	Resume()
}

// Exchange is one request being answered by one guest. Both bodies stream. Bytes are
// copied on their way: an HTTP/2 connection may hold on to what a write that it gave
// up was given, and guest memory is used again when the guest ends.
//
// The guest's goroutine calls everything but Stop, which anybody may call.
type Exchange struct {
	// Request is what the guest sees; its Body is not to be read past the Exchange.
	Request *http.Request
	// Clock is paused while reads and writes wait; nil means none.
	Clock Clock
	// OnStart may change the answer's header before it is sent; nil means nothing.
	OnStart func(http.Header)
	// MaxRequest and MaxResponse bound the bodies in bytes; zero means no bound.
	MaxRequest, MaxResponse int64

	w       http.ResponseWriter
	rc      *http.ResponseController
	body    bool // the request may have a body
	in      []byte
	read    int64
	eof     bool // of the request's body
	mute    bool // the answer has no body: HEAD, 204, 304
	written int64

	mu      sync.Mutex // serialises writes and flushes; taken before state
	pending []byte
	unsent  bool // written since the last flush
	timer   *time.Timer

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

// wait runs f, which may wait for the client, while the clock stands still.
func (x *Exchange) wait(f func()) {
	if x.Clock == nil {
		f()
		return
	}
	x.Clock.Pause()
	defer x.Clock.Resume()
	f()
}

// lock takes mu, which a flush may hold that waits for the client.
func (x *Exchange) lock() {
	if !x.mu.TryLock() {
		x.wait(x.mu.Lock)
	}
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
	x.lock()
	defer x.mu.Unlock()
	x.state.Lock()
	stopped := x.stopped
	x.started = x.started || !stopped
	x.state.Unlock()
	if stopped {
		return ErrStopped
	}
	x.mute = x.Request.Method == http.MethodHead || status == http.StatusNoContent || status == http.StatusNotModified
	if x.OnStart != nil {
		x.OnStart(x.w.Header())
	}
	x.w.WriteHeader(status)
	x.touchLocked()
	return nil
}

// Read reads the request's body.
func (x *Exchange) Read(p []byte) (n int, err error) {
	if !x.body || len(p) == 0 {
		return 0, io.EOF
	}
	if x.isStopped() {
		return 0, ErrStopped
	}
	if want := min(len(p), pieceSize); len(x.in) < want {
		x.in = make([]byte, want)
	}
	x.wait(func() { n, err = x.Request.Body.Read(x.in[:min(len(p), len(x.in))]) })
	x.eof = x.eof || err != nil
	if x.read += int64(n); x.MaxRequest > 0 && x.read > x.MaxRequest {
		return 0, ErrRequestSize
	}
	return copy(p, x.in[:n]), err
}

// Write sends a piece of the answer's body, after Start. To HEAD, and with a status
// that forbids a body, it sends nothing and reports success.
func (x *Exchange) Write(p []byte) (n int, err error) {
	x.lock()
	defer x.mu.Unlock()
	if x.written += int64(len(p)); x.MaxResponse > 0 && x.written > x.MaxResponse {
		return 0, ErrResponseSize
	}
	if x.mute {
		return len(p), nil
	}
	if len(x.pending)+len(p) <= pendingSize && !x.isStopped() {
		x.pending = append(x.pending, p...)
		x.touchLocked()
		return len(p), nil
	}
	for err == nil && n < len(p) {
		piece := p[n:min(len(p), n+pieceSize)]
		x.pending = append(x.pending, piece...)
		x.wait(func() { err = x.sendLocked() })
		n += len(piece)
	}
	x.touchLocked()
	return n, err
}

// sendLocked writes what is pending.
func (x *Exchange) sendLocked() error {
	if len(x.pending) == 0 {
		return nil
	}
	err := ErrStopped
	if x.begin() {
		_, err = x.w.Write(x.pending)
		x.end()
	}
	if err != nil {
		x.pending = nil // the connection may hold on to it
		return fmt.Errorf("write response: %w", err)
	}
	x.pending = x.pending[:0]
	return nil
}

func (x *Exchange) isStopped() bool {
	x.state.Lock()
	defer x.state.Unlock()
	return x.stopped
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
		x.timer = time.AfterFunc(flushAfter, x.flush)
		return
	}
	x.timer.Reset(flushAfter)
}

// Flush sends what was written at once.
func (x *Exchange) Flush() { x.wait(x.flush) }

func (x *Exchange) flush() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.unsent || x.sendLocked() != nil || !x.begin() {
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

// Close ends the guest's part, and sends what has not been: when it returns, and no Stop
// is under way, nothing but the caller uses the ResponseWriter.
func (x *Exchange) Close() {
	x.mu.Lock()
	defer x.mu.Unlock()
	_ = x.sendLocked() // a broken connection shows to the server
	x.state.Lock()
	stopped := x.stopped
	x.stopped = true
	x.state.Unlock()
	if x.timer != nil {
		x.timer.Stop()
	}
	if x.body && x.Request.Close && !x.eof && !stopped {
		x.swallow()
	}
}

const (
	// swallowSize is how much of a request's body is read that the guest has left, as
	// much as net/http does; swallowTime how long that may take, and swallowFirst how long
	// the answer waits for it.
	swallowSize  = 256 << 10
	swallowTime  = time.Second
	swallowFirst = 50 * time.Millisecond
)

// swallow reads what is left of the body on a connection that is closed next. net/http
// does so on those that are kept only, and the client of one that is closed while it
// sends finds it reset, with the answer lost.
func (x *Exchange) swallow() {
	left := int64(swallowSize)
	for _, wait := range []time.Duration{swallowFirst, swallowTime} {
		if x.rc.SetReadDeadline(time.Now().Add(wait)) != nil {
			return
		}
		n, err := io.CopyN(io.Discard, x.Request.Body, left)
		if left -= n; left == 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
		_ = x.rc.Flush() // a broken connection shows to the server
	}
}
