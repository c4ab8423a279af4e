package main

import (
	"fmt"
	"math"
	"time"

	"github.com/orla-edge/orla/internal/sim"
	"github.com/orla-edge/orla/internal/sim/measure"
)

// What is assumed, because it is not this machine's to tell.
const (
	bandwidth = 125_000_000 // bytes a second of a network card: 1 Gbit/s
	near      = time.Millisecond
	gather    = 10 * time.Millisecond
	presence  = 2 * time.Second
	content   = 100_000_000 // bytes of a release
	packets   = 0.001       // share of packets that are lost
	messages  = 0.0001      // share of messages that are lost for good
)

// plan is what is printed.
type plan struct {
	p       sim.Params
	seed    uint64
	changes int
}

// scenario is a push with proof, of so many nodes.
func (l plan) scenario(hubs, nodes int, tree bool, mix []sim.Link) sim.Scenario {
	s := sim.Scenario{
		Hubs: hubs, Nodes: nodes, Mix: mix, Near: near, HubLink: near,
		Prove: true, Save: true, Ack: true, Bandwidth: bandwidth, Changes: l.changes, Seed: l.seed,
	}
	if tree {
		s.Fanout = int(math.Sqrt(float64(nodes)))
	}
	return s
}

func (l plan) print() error {
	region := []sim.Link{{Name: "region", Share: 1, Min: near, Max: near}}
	for _, print := range []func() error{
		func() error { return l.pushes("One region", region) },
		func() error { return l.pushes("The world", sim.World()) },
		l.faults,
	} {
		if err := print(); err != nil {
			return err
		}
	}
	l.loads()
	return nil
}

func topology(s sim.Scenario) string {
	if s.Fanout == 0 {
		return fmt.Sprintf("%d hubs", s.Hubs)
	}
	return fmt.Sprintf("%d hubs, %d relays of %d", s.Hubs, s.Relays(), s.Fanout)
}

// pushes prints what a push takes, by size and topology.
func (l plan) pushes(title string, mix []sim.Link) error {
	fmt.Printf("\n### %s\n\n", title)
	fmt.Println("| nodes | topology | acks | commit → all applied p50 / p99 / max | push → all applied p50 / p99 / max | push → proven p50 / max | CPU of the busiest hub | sent by it | its memory |")
	fmt.Println("|---|---|---|---|---|---|---|---|---|")
	for _, row := range []struct {
		hubs, nodes int
		tree, sum   bool
	}{
		{3, 3, false, false},
		{3, 30, false, false},
		{3, 300, false, false},
		{3, 1000, false, false},
		{3, 1000, true, true},
		{3, 3000, false, false},
		{3, 3000, true, true},
		{3, 10_000, false, false},
		{3, 10_000, false, true},
		{5, 10_000, false, true},
		{3, 10_000, true, false},
		{3, 10_000, true, true},
	} {
		s := l.scenario(row.hubs, row.nodes, row.tree, mix)
		acks := "each"
		if row.sum {
			s.Aggregate, acks = gather, "summed"
		}
		r, err := sim.Play(s, l.p)
		if err != nil {
			return err
		}
		fmt.Printf("| %d | %s | %s | %s | %s | %s / %s | %s | %s | %s |\n", s.Nodes, topology(s), acks, three(r.Spread), three(r.Applied),
			short(r.Proven.Quantile(.5)), short(r.Proven.Quantile(1)), short(r.HubCPU), amount(r.HubBytes),
			amount(l.p.HubMemory+int64(s.Leaves())*l.p.LeafMemory))
	}
	return nil
}

// faults prints how stale nodes get when something is lost or dies.
func (l plan) faults() error {
	fmt.Print("\n### Losses and deaths, the world\n\n")
	fmt.Println("| nodes | topology | what happens | behind after the commit: nodes p50 / p99 / max | read from a hub, a change | push → proven p50 / max | CPU of the busiest hub |")
	fmt.Println("|---|---|---|---|---|---|---|")
	for _, nodes := range []int{1000, 10_000} {
		for _, f := range []struct {
			what string
			tree bool
			set  func(*sim.Scenario)
		}{
			{"nothing", false, func(*sim.Scenario) {}},
			{"0.1 % of packets, 0.01 % of messages lost", false, lossy},
			{"0.1 % of packets, 0.01 % of messages lost", true, lossy},
			{"a relay dies", true, func(s *sim.Scenario) { s.Death = sim.Relay }},
			{"a hub dies", false, func(s *sim.Scenario) { s.Death = sim.Hub }},
			{"a hub dies", true, func(s *sim.Scenario) { s.Death = sim.Hub }},
			{"the leader dies", true, func(s *sim.Scenario) { s.Death = sim.Leader }},
		} {
			s := l.scenario(3, nodes, f.tree, sim.World())
			s.Aggregate = gather
			f.set(&s)
			r, err := sim.Play(s, l.p)
			if err != nil {
				return err
			}
			fmt.Printf("| %d | %s | %s | %s | %d | %s / %s | %s |\n", s.Nodes, topology(s), f.what, three(r.Nodes), r.Filled/s.Changes,
				short(r.Proven.Quantile(.5)), short(r.Proven.Quantile(1)), short(r.HubCPU))
		}
	}
	return nil
}

