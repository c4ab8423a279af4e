package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// errSuspended is why a suspended Cluster takes no changes.
var errSuspended = errors.New("the node is being upgraded: try again in a moment")

const (
	// lockEvery is how often a resumed Cluster asks for its data directory.
	lockEvery = 20 * time.Millisecond
	// lockPatience is how long it does so before it says that somebody else has it.
	lockPatience = 2 * time.Second
)

// hold is one time that the register is at rest.
type hold struct {
	resting chan struct{} // closed when the data directory is free
	resume  chan struct{} // closed to go on
}

// Suspend gives the data directory up to another process, while what was applied
// stays in force: it ends the session, with the embedded server, saves the state
// and unlocks the directory. From then on [Cluster.Commit] and the reads return
// [ErrUnavailable], and apply is not called, until [Cluster.Resume]. What arrived
// but was not applied is not lost: whoever opens the register finds it there.
//
// It waits for an apply that runs. If ctx ends before that, the error is ctx's
// and nothing has changed. It is an error if Run is not running, or the Cluster
// is suspended already.
func (c *Cluster) Suspend(ctx context.Context) error {
	h := &hold{resting: make(chan struct{}), resume: make(chan struct{})}
	c.mu.Lock()
	taken := c.hold != nil
	if !taken {
		c.hold = h
	}
	c.mu.Unlock()
	if taken {
		return errors.New("suspend the register: it is suspended already")
	}
	err := errStopped
	select {
	case c.holds <- h:
		select {
		case <-h.resting: // soon: the session ends at once
			return nil
		case <-c.stopped:
		}
	case <-c.stopped:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	c.mu.Lock()
	c.hold = nil
	c.mu.Unlock()
	return fmt.Errorf("suspend the register: %w", err)
}

// Resume takes the data directory back after [Cluster.Suspend], and goes on from
// what the register has by then. It returns at once; while another process has
// the directory, [Cluster.Ready] says so, and it is tried again. Without a
// Suspend before it, it does nothing.
func (c *Cluster) Resume() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.hold != nil {
		close(c.hold.resume)
		c.hold = nil
	}
}

// up keeps a session until ctx ends or somebody wants the register to rest, whose
// hold it returns.
func (c *Cluster) up(ctx context.Context, a *applier) *hold {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.supervise(ctx)
	}()
	h := a.run(ctx)
	cancel()
	<-ended
	return h
}

// rest gives the directory up and returns once it is this process's again. It
// reports false if ctx ended before that.
func (c *Cluster) rest(ctx context.Context, h *hold) bool {
	c.status.Store(&status{err: errSuspended})
	c.states.close()
	if err := c.unlock(); err != nil {
		c.log.Error("unlock data directory", "error", err)
	}
	c.log.Info("register suspended")
	close(h.resting)
	select {
	case <-ctx.Done():
		return false
	case <-h.resume:
	}
	if !c.relock(ctx) {
		return false
	}
	c.status.Store(&status{err: errRestarting})
	c.log.Info("register resumed")
	return true
}

// relock locks the data directory again, however long that takes. It reports
// false if ctx ended before that.
func (c *Cluster) relock(ctx context.Context) bool {
	tick := time.NewTicker(lockEvery)
	defer tick.Stop()
	patience := time.Now().Add(lockPatience)
	said := false
	for {
		err := c.takeBack()
		if err == nil {
			return true
		}
		if time.Now().After(patience) && !said {
			said = true
			c.status.Store(&status{err: err})
			c.log.Error("register not resumed, the node serves what it has; will try again", "error", err)
		}
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
	}
}

// takeBack locks the data directory, and counts on from the states in it.
func (c *Cluster) takeBack() error {
	f, err := lockDir(c.cfg.Dir)
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.lock = f
	c.mu.Unlock()
	if err := c.states.reopen(); err != nil {
		return errors.Join(err, c.unlock())
	}
	return nil
}

// unlock frees the data directory for other processes.
func (c *Cluster) unlock() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lock == nil {
		return nil
	}
	err := errors.Join(unlockFile(c.lock), c.lock.Close())
	c.lock = nil
	return err
}
