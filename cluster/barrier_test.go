package cluster

import (
	"errors"
	"fmt"
	"testing"
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
