package sim

import (
	"errors"
	"fmt"
	"time"
)

const (
	// Retransmit is when TCP on Linux sends a lone packet again, at the earliest:
	// TCP_RTO_MIN, above which RFC 6298 allows implementations to stay by less than its 1 s.
	Retransmit = 200 * time.Millisecond
	// Beat is how often the stream is written to, so that a lost message is noticed.
	Beat = time.Second
	// AskAgain is when nodes that did not answer are asked to stage again.
	AskAgain = time.Second
	// handshake is the round trips of a new leaf connection: TCP, INFO, TLS 1.3, CONNECT.
	handshake = 4
)

// Link is a class of connections: of all nodes this share has a latency, one way,
// between Min and Max.
type Link struct {
	Name     string
	Share    float64
	Min, Max time.Duration
}

// World is the mix of the plans: a third each in the hubs' region, on their
// continent, elsewhere.
func World() []Link {
	return []Link{
		{"region", 1. / 3, time.Millisecond, time.Millisecond},
		{"continent", 1. / 3, 20 * time.Millisecond, 20 * time.Millisecond},
		{"world", 1. / 3, 80 * time.Millisecond, 150 * time.Millisecond},
	}
}

// Death is what dies in the middle of a change.
type Death string

// What can die. A leader dies before the change is committed, which waits for an
// election; the others when they have sent half of their copies.
const (
	Nobody Death = ""
	Relay  Death = "relay"
	Hub    Death = "hub"
	Leader Death = "leader"
)

// Scenario is what is played.
type Scenario struct {
	Hubs  int // 1, 3 or 5
	Nodes int // besides the hubs; relays are nodes
	// Fanout is how many edges a relay has below it; 0 means that all are at the hubs.
	Fanout  int
	Mix     []Link        // of the connections to hubs; none means no latency
	Near    time.Duration // latency, one way, between an edge and its relay
	HubLink time.Duration // latency, one way, between hubs

	Prove     bool          // stage before the commit
	Save      bool          // applied means on the node's disk
	Ack       bool          // acknowledge what was applied
	Aggregate time.Duration // add acknowledgements up at each server for so long; 0 means that each goes to every hub

	LosePacket  float64 // chance that a copy's packet is lost, and sent again
	LoseMessage float64 // chance that a copy is lost for good
	Death       Death
	Bandwidth   int64 // of a server's network card, in bytes a second; 0 means no limit

	OneMachine bool // everything on one machine, as in a measured run
	Changes    int  // to play
	Seed       uint64
}

func (s Scenario) check() error {
	switch {
	case s.Hubs < 1 || s.Nodes < 1 || s.Changes < 1:
		return fmt.Errorf("simulate %d hubs, %d nodes, %d changes: want at least one of each", s.Hubs, s.Nodes, s.Changes)
	case s.Fanout < 0 || s.Death == Relay && s.Fanout == 0:
		return errors.New("simulate the death of a relay: Fanout must be set")
	case s.Death == Hub && s.Hubs < 2:
		return errors.New("simulate the death of a hub: want another one")
	}
	return nil
}

// Relays is how many of the nodes are relays.
func (s Scenario) Relays() int {
	if s.Fanout == 0 {
		return 0
	}
	return (s.Nodes + s.Fanout) / (s.Fanout + 1)
}

// Leaves is how many leaf connections the hub with most of them has.
func (s Scenario) Leaves() int {
	n := s.Nodes
	if r := s.Relays(); r > 0 {
		n = r
	}
	return (n + s.Hubs - 1) / s.Hubs
}

// server is a hub, a relay or an edge.
type server struct {
	id       int
	parent   *server // nil: a hub
	children []*server
	size     int           // servers below
	link     time.Duration // latency, one way, to the parent
	machine  *machine
	card     time.Duration // when the network card is free
	sent     int64         // bytes

	dead    bool
	has     bool // the change
	applies int
	pending int // acknowledgements that wait to be passed on
	owed    int // acknowledgements that are still to come from below
}

func (s *server) hub() *server {
	for s.parent != nil {
		s = s.parent
	}
	return s
}

// path is the latency, one way, to the hub.
func (s *server) path() time.Duration {
	var d time.Duration
	for ; s.parent != nil; s = s.parent {
		d += s.link
	}
	return d
}

// below returns s and all servers below it.
func (s *server) below() []*server {
	all := []*server{s}
	for i := 0; i < len(all); i++ {
		all = append(all, all[i].children...)
	}
	return all
}
