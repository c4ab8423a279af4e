package server

import (
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// ErrSlowBody is what reading a request's body fails with when it arrives at
// less than Limits.BodyRate; [os.ErrDeadlineExceeded] is in the error's tree as
// well. The client gets a 408.
var ErrSlowBody = errors.New("server: request body arrives too slowly")

// body is a request's body under a minimum rate. It has credit, a time that it
// may keep its reader waiting: at first BodyGrace, used up by waiting and earned
// back, up to BodyGrace, by the bytes that arrive.
type body struct {
	io.ReadCloser
	w interface{ SetReadDeadline(t time.Time) error }

	grace, perByte time.Duration

	n    atomic.Int64 // bytes read
	slow atomic.Bool  // it was cut

	mu       sync.Mutex // guards what follows; a transport may read after the handler has returned
	credit   time.Duration
	deadline time.Time // the one in force; zero if none
	free     bool      // of deadlines: at its end, or in the handler's hands, or finished
}

func (b *body) init(rc io.ReadCloser, w http.ResponseWriter, l *Limits) {
	b.ReadCloser = rc
	b.grace, b.credit = l.BodyGrace, l.BodyGrace
	b.perByte = time.Second / time.Duration(l.BodyRate)
	b.w, _ = w.(interface{ SetReadDeadline(t time.Time) error })
	b.free = b.w == nil
}

// Read implements [io.Reader].
func (b *body) Read(p []byte) (int, error) {
	start := time.Now()
	watched := b.arm(start)
	n, err := b.ReadCloser.Read(p)
	b.n.Add(int64(n))
	if watched {
		err = b.settle(n, time.Since(start), err)
	}
	return n, err
}

// arm makes sure that a deadline at the end of the credit is in force, and
// reports whether there is one. It is moved only when that matters, for on
// HTTP/2 it goes through the connection's goroutine.
func (b *body) arm(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.free || b.ReadCloser == nil {
		return false
	}
	end := now.Add(max(b.credit, 0))
	if b.deadline.IsZero() || b.deadline.After(end) || b.deadline.Sub(now) < b.grace/2 {
		b.setLocked(end)
	}
	return true
}

// settle accounts for a read that took so long, and returns its error.
func (b *body) settle(n int, took time.Duration, err error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.credit = min(b.grace, b.credit-took+time.Duration(n)*b.perByte)
	if err == nil || b.free {
		return err
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		b.free = true
		b.slow.Store(true)
		return errors.Join(ErrSlowBody, err)
	}
	// The reading ahead that net/http does from here on must not time out.
	b.setLocked(time.Time{})
	b.free = true
	return err
}

func (b *body) setLocked(t time.Time) {
	b.deadline = t
	_ = b.w.SetReadDeadline(t) // fails if the connection is gone, and then reading does as well
}

// release ends the minimum rate: the handler sets deadlines itself, or has
// returned. From then on the body touches none; the one in force stays.
func (b *body) release() {
	b.mu.Lock()
	b.free = true
	b.mu.Unlock()
}

// maxLeft is how much of a body is read that nobody has asked for, to keep the
// connection: as much as net/http does.
const maxLeft = 256 << 10

// drain reads what a handler has left of the body that may read and write at the same
// time. Net/http reads it before it answers, but for such handlers after it has stopped
// watching the connection for them: then it watches again at the body's end, and panics
// when it wants to read the next request.
func (x *exchange) drain() {
	waits := x.r.Header.Get("Expect") != "" && x.body.read() == 0 // the client does; net/http closes
	if !x.duplex || x.hijacked || x.body.ReadCloser == nil || waits {
		return
	}
	// Beyond the limit, net/http's own reader has it close the connection.
	left := http.MaxBytesReader(x.w, io.NopCloser(&x.body), maxLeft)
	_, _ = io.Copy(io.Discard, left) // who sends no more is not waited for again
}

// read returns how many bytes were read.
func (b *body) read() int64 { return b.n.Load() }
