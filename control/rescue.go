package control

import (
	"context"
	"errors"

	"connectrpc.com/connect"

	"github.com/orla-edge/orla/cluster"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

// RescueCluster implements the API.
func (s *Service) RescueCluster(ctx context.Context, req *connect.Request[orlav1.RescueClusterRequest]) (*connect.Response[orlav1.RescueClusterResponse], error) {
	if name := req.Msg.GetForget(); name != "" && req.Msg.GetApply() {
		if err := s.cfg.Register.Forget(ctx, name); err != nil {
			return nil, rescueError(err)
		}
		s.cfg.Logger.Warn("hub forgotten", "hub", name, "who", caller(ctx).name)
	}
	cond, err := s.cfg.Register.Condition(ctx)
	if err != nil {
		return nil, rescueError(err)
	}
	res := &orlav1.RescueClusterResponse{Leader: cond.Leader, Stuck: cond.Stuck(), Lost: cond.Lost, Revision: s.cfg.Register.Applied()}
	for _, h := range cond.Hubs {
		res.Hubs = append(res.Hubs, &orlav1.HubLine{Name: h.Name, Here: h.Here})
	}
	if !req.Msg.GetApply() || req.Msg.GetForget() != "" {
		return connect.NewResponse(res), nil
	}
	above := uint64(0)
	for _, h := range s.members.list() {
		above = max(above, h.GetRevision())
	}
	out, err := s.cfg.Register.Rescue(ctx, above)
	if err != nil {
		return nil, rescueError(err)
	}
	s.cfg.Logger.Warn("register rescued", "who", caller(ctx).name, "removed", out.Removed, "remade", out.Remade, "revision", out.Revision)
	res.Removed, res.Remade, res.Revision = out.Removed, out.Remade, out.Revision
	return connect.NewResponse(res), nil
}

func rescueError(err error) error {
	switch {
	case errors.Is(err, cluster.ErrNoHub):
		return connect.NewError(connect.CodeNotFound, err)
	case errors.Is(err, cluster.ErrHealthy):
		return connect.NewError(connect.CodeFailedPrecondition, err)
	}
	return callError(err)
}
