package control

import (
	"context"
	"errors"
	"fmt"
	"time"

	"connectrpc.com/connect"

	"github.com/orla-edge/orla/cluster"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/release"
)

// ListNodes implements the API.
func (s *Service) ListNodes(context.Context, *connect.Request[orlav1.ListNodesRequest]) (*connect.Response[orlav1.ListNodesResponse], error) {
	s.members.note(s.self())
	now := time.Now()
	res := &orlav1.ListNodesResponse{Revision: s.cfg.Dispatcher.Revision()}
	for _, h := range s.members.list() {
		res.Nodes = append(res.Nodes, &orlav1.NodeLine{
			Node: h.GetNode(), Role: h.GetRole(), Version: h.GetVersion(), State: h.stateOf(now), Revision: h.GetRevision(),
			HeardMs: milliseconds(now.Sub(h.at)), Started: h.GetStarted(), Urls: h.GetUrls(), Problem: h.GetProblem(),
			Refusals: h.GetRefusals(), Peer: h.GetPeer(), AppliedMs: h.GetAppliedMs(),
		})
	}
	return connect.NewResponse(res), nil
}

// DrainNode implements the API.
func (s *Service) DrainNode(ctx context.Context, req *connect.Request[orlav1.DrainNodeRequest]) (*connect.Response[orlav1.DrainNodeResponse], error) {
	name := req.Msg.GetNode()
	s.members.note(s.self())
	if _, ok := s.members.get(name); !ok {
		return nil, s.noSuchNode(name)
	}
	revision, changed, err := s.drain(ctx, name, !req.Msg.GetResume())
	if errors.Is(err, cluster.ErrUncertain) { // perhaps it was made, and then there is nothing to do
		revision, changed, err = s.drain(ctx, name, !req.Msg.GetResume())
	}
	if errors.Is(err, cluster.ErrConflict) {
		return nil, connect.NewError(connect.CodeAborted, fmt.Errorf("node %q was drained or resumed meanwhile; see `orla nodes` and try again", name))
	}
	if err == nil && changed {
		err = s.cfg.Register.Wait(ctx, revision)
	}
	if err != nil {
		return nil, callError(err)
	}
	if changed {
		s.cfg.Logger.Info("node asked", "node", name, "drain", !req.Msg.GetResume(), "who", caller(ctx).name)
	}
	return connect.NewResponse(&orlav1.DrainNodeResponse{Revision: revision}), nil
}

// drain has a node out of rotation, or in again, and reports whether that was a change.
func (s *Service) drain(ctx context.Context, name string, out bool) (revision uint64, changed bool, err error) {
	key := nodeKey(name)
	e, err := s.get(ctx, key)
	if err != nil && !errors.Is(err, cluster.ErrNotFound) {
		return 0, false, err
	}
	change := cluster.Change{Key: key, Expect: e.Revision}
	if out {
		change.Value = []byte(drainedValue)
	}
	if (string(e.Value) == drainedValue) == out {
		return e.Revision, false, nil
	}
	revision, err = s.change(ctx, change)
	return revision, true, err
}

func (s *Service) noSuchNode(name string) error {
	var names []string
	for _, h := range s.members.list() {
		names = append(names, h.GetNode())
	}
	hint := "see `orla nodes`"
	if near := release.Nearest(name, names); near != "" {
		hint = fmt.Sprintf("did you mean %q?", near)
	}
	return connect.NewError(connect.CodeNotFound, fmt.Errorf("there is no node %q; %s", name, hint))
}
