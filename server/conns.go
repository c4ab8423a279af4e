package server

import (
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// connSet is the set of open connections, and the caps on it.
type connSet struct {
	total, perIP int

	mu      sync.Mutex // guards the rest
	open    map[*conn]struct{}
	byIP    map[netip.Prefix]int
	refused int // since the last report
}

func newConnSet(l Limits) *connSet {
	return &connSet{
		total: l.Conns, perIP: l.ConnsPerIP,
		open: map[*conn]struct{}{}, byIP: map[netip.Prefix]int{},
	}
}

// add reports whether c is within the caps; if so, it counts until remove.
func (s *connSet) add(c *conn) bool {
	from := origin(c.client)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.open) >= s.total || s.byIP[from] >= s.perIP {
		s.refused++
		return false
	}
	s.open[c] = struct{}{}
	s.byIP[from]++
	return true
}

func (s *connSet) remove(c *conn) {
	from := origin(c.client)
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.open[c]; !ok {
		return
	}
	delete(s.open, c)
	if s.byIP[from]--; s.byIP[from] == 0 {
		delete(s.byIP, from)
	}
}

// takeRefused returns how many connections were refused since it was last
// called.
func (s *connSet) takeRefused() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.refused
	s.refused = 0
	return n
}

func (s *connSet) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.open)
}

// all returns the open connections.
func (s *connSet) all() []*conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*conn, 0, len(s.open))
	for c := range s.open {
		out = append(out, c)
	}
	return out
}

// quiet reports whether every connection that speaks HTTP/1 has had no request
// for at least d, or none is left.
func (s *connSet) quiet(d time.Duration, began time.Time) bool {
	limit := time.Now().Add(-d)
	if began.After(limit) && s.count() > 0 {
		return false
	}
	for _, c := range s.all() {
		switch http.ConnState(c.state.Load()) {
		case http.StateNew, http.StateIdle:
			if time.Unix(0, c.since.Load()).After(limit) {
				return false
			}
		case stateHTTP2:
		default:
			return false
		}
	}
	return true
}

// origin is the network that a client's connections are counted for: an IPv4
// address, or an IPv6 /64, which is the least that a site is given.
func origin(a netip.Addr) netip.Prefix {
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{} // an address that is no IP: all of them count as one
	}
	return p
}

// clientAddr returns the address of c's other end without zone, an IPv4 one as
// such; the zero Addr if it is no IP address.
func clientAddr(c net.Conn) netip.Addr {
	tcp, ok := c.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return tcp.AddrPort().Addr().Unmap().WithZone("")
}
