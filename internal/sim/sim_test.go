package sim

import (
	"cmp"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

const (
	us = time.Microsecond
	ms = time.Millisecond
)

// costs are round numbers, each of another size, so that a sum tells what it is of.
func costs() Params {
	return Params{
		Cores: 2, HubReceive: 3 * us, HubCopy: 10 * us, HubAck: 7 * us, HubConnect: 900 * us, HubPoll: 50 * us, HubRead: 40 * us,
		EdgeApply: 20 * us, EdgeAck: 5 * us,
		Hop: Fixed(100 * us), Commits: map[int]Samples{1: Fixed(500 * us), 3: Fixed(ms)}, Save: Fixed(2 * ms), Rejoin: Fixed(1200 * ms),
		Election: 5 * time.Second, ChangeBytes: 1000, AckBytes: 100,
	}
}

func play(t *testing.T, s Scenario, p Params) Result {
	t.Helper()
	r, err := Play(s, p)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestClosedForms compares with what can be written down.
func TestClosedForms(t *testing.T) {
	same := []Link{{"same", 1, 20 * ms, 20 * ms}}
	tests := []struct {
		name   string
		s      Scenario
		change func(*Params)
		spread time.Duration // until the last node
		proven time.Duration // 0: not looked at
	}{
		{
			name: "one hop", s: Scenario{Hubs: 1, Nodes: 1},
			spread: 3*us + 10*us + 100*us + 20*us,
		},
		{
			name: "one hop over a continent", s: Scenario{Hubs: 1, Nodes: 1, Mix: same},
			spread: 3*us + 10*us + 20*ms + 100*us + 20*us,
		},
		{
			name: "copies are made one after the other", s: Scenario{Hubs: 1, Nodes: 500},
			spread: 3*us + 500*10*us + 100*us + 20*us,
		},
		{
			name: "three hubs: the origin's two copies go to hubs", s: Scenario{Hubs: 3, Nodes: 3, HubLink: ms},
			change: func(p *Params) { p.HubCopy = 0 },
			spread: 3*us + ms + 100*us + 3*us + 100*us + 20*us,
		},
		{
			name: "a relay and its 30 edges", s: Scenario{Hubs: 1, Nodes: 31, Fanout: 30, Near: 2 * ms},
			change: func(p *Params) { p.Cores = 8 },
			spread: 3*us + 10*us + 100*us + 3*us + 30*10*us + 2*ms + 100*us + 20*us,
		},
		{
			name: "the card is slower than the processor", s: Scenario{Hubs: 1, Nodes: 100, Bandwidth: 10_000_000}, // 100 µs a copy
			spread: 3*us + 10*us + 100*100*us + 100*us + 20*us,
		},
		{
			name: "each packet is lost once", s: Scenario{Hubs: 1, Nodes: 1, Mix: same, LosePacket: 1},
			spread: 3*us + 10*us + Retransmit + 2*20*ms + 20*ms + 100*us + 20*us,
		},
		{
			name: "acknowledged from disk", s: Scenario{Hubs: 1, Nodes: 1, Ack: true, Save: true},
			spread: 3*us + 10*us + 100*us + 20*us,
			proven: 500*us + 133*us + 2*ms + 5*us + 100*us + 7*us,
		},
		{
			name: "staged, then committed", s: Scenario{Hubs: 1, Nodes: 1, Prove: true, Ack: true},
			spread: 133 * us,
			proven: 133*us + 112*us + 500*us + 133*us + 112*us,
		},
		{
			name: "an acknowledgement by way of a hub that is not the origin", s: Scenario{Hubs: 3, Nodes: 2, HubLink: ms, Ack: true},
			change: func(p *Params) { p.HubCopy = 0 }, // node 2 is at hub 2
			spread: 3*us + ms + 100*us + 3*us + 100*us + 20*us,
			proven: ms + 2*ms + (3*us + ms + 100*us + 3*us + 100*us + 20*us) + 5*us + 100*us + 7*us + ms + 100*us + 7*us,
		},
		{
			name: "the leader dies", s: Scenario{Hubs: 1, Nodes: 1, Ack: true, Death: Leader},
			spread: 133 * us,
			proven: 5*time.Second + 500*us + 133*us + 112*us,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := costs()
			if tt.change != nil {
				tt.change(&p)
			}
			tt.s.Changes = 3
			r := play(t, tt.s, p)
			for _, got := range r.Spread {
				if got != tt.spread {
					t.Errorf("spread %v, want %v", got, tt.spread)
				}
			}
			for _, got := range r.Proven {
				if tt.proven != 0 && got != tt.proven {
					t.Errorf("proven after %v, want %v", got, tt.proven)
				}
			}
		})
	}
}

// TestHubWork compares the work of a lone hub with the sum of what it is for.
func TestHubWork(t *testing.T) {
	p := costs()
	for _, n := range []int{1, 10, 1000} {
		r := play(t, Scenario{Hubs: 1, Nodes: n, Ack: true, Changes: 2}, p)
		if want := p.HubReceive + time.Duration(n)*(p.HubCopy+p.HubAck); r.HubCPU != want {
			t.Errorf("%d nodes: %v of processor, want %v", n, r.HubCPU, want)
		}
		if want := int64(n * p.ChangeBytes); r.HubBytes != want {
			t.Errorf("%d nodes: %d bytes sent, want %d", n, r.HubBytes, want)
		}
	}
}

// TestAggregate shows that the origin gets one message of each hub where it got
// one of each node.
func TestAggregate(t *testing.T) {
	p := costs()
	p.HubCopy, p.HubReceive = 0, 0
	s := Scenario{Hubs: 3, Nodes: 303, Fanout: 100, Ack: true, Changes: 1}
	if got, want := play(t, s, p).HubCPU, 303*p.HubAck; got != want {
		t.Errorf("direct: %v of processor at the origin, want %v", got, want)
	}
	s.Aggregate = time.Second // longer than it takes: each sends once it has all
	// Of its own relay two: its own and that of its edges; of each hub one.
	want := 2*p.HubAck + 2*p.HubAck
	if got := play(t, s, p).HubCPU; got < want || got > want+2*p.EdgeAck {
		t.Errorf("aggregated: %v of processor at the busiest hub, want about %v", got, want)
	}
}

// TestOneMachine shows that what shares a machine waits for it.
func TestOneMachine(t *testing.T) {
	p := costs()
	p.Cores, p.Hop = 1, nil
	r := play(t, Scenario{Hubs: 1, Nodes: 50, OneMachine: true, Changes: 1}, p)
	if want := p.HubReceive + 50*(p.HubCopy+p.EdgeApply); r.Spread[0] != want {
		t.Errorf("spread %v, want %v: all the work there is", r.Spread[0], want)
	}
}

// TestFaults shows how long a loss or a death goes unnoticed.
func TestFaults(t *testing.T) {
	far := []Link{{"far", 1, 100 * ms, 100 * ms}}
	tests := []struct {
		name     string
		s        Scenario
		min, max time.Duration // of the slowest node after the commit
	}{
		{"a lost message waits for a heartbeat", Scenario{Hubs: 1, Nodes: 200, LoseMessage: 0.3}, 100 * ms, Beat + 20*ms},
		{"and for three ways to the hub", Scenario{Hubs: 1, Nodes: 200, LoseMessage: 0.3, Mix: far}, 400 * ms, Beat + 320*ms},
		{"a relay dies", Scenario{Hubs: 3, Nodes: 500, Fanout: 50, Death: Relay}, 1200 * ms, 1300 * ms},
		{"a relay dies: the hub is as far as the relay was", Scenario{Hubs: 1, Nodes: 51, Fanout: 50, Mix: far, Near: ms, Death: Relay}, 2200 * ms, 2400 * ms},
		{"a hub dies", Scenario{Hubs: 3, Nodes: 300, Death: Hub}, 1200 * ms, 1300 * ms},
		{"a hub with relays dies", Scenario{Hubs: 3, Nodes: 3000, Fanout: 50, Death: Hub}, 1200 * ms, 1300*ms + Beat},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.s.Changes, tt.s.Ack, tt.s.Prove = 5, true, true
			r := play(t, tt.s, costs())
			if got := r.Spread.Quantile(1); got < tt.min || got > tt.max {
				t.Errorf("slowest node after %v, want %v to %v", got, tt.min, tt.max)
			}
			if r.Filled == 0 {
				t.Error("nothing was read from a hub")
			}
			if slices.Contains(r.Proven, 0) {
				t.Error("a change was not proven")
			}
		})
	}
}