func lossy(s *sim.Scenario) { s.LosePacket, s.LoseMessage = packets, messages }

// loads prints what nodes cost while nothing changes, and how content gets to them.
func (l plan) loads() {
	fmt.Print("\n### While nothing changes, and 100 MB of content\n\n")
	fmt.Println("| nodes | topology | heartbeat, cores | presence every 2 s, cores | if each node asked for the stream each second, cores | and read it, cores | sent a second | 100 MB from the hubs | by way of relays | nodes feed nodes |")
	fmt.Println("|---|---|---|---|---|---|---|---|---|---|")
	for _, nodes := range []int{3, 30, 300, 1000, 3000, 10_000} {
		for _, tree := range []bool{false, true} {
			if tree && nodes < 1000 {
				continue
			}
			s := l.scenario(3, nodes, tree, nil)
			if tree {
				s.Aggregate = gather
			}
			load, feed := sim.Idle(s, l.p, presence), sim.Release(s, content)
			fmt.Printf("| %d | %s | %.3f | %.3f | %.3f | %.3f | %s | %s | %s | %s |\n", nodes, topology(s), load.Beats, load.Presence, load.Polls, load.Reads,
				amount(load.Bytes), short(feed.Hubs), short(feed.Relays), short(feed.Nodes))
		}
	}
}

func printChecks(checks []measure.Check) {
	fmt.Print("\n### The model beside a real run\n\n")
	fmt.Println("| what | simulated p50 / p99 / max | measured p50 / p99 / max |")
	fmt.Println("|---|---|---|")
	for _, c := range checks {
		fmt.Printf("| %s | %s | %s |\n", c.What, three(c.Predicted), three(c.Measured))
	}
}

// printCosts prints what was measured.
func printCosts(p sim.Params) {
	fmt.Printf("\n### Costs on this machine of %d cores, a change of %d bytes\n\n", p.Cores, p.Payload)
	fmt.Println("| what | |")
	fmt.Println("|---|---|")
	for _, row := range [][2]string{
		{"a hub takes a message", short(p.HubReceive)},
		{"a hub copies it to one leaf", short(p.HubCopy)},
		{"a hub takes an acknowledgement", short(p.HubAck)},
		{"a hub takes a leaf connection, mutual TLS", short(p.HubConnect)},
		{"the hubs say where the stream is (stream info)", short(p.HubPoll)},
		{"the hubs answer a direct get", short(p.HubRead)},
		{"an edge takes a change into its table", short(p.EdgeApply)},
		{"an edge sends an acknowledgement", short(p.EdgeAck)},
		{"idle delay of a hop, p50 / p99 / max", three(p.Hop)},
		{"commit, 3 hubs, p50 / p99 / max", three(p.Commits[3])},
		{"commit, 5 hubs, p50 / p99 / max", three(p.Commits[5])},
		{"an edge saves its state, p50 / p99 / max", three(p.Save)},
		{"a hub dies: its edges are at another one after, p50 / p99 / max", three(p.Rejoin)},
		{"the leader dies: the next write succeeds after", short(p.Election)},
		{"a change on the wire", amount(int64(p.ChangeBytes))},
		{"a hub without leaves, resident", amount(p.HubMemory)},
		{"a hub, for each leaf: heap and stacks", amount(p.LeafMemory)},
		{"an edge's NATS server, a process of its own, resident", amount(p.EdgeMemory)},
	} {
		fmt.Printf("| %s | %s |\n", row[0], row[1])
	}
}

func three(s sim.Samples) string {
	return short(s.Quantile(.5)) + " / " + short(s.Quantile(.99)) + " / " + short(s.Quantile(1))
}

// short prints a time with three digits or so.
func short(d time.Duration) string {
	switch {
	case d == 0:
		return "–"
	case d < time.Millisecond:
		return fmt.Sprintf("%d µs", d.Microseconds())
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.1f ms", d.Seconds()*1000)
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 100*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	default:
		return fmt.Sprintf("%.0f min", d.Minutes())
	}
}

func amount(bytes int64) string {
	switch b := float64(bytes); {
	case b < 10e3:
		return fmt.Sprintf("%.1f kB", b/1e3)
	case b < 1e6:
		return fmt.Sprintf("%.0f kB", b/1e3)
	case b < 10e6:
		return fmt.Sprintf("%.1f MB", b/1e6)
	case b < 1e9:
		return fmt.Sprintf("%.0f MB", b/1e6)
	default:
		return fmt.Sprintf("%.1f GB", b/1e9)
	}
}
