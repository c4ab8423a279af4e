package runtime

import (
	"context"
	"errors"

	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/sys"
)

var errGone = errors.New("runtime: the instance is closed")

// fork is a command whose _start has run until it asks for its request: from there each
// request goes on. The call of _start never ends: it lives on a goroutine of its own,
// and after each request goes back to where it was.
type fork struct {
	inst    *instance
	globals []uint64      // at the fork
	work    chan *run     // requests; closed when there will be none
	ready   chan error    // once: whether the fork was reached
	done    chan result   // of each request
	last    result        // of the last one; the request's
	ended   chan struct{} // closed once the call of _start has ended
	reached bool
	point   experimental.Snapshot
}

// result is how a request in a fork has ended.
type result struct {
	err     error
	unclean error // why the instance cannot take another
}

// forks tells at which call a command fetches its request: what is in its environment,
// as CGI has it.
func forks(module, name string) bool {
	return module == wasi && (name == "environ_sizes_get" || name == "environ_get")
}

// life is the context of the call of _start: the run in it is the one of the moment.
type life struct {
	context.Context
	inst *instance
}

// Value implements [context.Context].
func (l life) Value(key any) any {
	switch key {
	case runKey{}:
		return l.inst.run
	case lifeKey{}:
		return l
	}
	return l.Context.Value(key)
}

// startFork runs a command until it asks for its request, and reports whether it was long
// in coming there: for more than a slice, so that it is worth to stay there. It fails for
// one that never asks, or that has printed before, which every request would see.
func (i *instance) startFork(ctx context.Context, p *Program) (long bool, err error) {
	limits := p.limits
	limits.timeout, limits.cpu = max(limits.timeout, initTimeout), max(limits.cpu, initTimeout)
	r, stop := p.newRun(ctx, &limits)
	defer stop()
	spoken := &tail{}
	r.stdout, r.stderr = spoken, spoken
	f := &fork{
		inst: i, work: make(chan *run), ready: make(chan error, 1), done: make(chan result, 1), ended: make(chan struct{}),
	}
	i.fork = f
	i.enter(r)
	go f.live(context.WithoutCancel(ctx))
	err = <-f.ready
	if err == nil && len(spoken.b) > 0 {
		err = errors.New("it prints before it asks for its request")
	}
	return r.meter.long, err
}

// live runs _start to its end, which comes when the guest fails, returns from _start, or
// is closed.
func (f *fork) live(ctx context.Context) {
	defer close(f.ended)
	i := f.inst
	err := i.run.call(experimental.WithSnapshotter(life{ctx, i}), i.command, nil)
	if !f.reached {
		if err == nil {
			err = errors.New("it ends before it asks for its request")
		}
		f.ready <- err
		return
	}
	if r := i.run; r != nil {
		r.meter.end()
		i.run = nil
		f.done <- result{err: err, unclean: errGone}
	}
}

// fetch is called before the guest asks for its request: first, and each time that it
// has been put back to this point. It waits for a request.
func (f *fork) fetch(ctx context.Context) {
	i := f.inst
	if i.run != nil && f.reached { // it asks for its environment once more
		return
	}
	if !f.reached {
		i.run.meter.end()
		err := i.mem.Rebase()
		f.globals, f.reached = i.values(), err == nil
		if err != nil {
			panic(err)
		}
		i.run = nil
		f.ready <- nil
	}
	f.point = experimental.GetSnapshotter(ctx).Snapshot()
	r := <-f.work
	if r == nil {
		panic(errGone)
	}
	i.enter(r)
	r.meter.begin()
}

// exit is called when the guest ends itself. If the instance can be made clean, the
// guest goes back to where it fetches its request, and exit does not return.
func (f *fork) exit(code uint32) {
	i := f.inst
	i.run.meter.end()
	err := i.reset(f.globals)
	i.run = nil
	f.done <- result{err: sys.NewExitError(code), unclean: err}
	if err == nil {
		f.point.Restore([]uint64{1})
	}
	panic(errGone)
}

// command runs a command for one request: from its beginning, or from where it fetches
// its request.
func (r *run) command(i *instance) error {
	f := i.fork
	if f == nil {
		return r.call(r, i.command, nil)
	}
	r.inst = i
	f.work <- r
	f.last = <-f.done
	return f.last.err
}

// close ends the guest. No request may be in it.
func (f *fork) close() {
	close(f.work)
	<-f.ended
}

// fetchRequest is what prepared code calls before the functions that forks names.
func fetchRequest(ctx context.Context, _ api.Module, stack []uint64) {
	if l, ok := ctx.Value(lifeKey{}).(life); ok {
		l.inst.fork.fetch(ctx)
	}
	stack[0] = 0 // Restore makes it 1
}

type lifeKey struct{}
