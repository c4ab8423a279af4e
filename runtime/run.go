package runtime

import (
	"context"
	"io"
	"sync"
	"time"

	"github.com/orla-edge/orla/runtime/host"
)

// run is what one request, or the initialisation, is to the host functions: they find
// it in the context of the call. The context ends when the guest has to.
type run struct {
	context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
	left   time.Duration // of the timeout, when the timer was last started
	ticks  time.Time     // when that was
	began  time.Time

	inst   *instance
	limits *limits
	meter  meter
	env    []string  // of WASI: "NAME=value"
	kv     *kvAccess // nil while there is no request

	stdin          io.Reader
	stdout, stderr io.Writer

	mu       sync.Mutex     // guards exchange, also while it is being stopped
	exchange *host.Exchange // nil while nobody waits in it
}

// newRun returns a run with the values of ctx. The caller calls stop when it is over.
func (p *Program) newRun(ctx context.Context, l *limits) (_ *run, stop func()) {
	r := &run{limits: l, env: p.env, left: l.timeout, began: time.Now()}
	r.ticks = r.began
	r.Context, r.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	r.meter = meter{queue: p.engine.queue, app: p.app, most: l.cpu, ctx: r.Context, blind: l.pooled || l.fresh}
	r.timer = time.AfterFunc(l.timeout, func() { r.end(errDeadline) })
	return r, func() { r.timer.Stop() }
}

// attach says which Exchange is stopped with the run. When attach(nil) returns, none is
// being stopped.
func (r *run) attach(x *host.Exchange) {
	r.mu.Lock()
	r.exchange = x
	r.mu.Unlock()
	if x != nil && r.Err() != nil {
		r.halt()
	}
}

// halt makes reads and writes of the guest fail.
func (r *run) halt() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.exchange != nil {
		r.exchange.Stop()
	}
}

// end ends the run: the guest when it is looked after next, and what it waits for now.
func (r *run) end(cause error) {
	r.cancel(cause)
	r.halt()
}

// suspend stops the function's clock until what it returns is called.
func (r *run) suspend() (resume func()) {
	if r.timer.Stop() {
		r.left -= time.Since(r.ticks)
	}
	return func() {
		r.ticks = time.Now()
		if r.Err() == nil {
			r.timer.Reset(r.left)
		}
	}
}

// check ends the guest, which has called the host, if it may not go on.
func (r *run) check() {
	if err := r.meter.check(); err != nil {
		panic(err)
	}
}

type runKey struct{}

// Value implements [context.Context].
func (r *run) Value(key any) any {
	if key == (runKey{}) {
		return r
	}
	return r.Context.Value(key)
}

func runOf(ctx context.Context) *run {
	r, _ := ctx.Value(runKey{}).(*run)
	return r
}
