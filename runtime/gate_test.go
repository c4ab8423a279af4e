package runtime

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestGateBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(2, time.Second)
		queued := 0
		count := func(n int64) { queued += int(n) }
		for range 2 {
			if err := g.enter(t.Context(), count); err != nil {
				t.Fatal(err)
			}
		}
		began := time.Now()
		if err := g.enter(t.Context(), count); !errors.Is(err, errBusy) || time.Since(began) != time.Second {
			t.Errorf("a third one: %v after %v, want errBusy after 1 s", err, time.Since(began))
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := g.enter(ctx, count); !errors.Is(err, context.Canceled) {
			t.Errorf("a client that has gone: %v, want Canceled", err)
		}
		g.leave()
		if err := g.enter(t.Context(), count); err != nil || queued != 0 {
			t.Errorf("after one has left: %v, %d in the queue", err, queued)
		}
	})
}

func TestGateLetsInInOrderOfArrival(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(3, time.Second)
		none := func(int64) {}
		for range 3 {
			if err := g.enter(t.Context(), none); err != nil {
				t.Fatal(err)
			}
		}
		order := make(chan int, 3)
		for i := range 3 {
			go func() {
				if g.enter(t.Context(), none) == nil {
					order <- i
				}
			}()
			synctest.Wait()
		}
		if err := g.enter(t.Context(), none); !errors.Is(err, errBusy) {
			t.Errorf("one more than the queue holds: %v, want errBusy", err)
		}
		for want := range 3 {
			g.leave()
			if got := <-order; got != want {
				t.Errorf("number %d came in, want number %d", got, want)
			}
		}
	})
}
