package cluster

import (
	"context"
	"fmt"
	"sync"
)

// progress is a number that only rises, and that can be waited for.
type progress struct {
	mu    sync.Mutex // guards at and moved
	at    uint64
	moved chan struct{} // closed when at rises; nil while nobody waits
}

func (p *progress) load() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.at
}

func (p *progress) advance(to uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if to <= p.at {
		return
	}
	p.at = to
	if p.moved != nil {
		close(p.moved)
		p.moved = nil
	}
}

// wait returns nil when the number is at least to, else the context's cause, or
// [ErrUnavailable] once stopped is closed.
func (p *progress) wait(ctx context.Context, to uint64, stopped <-chan struct{}) error {
	for {
		p.mu.Lock()
		if p.at >= to {
			p.mu.Unlock()
			return nil
		}
		if p.moved == nil {
			p.moved = make(chan struct{})
		}
		moved := p.moved
		p.mu.Unlock()
		select {
		case <-moved:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-stopped:
			return fmt.Errorf("%w: %w", ErrUnavailable, errStopped)
		}
	}
}

// mailbox holds what the sync has learnt until the function given to Run takes
// it: at most the latest entry of each key, however slow that function is.
type mailbox struct {
	mu      sync.Mutex // guards what follows
	pending map[string]Entry
	full    bool
	pos     position
	changed uint64 // revision of the last change
	ticket  uint64 // counts puts that change something
	filled  bool

	ready chan struct{} // holds a token when the box was filled
}

// delivery is the content of a mailbox.
type delivery struct {
	update Update
	pos    position
	ticket uint64
}

func newMailbox() *mailbox {
	return &mailbox{pending: map[string]Entry{}, ready: make(chan struct{}, 1)}
}

// put adds entries, which together bring a receiver to pos.
func (m *mailbox) put(entries []Entry, pos position, changed uint64, full bool) {
	m.mu.Lock()
	if full {
		clear(m.pending)
		m.full = true
	}
	for _, e := range entries {
		m.pending[e.Key] = e
	}
	m.pos, m.changed, m.filled = pos, changed, true
	if full || len(entries) > 0 {
		m.ticket++
	}
	m.mu.Unlock()
	select {
	case m.ready <- struct{}{}:
	default:
	}
}

// take empties the box; false: it was empty.
func (m *mailbox) take() (delivery, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.filled {
		return delivery{}, false
	}
	if m.full {
		for key, e := range m.pending {
			if e.Value == nil {
				delete(m.pending, key)
			}
		}
	}
	d := delivery{
		update: Update{Full: m.full, Entries: table(m.pending).sorted(), Revision: m.changed},
		pos:    m.pos,
		ticket: m.ticket,
	}
	m.pending, m.full, m.filled = map[string]Entry{}, false, false
	return d, true
}

func (m *mailbox) lastTicket() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ticket
}
