//go:build linux

package faults

import (
	"testing"
	"time"

	"github.com/orla-edge/orla/internal/lab"
)

// TestPartitioned: again and again the network falls apart, each time otherwise, while
// changes are made by way of all hubs. A side without a majority of the hubs takes none.
func TestPartitioned(t *testing.T) {
	t.Parallel()
	s := newScene(t, lab.Options{Hubs: 3, Edges: 1})
	a, b, c, edge := s.Nodes[0], s.Nodes[1], s.Nodes[2], s.Nodes[3]
	falls := []struct {
		name     string
		cut      func()
		majority bool // some side has two hubs
	}{
		{"a minority with the edge", func() { s.Partition([]*lab.Node{a, edge}, []*lab.Node{b, c}) }, true},
		{"every node for itself", func() { s.Isolate(s.Nodes...) }, false},
		{"another minority, and the edge", func() { s.Partition([]*lab.Node{b}, []*lab.Node{a, c}, []*lab.Node{edge}) }, true},
		{"one way only", func() { s.CutOneWay(c, a) }, true},
	}
	rounds, last := 1, 12*time.Second
	if long() {
		rounds, last = 3, time.Minute // twelve in all
	}
	stop := s.pushing(s.hubs())
	defer stop()
	for range rounds {
		for _, f := range falls {
			s.more(5)
			f.cut()
			elapse(t, last)
			before := s.acks()
			if f.majority {
				s.more(3)
			} else {
				elapse(t, time.Second)
				if n := s.acks() - before; n > 0 {
					t.Errorf("%s: %d changes were acknowledged after %s", f.name, n, last)
				}
			}
			s.Heal()
		}
	}
	s.more(5)
	stop()
	s.finish()
}
