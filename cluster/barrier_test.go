package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// What a hub has acknowledged any hub can read at once, from what it knows itself.
func TestLatest(t *testing.T) {
	for _, hubs := range []int{0, 1, 3} {
		t.Run(fmt.Sprint(hubs, " hubs"), func(t *testing.T) {
			t.Parallel()
			var writers []*node
			if hubs == 0 {
				writers = append(writers, newNode(t, Config{Dir: t.TempDir()}).run())
				writers[0].ready()
			} else {
				l := newLab(t, hubs, 1)
				writers = l.hubs
				if _, err := l.edges[0].Barrier(t.Context()); !errors.Is(err, ErrReadOnly) || !errors.Is(err, ErrUnavailable) {
					t.Errorf("Barrier at an edge = %v, want ErrReadOnly", err)
				}
			}
			if _, err := writers[0].Latest(t.Context(), "k"); !errors.Is(err, ErrNotFound) {
				t.Errorf("Latest before there is the key = %v, want ErrNotFound", err)
			}
			var rev uint64
			for i := range 30 {
				value := fmt.Sprint(i)
				rev = writers[i%len(writers)].must(put("k", value, rev))
				reader := writers[(i+1)%len(writers)]
				if e, err := reader.Latest(t.Context(), "k"); err != nil || string(e.Value) != value || e.Revision != rev {
					t.Errorf("Latest = %q at %d, %v, want %q at %d", e.Value, e.Revision, err, value, rev)
				}
			}
		})
	}
}

// Without a majority nobody knows what is latest.
func TestLatestNeedsAMajority(t *testing.T) {
	l := newLab(t, 3, 0)
	l.hubs[0].must(put("k", "v", 0))
	l.everywhere("k", "v")
	l.hubs[1].stop()
	l.hubs[2].stop()
	if e, err := l.hubs[0].Latest(t.Context(), "k"); !errors.Is(err, ErrUnavailable) {
		t.Errorf("Latest on the last of three hubs = %q, %v, want ErrUnavailable", e.Value, err)
	}
}

// A leader that was deposed refuses what the other one makes. Who has committed it is told
// that it was made; who wants something else is told of the conflict.
func TestARefusalOfWhatWasMade(t *testing.T) {
	l := newLab(t, 3, 0)
	rev := l.hubs[0].must(put("k", "v", 0))
	for _, n := range l.hubs { // the message comes a second time
		if got, err := n.Commit(t.Context(), put("k", "v", 0)); err != nil || got != rev {
			t.Errorf("Commit of what was made = %d, %v, want %d", got, err, rev)
		}
		if _, err := n.Commit(t.Context(), put("k", "other", 0)); !errors.Is(err, ErrConflict) {
			t.Errorf("Commit of something else = %v, want ErrConflict", err)
		}
		if _, err := n.Commit(t.Context(), put("k", "v", 0), put("other", "v", 0)); !errors.Is(err, ErrConflict) {
			t.Errorf("Commit of which a part was made = %v, want ErrConflict", err)
		}
	}
}

// Calls that come together share a write; none shares one that began before it.
func TestCallsShareWhatBeginsAfterThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r rounds
		var mu sync.Mutex // guards begun
		var begun []time.Time
		do := func() (uint64, error) {
			mu.Lock()
			begun = append(begun, time.Now())
			n := uint64(len(begun))
			mu.Unlock()
			time.Sleep(time.Second)
			return n, nil
		}
		var calls sync.WaitGroup
		call := func(want uint64) {
			at := time.Now()
			got, err := r.share(t.Context(), do)
			mu.Lock()
			defer mu.Unlock()
			if err != nil || got != want || begun[got-1].Before(at) {
				t.Errorf("call = %d, %v, want %d, begun after the call", got, err, want)
			}
		}
		calls.Go(func() { call(1) })
		synctest.Wait()
		time.Sleep(time.Second / 2)
		for range 100 {
			calls.Go(func() { call(2) })
		}
		calls.Wait()
		call(3)
		if len(begun) != 3 {
			t.Errorf("it was done %d times for 1, 100 and 1 calls, want 3", len(begun))
		}
	})
}

// One who does not wait any longer takes nothing away from the others.
func TestWhoLeavesARoundLeavesItToTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r rounds
		failure := errors.New("no")
		do := func() (uint64, error) { time.Sleep(time.Second); return 7, failure }
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		var calls sync.WaitGroup
		calls.Go(func() {
			if _, err := r.share(ctx, do); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("impatient call = %v, want its deadline", err)
			}
		})
		calls.Go(func() {
			if n, err := r.share(t.Context(), do); n != 7 || !errors.Is(err, failure) {
				t.Errorf("patient call = %d, %v, want 7 and why it failed", n, err)
			}
		})
		calls.Wait()
		time.Sleep(time.Minute) // what was begun for the impatient one ends
	})
}

// Many who ask at once write a few heartbeats, and each knows what was acknowledged before.
func TestBarriersAreFewWrites(t *testing.T) {
	const askers = 100
	l := newLab(t, 3, 0)
	rev := l.hubs[0].must(put("k", "v", 0))
	var asked sync.WaitGroup
	for range askers {
		asked.Go(func() {
			if got, err := l.hubs[1].Barrier(t.Context()); err != nil || got < rev {
				t.Errorf("Barrier = %d, %v, want %d or more", got, err, rev)
			}
		})
	}
	asked.Wait()
	if last := l.hubs[1].Applied(); last > rev+askers/2 {
		t.Errorf("%d calls have made %d writes", askers, last-rev)
	}
}
