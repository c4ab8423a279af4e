package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"testing"

	"github.com/nats-io/nats.go"
)

func benchNode(b *testing.B) *Cluster {
	b.Helper()
	c, err := New(Config{Dir: b.TempDir(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	first := make(chan struct{}, 1)
	go func() {
		done <- c.Run(ctx, func(context.Context, Update) error {
			select {
			case first <- struct{}{}:
			default:
			}
			return nil
		})
	}()
	b.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
	})
	<-first
	for c.Ready() != nil {
		select {
		case <-b.Context().Done():
			b.Fatal("never ready")
		default:
		}
	}
	return c
}

// BenchmarkCommit is the way of a change from the call until apply has returned
// and the state is on disk, beside what NATS alone takes to store it.
func BenchmarkCommit(b *testing.B) {
	value := make([]byte, 4<<10)
	b.Run("publish", func(b *testing.B) {
		c := benchNode(b)
		nc := c.status.Load().reg.nc
		m := nats.NewMsg(subjectPrefix + "k")
		m.Data = value
		for b.Loop() {
			if _, err := nc.RequestMsgWithContext(b.Context(), m); err != nil {
				b.Fatal(err)
			}
		}
	})
	for _, n := range []int{1, 3, 100} {
		changes := make([]Change, n)
		reset := func() {
			for i := range changes {
				changes[i] = Change{Key: fmt.Sprintf("k%d", i), Value: value}
			}
		}
		for _, wait := range []bool{false, true} {
			name := "acknowledged"
			if wait {
				name = "applied"
			}
			b.Run(fmt.Sprintf("%s/keys=%d", name, n), func(b *testing.B) {
				c := benchNode(b)
				reset()
				for b.Loop() {
					rev, err := c.Commit(b.Context(), changes...)
					if err == nil && wait {
						err = c.Wait(b.Context(), rev)
					}
					if err != nil {
						b.Fatal(err)
					}
					for i := range changes {
						changes[i].Expect = rev - uint64(n-1-i)
					}
				}
			})
		}
	}
}
