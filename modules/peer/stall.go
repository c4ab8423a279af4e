package peer

import (
	"context"
	"io"
	"time"
)

// watch ends a transfer whose other side is silent for too long. Time in which
// nobody reads what it sends, as while the disk is slow, does not count.
type watch struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
	limit  time.Duration
}

// watch returns a context for one transfer. The caller stops the watch.
func (f *Fetcher) watch(parent context.Context) (context.Context, *watch) {
	return newWatch(parent, f.stall)
}

func newWatch(parent context.Context, limit time.Duration) (context.Context, *watch) {
	ctx, cancel := context.WithCancelCause(parent)
	w := &watch{ctx: ctx, cancel: cancel, limit: limit}
	w.timer = time.AfterFunc(w.limit, func() { cancel(errStall) })
	return ctx, w
}

func (w *watch) stop() {
	w.timer.Stop()
	w.cancel(nil)
}

// cause returns why the transfer ended that failed with err.
func (w *watch) cause(err error) error {
	if cause := context.Cause(w.ctx); cause != nil {
		return cause
	}
	return err
}

// explain returns err, or why the watch ended what failed with it.
func (w *watch) explain(err error) error {
	if err == nil {
		return nil
	}
	return w.cause(err)
}

// reader returns r, watched.
func (w *watch) reader(r io.Reader) io.Reader { return watched{w, r} }

type watched struct {
	*watch
	r io.Reader
}

func (w watched) Read(b []byte) (int, error) {
	w.timer.Reset(w.limit)
	n, err := w.r.Read(b)
	w.timer.Stop()
	return n, err
}

// sender returns r, which is sent to the other side: watched is whether it takes more.
func (w *watch) sender(r io.Reader) io.Reader { return sent{w, r} }

type sent struct {
	*watch
	r io.Reader
}

func (s sent) Read(b []byte) (int, error) {
	s.timer.Reset(s.limit)
	return s.r.Read(b)
}
