//go:build linux

package acmetest

import (
	"net/http"
	"testing"
	"time"

	"github.com/orla-edge/orla/internal/lab"
	"github.com/orla-edge/orla/internal/pebble"
)

// TestCluster: three hubs and an edge have one certificate each host, whichever of them
// the authority asks, and whatever becomes of the one that orders. All the time, some
// nonces are rejected, and some requests fail.
func TestCluster(t *testing.T) {
	t.Parallel()
	s := newScene(t, lab.Options{Hubs: 3, Edges: 1}, pebble.Options{})
	t.Run("one order", func(t *testing.T) { s.with(t).oneOrder() })
	t.Run("asked elsewhere", func(t *testing.T) { s.with(t).askedElsewhere() })
	t.Run("unknown names", func(t *testing.T) { s.with(t).unknownNames() })
	t.Run("holder killed", func(t *testing.T) { s.with(t).holderKilled() })
}

func (s *scene) with(t *testing.T) *scene {
	c := *s
	c.t = t
	return &c
}

// oneOrder: a deploy brings a host; one node orders its certificate, and all serve it.
func (s *scene) oneOrder() {
	s.deploy("first.example")
	_, took := s.awaitOn("first.example", nil, s.Nodes...)
	s.t.Logf("served by the nodes %v after it was issued", took)
	s.wantOrders("first.example", 1)
	for _, n := range s.Nodes {
		s.redirects(n, "first.example")
	}
}

// redirects: a host that has a certificate sends its plain HTTP clients on to HTTPS.
func (s *scene) redirects(n *lab.Node, host string) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, n.URL()+"/x?y", http.NoBody)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Host = host
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		s.t.Fatal(err)
	}
	res.Body.Close()
	if to := res.Header.Get("Location"); res.StatusCode != http.StatusPermanentRedirect || to != "https://"+host+"/x?y" {
		s.t.Errorf("plain HTTP on %s = %d to %q, want 308 to HTTPS", n.Name, res.StatusCode, to)
	}
}

func (s *scene) wantOrders(host string, want int) {
	s.t.Helper()
	if n := s.orders(host); n != want {
		s.t.Errorf("%d orders for %s, want %d: %v\n%s", n, host, want, s.ca.Orders(), s.logs())
	}
}

// askedElsewhere: the authority looks for the answers at a node that did not order, by
// each kind of challenge.
func (s *scene) askedElsewhere() {
	defer s.ca.Offer()
	holder := s.holder()
	others := s.others(holder)
	hub, edge := others[0], s.Nodes[3]
	for _, tt := range []struct {
		host, kind string
		asked      *lab.Node
	}{
		{"http-hub.example", "http-01", hub},
		{"http-edge.example", "http-01", edge},
		{"alpn-hub.example", "tls-alpn-01", hub},
		{"alpn-edge.example", "tls-alpn-01", edge},
	} {
		s.ca.Resolve(tt.host, address(tt.asked))
		s.ca.Offer(tt.kind)
		s.deploy(tt.host)
		_, took := s.awaitOn(tt.host, nil, s.Nodes...)
		s.t.Logf("%s, solved by %s for %s: served %v after it was issued", tt.kind, tt.asked.Name, holder.Name, took)
		s.wantOrders(tt.host, 1)
		if now := s.holder(); now != holder {
			s.t.Errorf("%s was ordered by %s, want %s", tt.host, now.Name, holder.Name)
		}
	}
}

// holderKilled: the node that orders dies before the authority has issued; another one
// orders, once.
func (s *scene) holderKilled() {
	const host = "orphan.example"
	holder := s.holder()
	others := s.others(holder)
	s.ca.Resolve(host, address(others[0]))
	finalized := len(s.ca.Accepted(pebble.Finalize))
	hold := s.ca.Hold(pebble.Finalize)
	dir := s.write(site(host))
	if err := others[0].Deploy(s.t.Context(), dir); err != nil {
		s.t.Fatal(err)
	}
	<-hold.Arrived()
	holder.Kill()
	killed := time.Now()
	hold.Release()
	leaf, took := s.awaitOn(host, nil, others...)
	s.t.Logf("served by the others %v after it was issued, %s after the kill", took, time.Since(killed).Round(time.Millisecond))
	s.wantOrders(host, 2) // the first was given up
	if n := len(s.ca.Accepted(pebble.Finalize)) - finalized; n != 1 {
		s.t.Errorf("%d certificates were issued, want 1", n)
	}
	holder.Start()
	if again, _ := s.awaitOn(host, nil, holder); !again.Equal(leaf) {
		s.t.Error("the node that was killed has another certificate than the others")
	}
	for _, other := range []string{"first.example", "http-edge.example"} {
		s.awaitOn(other, nil, s.Nodes...)
		s.wantOrders(other, 1)
	}
}
