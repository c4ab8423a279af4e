package compile

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
)

// TestQueue has waiters come in order, and lets one after the other go.
func TestQueue(t *testing.T) {
	tests := []struct {
		name  string
		turns int
		come  string // tenants
		first string // those that need not wait
		then  []string
	}{
		{"one at a time", 1, "abc", "a", []string{"b", "c"}},
		{"two at a time", 2, "abcd", "ab", []string{"c", "d"}},
		{"a tenant has one turn", 3, "aaab", "ab", []string{"a", "", "a"}},
		{"a tenant's queue holds nobody up", 1, "aabaab", "a", []string{"a", "b", "a", "a", "b"}},
		{"past those that cannot", 2, "aaabc", "ab", []string{"a", "c", "a"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := newQueue(tt.turns)
				var running []string
				started := make(chan string, len(tt.come))
				for tenant := range strings.SplitSeq(tt.come, "") {
					go func() {
						if err := q.acquire(t.Context(), tenant); err != nil {
							t.Error(err)
						}
						started <- tenant
					}()
					synctest.Wait()
				}
				receive := func() (got []string) {
					for range len(started) {
						got = append(got, <-started)
					}
					return got
				}
				running = receive()
				if got := strings.Join(running, ""); got != tt.first {
					t.Fatalf("at once %q, want %q", got, tt.first)
				}
				for i, want := range tt.then {
					q.release(running[0])
					running = running[1:]
					synctest.Wait()
					next := receive()
					if got := strings.Join(next, ""); got != want {
						t.Fatalf("after release %d: %q, want %q", i+1, got, want)
					}
					running = append(running, next...)
					if sorted := slices.Sorted(slices.Values(running)); len(slices.Compact(sorted)) < len(running) {
						t.Fatalf("%q have their turn at the same time", running)
					}
				}
			})
		})
	}
}

func TestQueueCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(1)
		if err := q.acquire(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		cause := errors.New("gone")
		ctx, cancel := context.WithCancelCause(t.Context())
		left := make(chan error)
		go func() { left <- q.acquire(ctx, "b") }()
		synctest.Wait()
		cancel(cause)
		if err := <-left; !errors.Is(err, cause) {
			t.Errorf("acquire = %v, want the cause", err)
		}
		q.release("a")
		for range 2 { // whether or not it finds its turn at the same moment
			if err := q.acquire(ctx, "b"); err == nil {
				q.release("b")
			}
		}
		if err := q.acquire(t.Context(), "b"); err != nil {
			t.Fatal(err)
		}
		q.release("b")
		if q.free != 1 || len(q.busy) > 0 || len(q.waiting) > 0 {
			t.Errorf("in the end: %d free, %v busy, %d waiting", q.free, q.busy, len(q.waiting))
		}
	})
}
