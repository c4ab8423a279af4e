package runtime

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	// tolerated is how many requests in a row may crash before the circuit opens.
	tolerated = 10
	// firstRest is how long it stays open at first, longestRest at most: each trial that
	// crashes doubles it.
	firstRest   = time.Second
	longestRest = time.Minute
)

// Circuit is whether a function is called at all.
type Circuit struct {
	// Open reports that requests are answered 503 without the function being called.
	Open bool
	// Failures counts the crashes in a row.
	Failures int
	// Retry is when an open circuit lets the next request through.
	Retry time.Time
	// LastError is how the last crash ended.
	LastError string
	// Opens counts how often the circuit has opened.
	Opens uint64
}

// circuit keeps a function that keeps crashing from being called for nothing.
type circuit struct {
	failing atomic.Bool // whether mu has to be taken at all

	mu    sync.Mutex // guards all below
	state Circuit
	rest  time.Duration
	trial bool // a request is trying whether it works again
}

// allow reports whether a request may be let through; if not, it says when to try again.
func (c *circuit) allow(now time.Time) (bool, time.Duration) {
	if !c.failing.Load() {
		return true, 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch wait := c.state.Retry.Sub(now); {
	case !c.state.Open:
		return true, 0
	case wait > 0:
		return false, wait
	case c.trial:
		return false, firstRest
	}
	c.trial = true
	return true, 0
}

// done tells how a request that was let through has ended, and reports whether the
// circuit has opened by it. An outcome that says nothing of the guest's health, such as
// a client that went away, only ends a trial.
func (c *circuit) done(now time.Time, out outcome, err error) (opened bool) {
	if out != crashed && !c.failing.Load() {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	trial := c.trial
	c.trial = false
	switch out {
	case succeeded:
		c.failing.Store(false)
		c.state = Circuit{Opens: c.state.Opens, LastError: c.state.LastError}
		c.rest = 0
	case crashed:
		c.failing.Store(true)
		c.state.Failures++
		c.state.LastError = firstLine(err.Error())
		if c.state.Failures < tolerated || c.state.Open && !trial {
			return false
		}
		c.rest = min(max(2*c.rest, firstRest), longestRest)
		c.state.Open, c.state.Retry = true, now.Add(c.rest)
		c.state.Opens++
		return true
	}
	return false
}

// Circuit returns whether the function is called at all.
func (p *Program) Circuit() Circuit {
	p.circuit.mu.Lock()
	defer p.circuit.mu.Unlock()
	return p.circuit.state
}
