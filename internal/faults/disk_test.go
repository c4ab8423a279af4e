//go:build linux

package faults

import (
	"errors"
	"fmt"
	"testing"

	"connectrpc.com/connect"

	"github.com/orla-edge/orla/internal/lab"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

// TestDiskFull: the disk of a hub is full, of each in turn, so also of the one that leads
// the register; then an edge's. What the others take they take; with space again every
// node is as good as before, without a restart.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	s := newScene(t, lab.Options{Hubs: 3, Edges: 1, Disk: 64 << 20})
	stop := s.pushing(s.hubs())
	defer stop()
	for _, n := range s.Nodes {
		s.more(5)
		n.FillDisk()
		if n.Hub() {
			s.refuses(n)
		}
		s.more(5)
		n.FreeDisk()
		s.await(n.Name+" recovers", func() error {
			res, err := s.node(t.Context(), n)
			if err == nil && !res.GetRegisterReady() {
				err = errors.New(res.GetRegisterError())
			}
			return err
		})
	}
	stop()
	s.finish()
}

// refuses waits until a hub with a full disk says so to whoever pushes.
func (s *scene) refuses(n *lab.Node) {
	s.t.Helper()
	s.await(n.Name+" refuses changes", func() error {
		_, err := deploy(s.t.Context(), s.clients[n], &orlav1.DeployRequest{Manifest: answering("full", "full"), Rollout: eager()})
		if err == nil {
			return errors.New("a push to a full disk succeeds")
		}
		switch connect.CodeOf(err) { //nolint:exhaustive // the others are wrong
		case connect.CodeUnavailable, connect.CodeResourceExhausted:
			return nil
		default:
			return fmt.Errorf("a push to a full disk: %w", err)
		}
	})
}
