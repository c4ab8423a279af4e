package sim

import (
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// Params is what things cost on one machine. Times are of one core.
type Params struct {
	Cores int // of a machine

	HubReceive time.Duration // a server: to take one message
	HubCopy    time.Duration // a server: for each connection that it is copied to
	HubAck     time.Duration // a server: to take one acknowledgement and count it
	HubConnect time.Duration // a server: to take one leaf connection, mutual TLS included
	HubPoll    time.Duration // all hubs: to answer one look at where the stream is (stream info, from its leader)
	HubRead    time.Duration // all hubs: to answer one direct get
	EdgeApply  time.Duration // an edge: from its socket into its table
	EdgeAck    time.Duration // an edge: to send one acknowledgement

	Hop     Samples         // idle delay of one hop, the work at both ends left out
	Commits map[int]Samples // by hubs: from the write to its acknowledgement, all on disk
	Save    Samples         // an edge: its state on disk
	Rejoin  Samples         // from the death of a server until its leaf is connected elsewhere
	// Election is for how long nothing can be written after the leader has died.
	Election time.Duration

	ChangeBytes int // of one copy of a change on the wire
	AckBytes    int // of one acknowledgement

	HubMemory  int64 // bytes of a hub without leaves
	LeafMemory int64 // bytes of a hub for each leaf connection
	EdgeMemory int64 // bytes of an edge's server, a process of its own

	Payload int // bytes of a change's value, of which ChangeBytes were measured
}

// Samples are measured times, of which one is drawn; none means 0.
type Samples []time.Duration

// Fixed is a time that is always the same.
func Fixed(d time.Duration) Samples { return Samples{d} }

func (s Samples) pick(r *rand.Rand) time.Duration {
	if len(s) == 0 {
		return 0
	}
	return s[r.IntN(len(s))]
}

// Quantile returns the time that a share q, from 0 to 1, of the samples does not
// exceed, which is one of them (the nearest rank); 0 if there are none.
func (s Samples) Quantile(q float64) time.Duration {
	if len(s) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s))
	return sorted[max(0, int(math.Ceil(q*float64(len(sorted))))-1)]
}

var errParams = errors.New("sim: costs must be measured first: a machine has cores, costs are not negative")

func (p Params) check() error {
	for _, d := range []time.Duration{p.HubReceive, p.HubCopy, p.HubAck, p.HubConnect, p.HubPoll, p.HubRead, p.EdgeApply, p.EdgeAck, p.Election} {
		if d < 0 {
			return errParams
		}
	}
	if p.Cores < 1 {
		return errParams
	}
	return nil
}
