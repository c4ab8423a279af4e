package sim

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
	if s == c.origin {
		c.count(nodes)
		return
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
	if c.s.Aggregate == 0 && s != c.origin {
		c.at(s.machine.work(c.now, c.p.HubReceive+c.p.HubCopy), func() { c.up(s, nodes) })
		return
	}
	c.at(s.machine.work(c.now, c.p.HubAck), func() { c.add(s, nodes) })
}

// add counts acknowledgements at a server; it passes them on together when there
// are no more to come, or when the first has waited for long enough.
func (c *change) add(s *server, nodes int) {
	if c.s.Aggregate == 0 || s == c.origin {
		c.up(s, nodes)
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
