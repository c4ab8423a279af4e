package sim

import "testing"

// BenchmarkPlay is one push to 10,000 nodes, staged, applied and acknowledged.
func BenchmarkPlay(b *testing.B) {
	for _, tt := range []struct {
		name   string
		fanout int
	}{{"flat", 0}, {"tree", 100}} {
		b.Run(tt.name, func(b *testing.B) {
			s := Scenario{
				Hubs: 3, Nodes: 10_000, Fanout: tt.fanout, Mix: World(), Near: ms, HubLink: ms,
				Prove: true, Save: true, Ack: true, Bandwidth: 125_000_000, Changes: 1,
			}
			for b.Loop() {
				if _, err := Play(s, costs()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
