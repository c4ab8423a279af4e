package node

// setDrained takes the node out of rotation, or puts it back: while it is drained,
// /readyz is 503 with the reason, answers over HTTP/1 ask their clients to go
// elsewhere, and whoever comes is served all the same. It may be called at any
// time.
func (n *Node) setDrained(on bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.drained == on {
		return
	}
	n.drained = on
	if n.public != nil {
		n.public.SetDraining(on)
	}
	switch {
	case n.log == nil: // not open yet
	case on:
		n.log.Info("node is out of rotation")
	default:
		n.log.Info("node is back in rotation")
	}
}

func (n *Node) isDrained() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.drained
}
