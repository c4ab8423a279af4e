package peer

import (
	"context"
	"io"
	"time"
)

// watch ends a transfer whose source is silent for too long. Time in which nobody
// reads, as while the disk is slow, does not count.
type watch struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
	limit  time.Duration
}

// watch returns a context for one transfer. The caller stops the watch.
func (f *Fetcher) watch(parent context.Context) (context.Context, *watch) {
	ctx, cancel := context.WithCancelCause(parent)
	w := &watch{ctx: ctx, cancel: cancel, limit: f.stall}
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
