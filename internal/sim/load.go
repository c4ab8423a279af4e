package sim

import (
	"math"
	"math/bits"
	"time"
)

// Load is what nodes cost the busiest hub while nothing changes, by sums instead of
// events. Processor time is in cores: 1 is one core, all the time.
type Load struct {
	Beats    float64 // sending the heartbeat on
	Polls    float64 // answering where the stream is, to each node each second
	Reads    float64 // answering a direct get of each node each second
	Presence float64 // taking each node's word that it lives, and telling the other hubs; of relays one for all below them, if Aggregate is set
	Bytes    int64   // sent each second
	Memory   int64   // bytes
}

// Idle returns the load of the busiest hub, with a word of each node every so often.
func Idle(s Scenario, p Params, presence time.Duration) Load {
	leaves, second := s.Leaves(), float64(time.Second)
	words := s.Nodes
	if s.Aggregate > 0 && s.Fanout > 0 {
		words = s.Relays()
	}
	return Load{
		Beats:    float64(p.HubReceive+time.Duration(leaves)*p.HubCopy) / second,
		Polls:    float64(s.Nodes) / float64(s.Hubs) * float64(p.HubPoll) / second,
		Reads:    float64(s.Nodes) / float64(s.Hubs) * float64(p.HubRead) / second,
		Presence: (float64(words)*float64(p.HubAck) + float64(words)/float64(s.Hubs)*float64(s.Hubs-1)*float64(p.HubCopy)) / float64(presence),
		Bytes:    int64(leaves) * int64(p.ChangeBytes),
		Memory:   p.HubMemory + int64(leaves)*p.LeafMemory,
	}
}

// Feed is how long content takes to every node, by who feeds whom; the network
// card of whoever feeds is the limit.
type Feed struct {
	Hubs   time.Duration // the hubs feed all nodes
	Relays time.Duration // the hubs feed the relays, then these their edges; 0 without relays
	Nodes  time.Duration // whoever has it all feeds one that has not, at a time
}

// Release returns it for so many bytes.
func Release(s Scenario, size int64) Feed {
	one := float64(size) / float64(s.Bandwidth) * float64(time.Second)
	each := func(n, feeders int) time.Duration { return time.Duration(math.Ceil(float64(n)/float64(feeders)) * one) }
	f := Feed{Hubs: each(s.Nodes, s.Hubs)}
	if r := s.Relays(); r > 0 {
		f.Relays = each(r, s.Hubs) + each(s.Nodes-r, r)
	}
	rounds := bits.Len(uint((s.Nodes + s.Hubs - 1) / s.Hubs)) //nolint:gosec // positive; those that have it double each round
	f.Nodes = time.Duration(float64(rounds) * one)
	return f
}
