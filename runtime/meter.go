package runtime

import (
	"context"
	"errors"
	"fmt"
	goruntime "runtime"
	"time"

	"github.com/orla-edge/orla/runtime/memory"
)

const (
	// slice is the fuel that a guest gets at a time: about 0.1 ms of simple
	// instructions, and some milliseconds of the slowest.
	slice = 300_000
	// turn is how long a guest computes while others wait.
	turn = time.Millisecond
)

// stopError is why the node has ended a guest.
type stopError struct {
	out outcome
	// limit is the name of the limit that was reached; empty if none was.
	limit string
	words string
}

// Error implements error.
func (e *stopError) Error() string { return "runtime: " + e.words }

var (
	errDeadline = &stopError{timedOut, "timeout", "the function's timeout has passed"}
	errCPU      = &stopError{overCPU, "cpu", "the function has used its CPU time up"}
	errStack    = &stopError{crashed, "stack", "the guest's calls are nested too deeply"}
	errCalls    = &stopError{exceeded, "host_calls", "the guest has called into the node too often"}
)

// meter accounts for what one request uses while its guest computes. Between begin and
// end the goroutine keeps its thread, whose page faults tell which memory was written to.
type meter struct {
	queue *queue
	app   string
	most  time.Duration // of CPU; zero means no bound
	// done ends waits; its context tells whether the guest may go on.
	ctx context.Context

	cpu     time.Duration // used in closed segments
	blind   bool          // nobody asks for faulted
	faulted bool          // a page may have become private

	open   bool
	paused bool
	began  time.Time     // of the open segment, or of its last lap
	thread time.Duration // the thread's clock then; negative if it was not read
	faults int64         // of the thread at the beginning of the open segment
	long   bool          // has computed for longer than a slice
	placed bool          // has a place among those
	turned time.Time     // since when
}

// begin opens a segment: the guest is about to compute.
func (m *meter) begin() {
	goruntime.LockOSThread()
	m.open = true
	if !m.blind {
		m.faults = memory.Faults()
	}
	m.thread = -1
	m.began = time.Now()
}

// end closes the segment. It may be called when none is open.
func (m *meter) end() {
	if !m.open {
		return
	}
	m.lap(false)
	if !m.blind {
		f := memory.Faults()
		m.faulted = m.faulted || f != m.faults || f < 0
	}
	m.open = false
	goruntime.UnlockOSThread()
	if m.placed {
		m.placed = false
		m.queue.leave()
	}
}

// Pause implements [host.Clock]: the guest waits in the host.
func (m *meter) Pause() {
	m.paused = m.open
	m.end()
}

// Resume implements [host.Clock].
func (m *meter) Resume() {
	if m.paused {
		m.paused = false
		m.begin()
	}
}

// used returns the CPU time used so far.
func (m *meter) used() time.Duration {
	if !m.open {
		return m.cpu
	}
	return m.cpu + time.Since(m.began)
}

// lap adds what was used since the last one. A guest that computes for long is charged
// by its thread's clock, which does not count the time of others; what is short is
// charged by the wall's, which is cheaper to read.
func (m *meter) lap(exact bool) {
	now := time.Now()
	used := now.Sub(m.began)
	m.began = now
	if !exact {
		m.cpu += used
		return
	}
	clock := threadTime()
	if m.thread >= 0 && clock >= 0 {
		used = min(used, clock-m.thread)
	}
	m.thread = clock
	m.cpu += used
}

// visit is called in the middle of a guest's computing: it returns if it may go on.
func (m *meter) visit() error {
	m.lap(true)
	if m.most > 0 && m.cpu >= m.most {
		return errCPU
	}
	if m.ctx.Err() != nil {
		return context.Cause(m.ctx)
	}
	switch {
	case !m.long:
		m.long = true
		return m.stepAside()
	case !m.placed:
		return m.stepAside()
	case m.began.Sub(m.turned) < turn:
		return nil
	}
	return m.stepAside()
}

// check is called by host functions, around what may take long: it returns if the guest
// may go on.
func (m *meter) check() error {
	if m.ctx.Err() != nil {
		return context.Cause(m.ctx)
	}
	if !m.open {
		return nil
	}
	since := time.Since(m.began)
	if since < turn && (m.most == 0 || m.cpu+since < m.most) {
		return nil
	}
	return m.visit()
}

// stepAside lets others compute, and waits for a place among those who do so for long.
func (m *meter) stepAside() error {
	m.end()
	goruntime.Gosched()
	ok := m.queue.enter(m.app, m.ctx.Done())
	m.begin()
	if !ok {
		return context.Cause(m.ctx)
	}
	m.placed, m.turned = true, m.began
	m.thread = threadTime()
	return nil
}

// stopped returns the [stopError] in err, if the node has ended the guest.
func stopped(err error) *stopError {
	s, _ := errors.AsType[*stopError](err)
	return s
}

func tooMuchMemory(limit uint64) *stopError {
	return &stopError{crashed, "memory", fmt.Sprintf("the guest failed after it was refused more than %d MiB of memory", limit>>20)}
}
