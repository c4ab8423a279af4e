package sim

import (
	"testing"
	"time"
)

// TestIdle compares with sums made by hand.
func TestIdle(t *testing.T) {
	p := costs()
	p.HubMemory, p.LeafMemory = 1000, 10
	s := Scenario{Hubs: 3, Nodes: 3000}
	l := Idle(s, p, 2*time.Second)
	near := func(what string, got, want float64) {
		t.Helper()
		if d := got - want; d > 1e-9 || d < -1e-9 {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	near("beats", l.Beats, 3e-6+1000*10e-6)
	near("polls", l.Polls, 1000*50e-6)
	near("reads", l.Reads, 1000*40e-6)
	near("presence", l.Presence, 1500*7e-6+500*2*10e-6)
	near("bytes", float64(l.Bytes), 1000*1000)
	near("memory", float64(l.Memory), 1000+1000*10)
	s.Fanout, s.Aggregate = 29, time.Millisecond // 100 relays
	l = Idle(s, p, 2*time.Second)
	near("beats below relays", l.Beats, 3e-6+34*10e-6)
	near("presence by way of relays", l.Presence, 50*7e-6+100./6*2*10e-6)
}

// TestRelease: 100 bytes at 100 bytes a second are a second for each that is fed.
func TestRelease(t *testing.T) {
	tests := []struct {
		s    Scenario
		want Feed
	}{
		{Scenario{Hubs: 1, Nodes: 1}, Feed{Hubs: time.Second, Nodes: time.Second}},
		{Scenario{Hubs: 3, Nodes: 3000}, Feed{Hubs: 1000 * time.Second, Nodes: 10 * time.Second}},
		{Scenario{Hubs: 1, Nodes: 7}, Feed{Hubs: 7 * time.Second, Nodes: 3 * time.Second}}, // 1, 2, 4, 8 have it
		{Scenario{Hubs: 3, Nodes: 930, Fanout: 30}, Feed{Hubs: 310 * time.Second, Relays: (10 + 30) * time.Second, Nodes: 9 * time.Second}},
	}
	for _, tt := range tests {
		tt.s.Bandwidth = 100
		if got := Release(tt.s, 100); got != tt.want {
			t.Errorf("Release(%d nodes, fan-out %d) = %v, want %v", tt.s.Nodes, tt.s.Fanout, got, tt.want)
		}
	}
}
