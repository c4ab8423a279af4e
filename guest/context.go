package guest

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// pollInterval is how often a handler that waits finds out whether the client has gone.
const pollInterval = 20 * time.Millisecond

// requestContext is canceled when the client goes away or the handler returns. The host
// tells of the former only when it is asked, which costs a call: a handler that never
// looks at its context pays nothing.
type requestContext struct {
	context.Context // canceled by cancel
	cancel          context.CancelFunc
	gone            func() bool // asks the host; once true, always true
	watch           sync.Once
	watched         atomic.Bool // somebody waits for Done
}

func newRequestContext(gone func() bool) *requestContext {
	ctx, cancel := context.WithCancel(context.Background())
	return &requestContext{Context: ctx, cancel: cancel, gone: gone}
}

// Done implements [context.Context]. From the first call on the host is asked every
// pollInterval while the handler waits, and by reads and writes of bodies. A handler
// that computes has to call Err.
func (c *requestContext) Done() <-chan struct{} {
	c.watch.Do(func() {
		c.watched.Store(true)
		c.poll()
		go c.run()
	})
	return c.Context.Done()
}

// Err implements [context.Context]. It asks the host.
func (c *requestContext) Err() error {
	if c.Context.Err() == nil {
		c.poll()
	}
	return c.Context.Err()
}

// run asks the host until the context ends.
func (c *requestContext) run() {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		select {
		case <-c.Context.Done():
			return
		case <-tick.C:
			c.poll()
		}
	}
}

func (c *requestContext) poll() {
	if c.gone() {
		c.cancel()
	}
}

// passing asks the host on the way, if somebody waits for the answer.
func (c *requestContext) passing() {
	if c.watched.Load() && c.Context.Err() == nil {
		c.poll()
	}
}
