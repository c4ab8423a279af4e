package guest

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// fakeHost is asked whether the client has gone.
type fakeHost struct {
	polls atomic.Int32
	gone  atomic.Bool
}

func (h *fakeHost) ask() bool {
	h.polls.Add(1)
	return h.gone.Load()
}

func TestContextCostsNothingUntilItIsUsed(t *testing.T) {
	h := new(fakeHost)
	c := newRequestContext(h.ask)
	c.passing()
	if c.Value("key") != nil || h.polls.Load() != 0 {
		t.Errorf("%d polls of a context that nobody has used, want none", h.polls.Load())
	}
	h.gone.Store(true)
	if err := c.Err(); !errors.Is(err, context.Canceled) || h.polls.Load() != 1 {
		t.Errorf("Err() = %v after %d polls, want canceled after one", err, h.polls.Load())
	}
	if _ = c.Err(); h.polls.Load() != 1 {
		t.Errorf("%d polls, want none once the context has ended", h.polls.Load())
	}
}

func TestContextEnds(t *testing.T) {
	tests := []struct {
		name string
		end  func(*requestContext, *fakeHost)
		wait time.Duration // until Done is closed
	}{
		{"while the handler waits", func(_ *requestContext, h *fakeHost) { h.gone.Store(true) }, pollInterval},
		{"as it writes", func(c *requestContext, h *fakeHost) { h.gone.Store(true); c.passing() }, 0},
		{"as it asks", func(c *requestContext, h *fakeHost) { h.gone.Store(true); _ = c.Err() }, 0},
		{"as the handler returns", func(c *requestContext, _ *fakeHost) { c.cancel() }, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			// The bubble ends only if run has returned.
			synctest.Test(t, func(t *testing.T) {
				h := new(fakeHost)
				c := newRequestContext(h.ask)
				child, cancel := context.WithTimeout(c, time.Hour)
				defer cancel()
				select {
				case <-c.Done():
					t.Fatal("it has ended before the client has gone")
				default:
				}
				began := time.Now()
				tt.end(c, h)
				<-child.Done()
				if took := time.Since(began); took != tt.wait || !errors.Is(c.Err(), context.Canceled) {
					t.Errorf("ended after %s by %v, want %s", took, c.Err(), tt.wait)
				}
			})
		})
	}
}

func TestContextOfAClientThatHasGone(t *testing.T) {
	h := new(fakeHost)
	h.gone.Store(true)
	c := newRequestContext(h.ask)
	select {
	case <-c.Done():
	default:
		t.Error("the first Done does not ask")
	}
}
