//go:build linux && amd64

package faults

import (
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/orla-edge/orla/client"
	"github.com/orla-edge/orla/internal/lab"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

// TestClocksApart: every node lives at another time, up to two hours from the next, and
// one of them dies now and then.
func TestClocksApart(t *testing.T) {
	t.Parallel()
	s := newScene(t, lab.Options{Hubs: 3, Edges: 1, Clocks: []time.Duration{-time.Hour, time.Hour, 0, 90 * time.Minute}})
	stop := s.pushing(s.hubs())
	defer stop()
	for _, n := range s.Nodes {
		s.more(5)
		n.Kill()
		n.Start()
	}
	s.more(5)
	stop()
	// A token that was made in the future, or in the past, is as good as any.
	for _, maker := range s.hubs() {
		token := newToken(t, maker)
		for _, n := range s.Nodes {
			c, err := client.Find(client.Options{Admin: n.Admin(), Token: token, Getenv: func(string) string { return "" }})
			if err != nil {
				t.Fatal(err)
			}
			s.await(n.Name+" takes a token of "+maker.Name, func() error {
				_, err := c.Control().GetNode(t.Context(), connect.NewRequest(&orlav1.GetNodeRequest{}))
				return err
			})
			c.Close()
		}
	}
	s.finish()
}
