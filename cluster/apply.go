package cluster

import (
	"context"
	"time"
)

const (
	// saveAgain is the time after which a state that could not be saved is tried anew.
	saveAgain = 5 * time.Second
	// syncEach is how long what has changed may be in the system's memory only. A process
	// that starts after a power failure learns of such changes from the register again.
	syncEach = 100 * time.Millisecond
)

// applier calls the function given to Run and saves what it returned for. It
// belongs to one goroutine.
type applier struct {
	c     *Cluster
	apply func(context.Context, Update) error

	live    table    // as applied
	pos     position // as applied
	ticket  uint64   // as applied
	unsaved bool
	lag     bool        // what was appended is not on the disk yet
	synced  *time.Timer // fires when it shall be
}

// first applies the state that came from disk, where it need not be saved again.
func (a *applier) first(ctx context.Context) {
	u := Update{Full: true, Entries: a.live.sorted(), Revision: a.pos.seq}
	if a.call(ctx, u) {
		a.c.applied.advance(a.pos.seq)
	}
}

// run applies what arrives until ctx ends or the register is to rest, whose hold
// it returns.
func (a *applier) run(ctx context.Context) *hold {
	again := time.NewTicker(saveAgain)
	defer again.Stop()
	a.synced = time.NewTimer(syncEach)
	defer a.synced.Stop()
	for {
		select {
		case <-ctx.Done():
			a.finish()
			return nil
		case h := <-a.c.holds:
			a.finish()
			return h
		case <-a.synced.C:
			a.sync()
		case <-again.C:
			if a.unsaved {
				a.save()
			}
		case <-a.c.box.ready:
			if d, ok := a.c.box.take(); ok {
				a.deliver(ctx, d)
			}
		}
	}
}

func (a *applier) deliver(ctx context.Context, d delivery) {
	if !d.update.Full && len(d.update.Entries) == 0 { // the register lives, nothing has changed
		a.c.applied.advance(d.pos.seq)
		return
	}
	if !a.call(ctx, d.update) {
		return
	}
	a.live.merge(d.update.Entries, d.update.Full)
	a.pos, a.ticket = position{bucket: d.pos.bucket, seq: d.update.Revision}, d.ticket
	a.note(d.update)
	a.c.applied.advance(d.pos.seq) // nobody has to wait for the disk
}

// call reports whether apply has had its say: false if ctx ended instead.
func (a *applier) call(ctx context.Context, u Update) bool {
	start := time.Now()
	err := a.apply(ctx, u)
	a.c.metrics.applyTook(ctx, time.Since(start))
	if err == nil {
		return true
	}
	if ctx.Err() != nil {
		return false
	}
	a.c.log.Error("change could not be applied in full", "revision", u.Revision, "error", err)
	return true
}

// note writes what has changed where the next process finds it.
func (a *applier) note(u Update) {
	now := state{pos: a.pos, entries: a.live}
	if u.Full || a.unsaved {
		a.saved(a.c.states.save(now))
		return
	}
	if err := a.c.states.append(u.Entries, now); err != nil {
		a.saved(err)
		return
	}
	if !a.lag {
		a.lag = true
		a.synced.Reset(syncEach)
	}
}

// sync makes durable what was noted.
func (a *applier) sync() {
	if a.lag && !a.unsaved {
		a.saved(a.c.states.sync())
	}
	a.lag = false
}

// finish leaves all on the disk.
func (a *applier) finish() {
	if a.unsaved {
		a.save()
	}
	a.sync()
}

// save writes the state whole.
func (a *applier) save() { a.saved(a.c.states.save(state{pos: a.pos, entries: a.live})) }

// saved notes how saving went. Without it the node serves on, and would start from an
// older state, which the register brings up to date.
func (a *applier) saved(err error) {
	if err != nil {
		if !a.unsaved {
			a.c.log.Error("last good state was not saved, will try again", "revision", a.pos.seq, "error", err)
		}
		a.unsaved = true
		return
	}
	a.unsaved = false
	a.c.saved.advance(a.ticket)
}
