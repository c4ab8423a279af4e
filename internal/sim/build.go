package sim

import (
	"math/rand/v2"
	"time"
)

// tree is hubs and the nodes below them, in no order that matters.
type tree struct {
	hubs, nodes []*server
}

// grow builds the tree of a scenario. Nodes are spread over the hubs in turn, each
// class of latency too.
func grow(s Scenario, p Params, r *rand.Rand) *tree {
	one := newMachine(p.Cores)
	count := 0
	add := func(parent *server, link time.Duration) *server {
		n := &server{id: count, parent: parent, link: link, machine: one}
		count++
		if !s.OneMachine {
			n.machine = newMachine(p.Cores)
		}
		if parent != nil {
			parent.children = append(parent.children, n)
			for up := parent; up != nil; up = up.parent {
				up.size++
			}
		}
		return n
	}
	t := &tree{}
	for range s.Hubs {
		t.hubs = append(t.hubs, add(nil, 0))
	}
	direct, relays := s.Nodes, s.Relays()
	if relays > 0 {
		direct = relays
	}
	for i := range direct {
		t.nodes = append(t.nodes, add(t.hubs[i%s.Hubs], latency(s.Mix, i, direct, r)))
	}
	for i := range s.Nodes - direct {
		t.nodes = append(t.nodes, add(t.nodes[i%relays], s.Near))
	}
	return t
}

// latency draws the latency of the i-th of n connections.
func latency(mix []Link, i, n int, r *rand.Rand) time.Duration {
	at := (float64(i) + 0.5) / float64(n)
	for k, l := range mix {
		if at -= l.Share; at > 0 && k < len(mix)-1 {
			continue
		}
		return l.Min + time.Duration(r.Int64N(int64(l.Max-l.Min)+1))
	}
	return 0
}