// TestCopyAfterRead: what is on its way when a relay dies may come after the same
// was read from a hub.
func TestCopyAfterRead(t *testing.T) {
	p := costs()
	p.Rejoin = Fixed(ms)
	r := play(t, Scenario{Hubs: 1, Nodes: 51, Fanout: 50, Near: ms, LosePacket: 1, Death: Relay, Changes: 3}, p)
	if r.Refused == 0 || r.Twice != 0 {
		t.Errorf("%d copies refused, %d applied twice, want some and none", r.Refused, r.Twice)
	}
}

// TestRelayDiesWithAcknowledgements: those that it held are sent again.
func TestRelayDiesWithAcknowledgements(t *testing.T) {
	p := costs()
	p.HubCopy = 10 * ms // some have answered when it dies
	r := play(t, Scenario{Hubs: 1, Nodes: 51, Fanout: 50, Ack: true, Aggregate: 10 * time.Second, Death: Relay, Changes: 3}, p)
	if slices.Contains(r.Proven, 0) {
		t.Errorf("proven after %v: a change was not", r.Proven)
	}
}

// TestOrder: what happens at one time happens in the order in which it was scheduled.
func TestOrder(t *testing.T) {
	var c clock
	var got []int
	for i := range 100 {
		c.at(time.Duration(i%3), func() { got = append(got, i) })
	}
	c.run()
	want := slices.Clone(got)
	slices.SortStableFunc(want, func(a, b int) int { return cmp.Or(a%3-b%3, a-b) })
	if !slices.Equal(got, want) {
		t.Errorf("happened in the order %v", got)
	}
}

