package sim

import (
	"math/rand/v2"
	"slices"
	"time"
)

// Result is what a scenario gave.
type Result struct {
	Nodes   Samples // from the commit until each node had applied it, all changes together
	Applied Samples // from the push until the last node had applied it, of each change
	Spread  Samples // the same from the commit on
	Proven  Samples // from the push until the origin had counted all acknowledgements; none without

	HubCPU   time.Duration // of the busiest hub, for a change
	HubBytes int64         // that it sent, for a change

	Twice   int // applied more than once, which is wrong
	Missed  int // not applied, which is wrong
	Refused int // copies that came to a node that had the change
	Filled  int // read from a hub after a loss or a death
}

// Play plays a scenario. The same scenario and costs give the same result.
func Play(s Scenario, p Params) (Result, error) {
	if err := s.check(); err != nil {
		return Result{}, err
	}
	if err := p.check(); err != nil {
		return Result{}, err
	}
	var res Result
	for i := range s.Changes {
		c := &change{
			s: s, p: p, res: &res,
			rand: rand.New(rand.NewPCG(s.Seed, uint64(i))), //nolint:gosec // a simulation
		}
		c.play()
	}
	res.HubCPU /= time.Duration(s.Changes)
	res.HubBytes /= int64(s.Changes)
	return res, nil
}

// change is one change on its way.
type change struct {
	clock
	s    Scenario
	p    Params
	rand *rand.Rand
	tree *tree
	res  *Result

	origin    *server // where it was pushed, and the leader
	victim    *server // dies in the middle; nil: nobody
	phase     time.Duration
	staging   bool
	began     time.Duration // this round
	committed time.Duration
	counted   int // acknowledgements at the origin
	last      time.Duration
	proven    time.Duration
}

func (c *change) play() {
	c.tree = grow(c.s, c.p, c.rand)
	c.origin = c.tree.hubs[0]
	c.phase = time.Duration(c.rand.Int64N(int64(Beat)))
	if c.s.Prove {
		c.stage()
	} else {
		c.commit()
	}
	c.run()
	c.tally()
}

// stage begins the first round.
func (c *change) stage() {
	c.staging = true
	c.begin()
}

// commit writes the change, then begins the second round.
func (c *change) commit() {
	c.staging = false
	took := c.p.Commits[c.s.Hubs].pick(c.rand)
	if c.s.Hubs > 1 {
		took += 2 * c.s.HubLink
	}
	if c.s.Death == Leader {
		took += c.p.Election
	}
	c.at(c.now+took, func() {
		c.committed = c.now
		c.begin()
	})
}

// begin sends the change, or the plan of it, from the origin to all.
func (c *change) begin() {
	c.began, c.counted = c.now, 0
	for _, s := range slices.Concat(c.tree.hubs, c.tree.nodes) {
		s.has, s.pending, s.owed = false, 0, s.size
	}
	if !c.staging {
		c.victim = c.choose()
	}
	c.receive(c.origin)
}

// choose returns who dies: not the origin, without which nobody waits for proof.
func (c *change) choose() *server {
	switch c.s.Death {
	case Hub:
		return c.tree.hubs[1+c.rand.IntN(c.s.Hubs-1)]
	case Relay:
		return c.tree.nodes[c.rand.IntN(c.s.Relays())]
	}
	return nil
}

// receive is the change at a server, which passes it on.
func (c *change) receive(s *server) {
	if s.dead {
		return
	}
	to := append([]*server(nil), s.children...)
	if s == c.origin {
		to = append(to, c.tree.hubs[1:]...)
	}
	c.rand.Shuffle(len(to), func(i, j int) { to[i], to[j] = to[j], to[i] })
	if s.parent != nil {
		c.take(s)
	}
	if len(to) > 0 {
		c.at(s.machine.work(c.now, c.p.HubReceive), func() { c.copies(s, to, len(to)/2) })
	}
}

// copies sends the change to the first of them, then to the others; a victim dies
// with half of them left.
func (c *change) copies(s *server, to []*server, left int) {
	if s == c.victim && len(to) <= left {
		c.die(s)
		return
	}
	if len(to) == 0 {
		return
	}
	done := s.machine.work(c.now, c.p.HubCopy)
	c.at(done, func() { c.copies(s, to[1:], left) })
	c.travel(s, to[0], c.sentBy(s, done, c.p.ChangeBytes))
}

// sentBy returns when bytes that are ready have left the network card.
func (c *change) sentBy(s *server, ready time.Duration, bytes int) time.Duration {
	s.sent += int64(bytes)
	if c.s.Bandwidth == 0 {
		return ready
	}
	s.card = max(s.card, ready) + time.Duration(int64(bytes)*int64(time.Second)/c.s.Bandwidth)
	return s.card
}

// travel brings a copy that was sent to its server, or not.
func (c *change) travel(from, to *server, sent time.Duration) {
	link := c.between(from, to)
	if c.chance(c.s.LoseMessage) {
		for _, s := range to.below() {
			c.recover(s, sent)
		}
		return
	}
	if c.chance(c.s.LosePacket) {
		sent += Retransmit + 2*link
	}
	c.at(sent+link+c.p.Hop.pick(c.rand), func() { c.receive(to) })
}

func (c *change) between(from, to *server) time.Duration {
	if from.parent == nil && to.parent == nil {
		return c.s.HubLink
	}
	return to.link
}

// chance draws only where there is one, so that what is not simulated does not
// change the rest.
func (c *change) chance(p float64) bool { return p > 0 && c.rand.Float64() < p }

// take is the change at a node: work, then what follows from it.
func (c *change) take(n *server) {
	if n.has {
		c.res.Refused++
		return
	}
	n.has = true
	c.at(n.machine.work(c.now, c.p.EdgeApply), func() {
		if c.staging {
			c.acknowledge(n)
			return
		}
		n.applies++
		c.last = max(c.last, c.now)
		c.res.Nodes = append(c.res.Nodes, c.now-c.committed)
		if c.s.Save {
			c.at(c.now+c.p.Save.pick(c.rand), func() { c.acknowledge(n) })
			return
		}
		c.acknowledge(n)
	})
}

// tally adds what the change gave.
func (c *change) tally() {
	c.res.Applied = append(c.res.Applied, c.last)
	c.res.Spread = append(c.res.Spread, c.last-c.committed)
	if c.s.Ack {
		c.res.Proven = append(c.res.Proven, c.proven)
	}
	var cpu time.Duration
	var bytes int64
	for _, h := range c.tree.hubs {
		cpu, bytes = max(cpu, h.machine.used), max(bytes, h.sent)
	}
	c.res.HubCPU += cpu
	c.res.HubBytes += bytes
	for _, n := range c.tree.nodes {
		if n.applies > 1 {
			c.res.Twice++
		}
		if n.applies == 0 {
			c.res.Missed++
		}
	}
}
