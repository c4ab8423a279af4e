package runtime

import (
	"context"
	"errors"
	"sync/atomic"
	"time"
)

var (
	errNoInstance = errors.New("runtime: the node has as many instances as it may, all of them busy; start it with a larger --function-instances")
	errNoMemory   = errors.New("runtime: the node's memory for instances is used up; start it with a larger --function-memory")
)

// full reports whether there was no room for another instance.
func full(err error) bool { return errors.Is(err, errNoInstance) || errors.Is(err, errNoMemory) }

// loaded is a program that is ready to answer: a snapshot, and the instances made of it
// that are idle. It is freed when it has been retired and the last request has left.
type loaded struct {
	engine *Engine
	lease  *lease[string, *snapshot]
	snap   *snapshot

	// refs counts the requests inside, and one for the program that has it.
	refs  atomic.Int64
	idle  atomic.Pointer[idle] // a stack
	kept  atomic.Int64         // its length
	busy  atomic.Int64
	bytes atomic.Int64 // of the linear memories of all instances
}

// idle is one instance in the stack. A cell is used once, so that a stack that has
// changed is never taken for one that has not.
type idle struct {
	*instance
	next *idle
}

// hold reports whether l may still be used; drop gives it back.
func (l *loaded) hold() bool {
	for {
		n := l.refs.Load()
		if n == 0 {
			return false
		}
		if l.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (l *loaded) drop(ctx context.Context) error {
	if l.refs.Add(-1) > 0 {
		return nil
	}
	ctx = context.WithoutCancel(ctx)
	return errors.Join(l.shrink(ctx, time.Now().Add(time.Hour)), l.engine.snapshots.release(ctx, l.lease))
}

// take returns an idle instance, or nil.
func (l *loaded) take() *instance {
	for {
		top := l.idle.Load()
		if top == nil {
			return nil
		}
		if l.idle.CompareAndSwap(top, top.next) {
			l.kept.Add(-1)
			return top.instance
		}
	}
}

// keep makes an instance idle.
func (l *loaded) keep(i *instance) {
	cell := &idle{instance: i}
	l.kept.Add(1)
	for {
		cell.next = l.idle.Load()
		if l.idle.CompareAndSwap(cell.next, cell) {
			return
		}
	}
}

// shrink closes the instances that were idle before a time.
func (l *loaded) shrink(ctx context.Context, before time.Time) error {
	var errs []error
	cell := l.idle.Swap(nil)
	for ; cell != nil; cell = cell.next {
		l.kept.Add(-1)
		if cell.idle.Before(before) {
			errs = append(errs, l.discard(ctx, cell.instance))
			continue
		}
		l.keep(cell.instance)
	}
	return errors.Join(errs...)
}

// make returns a new instance from the snapshot.
func (l *loaded) make(ctx context.Context, p *Program) (i *instance, err error) {
	if l.snap.image == nil || p.limits.fresh {
		i, err = p.initialised(ctx, l.snap.code.value)
	} else {
		i, err = p.fromImage(ctx, l.snap)
	}
	if err != nil {
		return nil, err
	}
	l.count(i, int64(i.mem.Size()))
	return i, nil
}

// count notes how many bytes the memory of i has now.
func (l *loaded) count(i *instance, now int64) {
	l.bytes.Add(now - i.counted)
	i.counted = now
}

// discard frees an instance that make has made.
func (l *loaded) discard(ctx context.Context, i *instance) error {
	l.count(i, 0)
	return l.engine.discard(ctx, i)
}
