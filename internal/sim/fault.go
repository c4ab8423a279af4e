package sim

import "time"

// recover brings the change to a node that lost it. While staging, the origin asks
// again those that did not answer; after the commit the node notices with the next
// heartbeat, and reads it.
func (c *change) recover(n *server, lost time.Duration) {
	if n.parent == nil { // a hub has the stream itself
		return
	}
	if c.staging {
		hub := n.hub()
		c.at(c.began+AskAgain, func() {
			done := hub.machine.work(c.now, c.p.HubCopy)
			c.at(done+n.path()+c.p.Hop.pick(c.rand), func() { c.take(n) })
		})
		return
	}
	c.at(c.beat(lost)+n.path(), func() { c.fill(n) })
}

// beat is the first heartbeat after t.
func (c *change) beat(t time.Duration) time.Duration {
	return c.phase + (max(0, t-c.phase)+Beat-1)/Beat*Beat
}

// fill lets a node read what it lacks from its hub.
func (c *change) fill(n *server) {
	if n.has {
		return
	}
	hub, path := n.hub(), n.path()
	c.at(c.now+path+c.p.Hop.pick(c.rand), func() {
		done := hub.machine.work(c.now, c.p.HubPoll+c.p.HubRead)
		sent := c.sentBy(hub, done, c.p.ChangeBytes)
		c.at(sent+path+c.p.Hop.pick(c.rand), func() {
			if !n.has {
				c.res.Filled++
			}
			c.take(n)
		})
	})
}

// die ends a server that had copies left to send. All directly below it connect to
// hubs that live, and look at the stream. What is below a relay that moved is still
// connected to it, and notices by a heartbeat. The node that a relay is itself is
// played on as if it had lived.
func (c *change) die(s *server) {
	s.dead = true
	alive := make([]*server, 0, len(c.tree.hubs))
	for _, h := range c.tree.hubs {
		if !h.dead {
			alive = append(alive, h)
		}
	}
	for i, n := range s.children {
		hub := alive[i%len(alive)]
		c.at(c.now+c.p.Rejoin.pick(c.rand), func() { c.rejoin(n, hub) })
	}
	if n := s.pending; n > 0 {
		s.pending = 0
		c.at(c.now+c.p.Rejoin.pick(c.rand), func() { c.gather(c.origin, n) })
	}
}

// rejoin connects a server to a hub, then looks at the stream.
func (c *change) rejoin(n, hub *server) {
	n.link += n.parent.link // a hub's is 0
	n.parent = hub
	done := hub.machine.work(c.now, c.p.HubConnect)
	c.at(done+2*handshake*n.link, func() {
		c.fill(n)
		for _, b := range n.below()[1:] {
			c.at(c.beat(c.now)+b.path(), func() { c.fill(b) })
		}
	})
}