func scenarios(t *rapid.T) Scenario {
	s := Scenario{
		Hubs: rapid.SampledFrom([]int{1, 3, 5}).Draw(t, "hubs"), Nodes: rapid.IntRange(1, 70).Draw(t, "nodes"),
		Fanout: rapid.SampledFrom([]int{0, 1, 7, 30}).Draw(t, "fanout"),
		Near:   ms, HubLink: ms, Mix: World(),
		Prove: rapid.Bool().Draw(t, "prove"), Save: rapid.Bool().Draw(t, "save"), Ack: true,
		Aggregate:   rapid.SampledFrom([]time.Duration{0, 0, 5 * ms, time.Second}).Draw(t, "aggregate"),
		LosePacket:  rapid.SampledFrom([]float64{0, 0.1}).Draw(t, "packets"),
		LoseMessage: rapid.SampledFrom([]float64{0, 0, 0.05, 1}).Draw(t, "messages"),
		Bandwidth:   rapid.SampledFrom([]int64{0, 1e6}).Draw(t, "bandwidth"),
		OneMachine:  rapid.Bool().Draw(t, "one machine"),
		Changes:     2, Seed: rapid.Uint64().Draw(t, "seed"),
	}
	if s.Hubs > 1 {
		s.Death = rapid.SampledFrom([]Death{Nobody, Hub, Leader}).Draw(t, "death")
	}
	if s.Fanout > 0 && rapid.Bool().Draw(t, "relay") {
		s.Death = Relay
	}
	return s
}

// TestConservation: whatever is lost or dies, each node applies each change once,
// and the origin counts each acknowledgement.
func TestConservation(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := scenarios(t)
		r, err := Play(s, costs())
		if err != nil {
			t.Fatal(err)
		}
		if r.Twice != 0 || r.Missed != 0 || len(r.Nodes) != s.Nodes*s.Changes {
			t.Errorf("%d applied twice, %d missed, %d in all, want %d", r.Twice, r.Missed, len(r.Nodes), s.Nodes*s.Changes)
		}
		for i := range r.Proven {
			if r.Proven[i] < r.Applied[i] {
				t.Errorf("proven after %v, applied everywhere after %v", r.Proven[i], r.Applied[i])
			}
		}
	})
}

// TestDeterministic: a seed stands for one outcome.
func TestDeterministic(t *testing.T) {
	p := costs()
	p.Hop = Samples{50 * us, 100 * us, 400 * us}
	s := Scenario{Hubs: 3, Nodes: 400, Fanout: 20, Mix: World(), Prove: true, Ack: true, LoseMessage: 0.01, Death: Hub, Changes: 5, Seed: 7}
	a, b := play(t, s, p), play(t, s, p)
	if !reflect.DeepEqual(a, b) {
		t.Error("the same seed gave two results")
	}
	s.Seed++
	if c := play(t, s, p); reflect.DeepEqual(a, c) {
		t.Error("two seeds gave the same result")
	}
}

func TestRefused(t *testing.T) {
	tests := []struct {
		name string
		s    Scenario
		p    Params
	}{
		{"no nodes", Scenario{Hubs: 1, Changes: 1}, costs()},
		{"no relays to die", Scenario{Hubs: 1, Nodes: 1, Changes: 1, Death: Relay}, costs()},
		{"the only hub dies", Scenario{Hubs: 1, Nodes: 1, Changes: 1, Death: Hub}, costs()},
		{"nothing was measured", Scenario{Hubs: 1, Nodes: 1, Changes: 1}, Params{}},
	}
	for _, tt := range tests {
		if _, err := Play(tt.s, tt.p); err == nil {
			t.Errorf("%s: played", tt.name)
		}
	}
}

func TestQuantile(t *testing.T) {
	s := Samples{5, 1, 4, 2, 3}
	for q, want := range map[float64]time.Duration{0: 1, 0.5: 3, 0.99: 5, 1: 5} {
		if got := s.Quantile(q); got != want {
			t.Errorf("Quantile(%v) = %d, want %d", q, got, want)
		}
	}
}
