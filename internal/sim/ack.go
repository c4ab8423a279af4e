package sim

import "time"

// acknowledge sends a node's acknowledgement on its way to the origin.
func (c *change) acknowledge(n *server) {
	if !c.s.Ack && !c.staging {
		return
	}
	c.at(n.machine.work(c.now, c.p.EdgeAck), func() { c.up(n, 1) })
}

// up sends acknowledgements of so many nodes from s to where it belongs.
func (c *change) up(s *server, nodes int) {
	to, link := s.parent, s.link
	if to == nil {
		to, link = c.origin, c.s.HubLink
	}
	sent := c.sentBy(s, c.now, c.p.AckBytes)
	c.at(sent+link+c.p.Hop.pick(c.rand), func() { c.gather(to, nodes) })
}

// gather is acknowledgements at a server on their way.
func (c *change) gather(s *server, nodes int) {
	if s.dead { // the node sends it again when it has connected elsewhere
		c.at(c.now+c.p.Rejoin.pick(c.rand), func() { c.gather(c.origin, nodes) })
		return
	}
	switch {
	case c.s.Aggregate > 0:
		c.at(s.machine.work(c.now, c.p.HubAck), func() { c.add(s, nodes) })
	case s.parent != nil:
		c.at(s.machine.work(c.now, c.p.HubReceive+c.p.HubCopy), func() { c.up(s, nodes) })
	default:
		c.share(s, nodes)
	}
}

// share is an acknowledgement at the first hub, of which there is one for each hub.
func (c *change) share(s *server, nodes int) {
	others := time.Duration(len(c.tree.hubs) - 1)
	done := s.machine.work(c.now, c.p.HubAck+others*c.p.HubCopy)
	hear := func(hub *server) {
		c.at(hub.machine.work(c.now, c.p.HubAck), func() {
			if hub == c.origin {
				c.count(nodes)
			}
		})
	}
	for _, hub := range c.tree.hubs {
		if hub == s || hub.dead {
			continue
		}
		sent := c.sentBy(s, done, c.p.AckBytes)
		c.at(sent+c.s.HubLink+c.p.Hop.pick(c.rand), func() { hear(hub) })
	}
	if s == c.origin {
		c.at(done, func() { c.count(nodes) })
	}
}

// add counts acknowledgements at a server; it passes them on together when there
// are no more to come, or when the first has waited for long enough.
func (c *change) add(s *server, nodes int) {
	if s == c.origin {
		c.count(nodes)
		return
	}
	first := s.pending == 0
	s.pending += nodes
	if s.owed -= nodes; s.owed <= 0 {
		c.flush(s)
		return
	}
	if first {
		c.at(c.now+c.s.Aggregate, func() { c.flush(s) })
	}
}

func (c *change) flush(s *server) {
	if s.pending == 0 || s.dead {
		return
	}
	n := s.pending
	s.pending = 0
	c.at(s.machine.work(c.now, c.p.EdgeAck), func() { c.up(s, n) })
}

// count is acknowledgements at the origin; all of them end the round.
func (c *change) count(nodes int) {
	c.counted += nodes
	if c.counted < len(c.tree.nodes) {
		return
	}
	if c.staging {
		c.commit()
		return
	}
	c.proven = c.now
}
