//go:build linux

package faults

import (
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/orla-edge/orla/internal/lab"
)

// serves returns what a node answers for a set's host.
func (s *scene) serves(n *lab.Node, set string) string {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, n.URL(), http.NoBody)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Host = set + ".test"
	res, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		return err.Error()
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// TestKilled: kill -9 of every node in turn while changes are made. Whichever hub
// leads the register is among them.
func TestKilled(t *testing.T) {
	t.Parallel()
	s := newScene(t, lab.Options{Hubs: 3, Edges: 1})
	stop := s.pushing(s.hubs())
	defer stop()
	rounds := 1
	if long() {
		rounds = 20
	}
	for range rounds {
		for _, n := range s.Nodes {
			s.more(5)
			n.Kill()
			s.more(5)
			n.Start()
		}
	}
	s.more(5)
	stop()
	s.finish()
}

// TestMajorities: as many hubs as may be lost are lost, and changes go on; with one more
// there are none, until it is back.
func TestMajorities(t *testing.T) {
	for _, hubs := range []int{1, 3, 5} {
		t.Run(fmt.Sprint(hubs), func(t *testing.T) {
			t.Parallel()
			s := newScene(t, lab.Options{Hubs: hubs, Edges: 1})
			stop := s.pushing(s.hubs())
			defer stop()
			s.more(5)
			may := (hubs - 1) / 2
			for _, n := range s.hubs()[:may] {
				n.Kill()
			}
			s.more(5)
			s.hubs()[may].Kill()
			// What was made before is acknowledged once the dead are taken to be lost.
			elapse(t, 9*time.Second)
			before := s.acks()
			elapse(t, 2*time.Second)
			if n := s.acks() - before; n > 0 {
				t.Errorf("%d changes were acknowledged without %d of %d hubs", n, may+1, hubs)
			}
			s.StartAll(s.hubs()[:may+1]...)
			s.more(5)
			stop()
			s.finish()
		})
	}
}

// TestAllRestarted: kill -9 of all nodes at once, while changes are made.
func TestAllRestarted(t *testing.T) {
	t.Parallel()
	s := newScene(t, lab.Options{Hubs: 3, Edges: 1})
	stop := s.pushing(s.hubs())
	defer stop()
	for range 3 {
		s.more(20)
		for _, n := range s.Nodes {
			n.Kill()
		}
		s.StartAll(s.Nodes...)
	}
	s.more(5)
	stop()
	s.finish()
}

// TestPaused: SIGSTOP for 8 s, of each hub and an edge, while changes are made.
func TestPaused(t *testing.T) {
	t.Parallel()
	s := newScene(t, lab.Options{Hubs: 3, Edges: 1})
	stop := s.pushing(s.hubs())
	defer stop()
	for _, n := range s.Nodes {
		s.more(5)
		n.Pause()
		elapse(t, 8*time.Second)
		n.Resume()
	}
	s.more(5)
	stop()
	s.finish()
}

// TestWithoutHubs: all hubs are gone, and with them every NATS server that keeps the
// register. Edges serve on, also one that is started then.
func TestWithoutHubs(t *testing.T) {
	t.Parallel()
	s := newScene(t, lab.Options{Hubs: 3, Edges: 2})
	stop := s.pushing(s.hubs())
	defer stop()
	s.more(10)
	for _, n := range s.hubs() {
		n.Kill()
	}
	before := s.prober.Requests()
	edges := s.edges()
	edges[0].Kill()
	edges[0].Start()
	if err := edges[1].Stop(); err != nil {
		t.Errorf("an orderly stop: %v", err)
	}
	edges[1].Start()
	s.await("edges serve on", func() error {
		if n := s.prober.Requests() - before; n < 200 {
			return fmt.Errorf("%d requests", n)
		}
		return nil
	})
	for _, n := range edges {
		if res, err := s.node(t.Context(), n); err != nil || res.GetRegisterReady() {
			t.Errorf("edge %s: %v, register ready: %t; want it to say that it is cut off", n.Name, err, res.GetRegisterReady())
		}
	}
	s.StartAll(s.hubs()...)
	s.more(10)
	stop()
	s.finish()
}
