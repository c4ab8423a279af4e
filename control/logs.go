package control

import (
	"context"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/telemetry"
)

// TailLogs implements the API.
func (s *Service) TailLogs(ctx context.Context, req *connect.Request[orlav1.TailLogsRequest], stream *connect.ServerStream[orlav1.TailLogsResponse]) error {
	name := req.Msg.GetName()
	if head, _ := s.catalog.head(name); head == nil {
		return s.noSuch(name, orlav1.Kind_KIND_UNSPECIFIED)
	}
	var recent []telemetry.Record
	var live <-chan telemetry.Record // nil: not followed
	if req.Msg.GetFollow() {
		var cancel func()
		recent, live, cancel = s.cfg.Tail.Follow(name, int(req.Msg.GetLines()))
		defer cancel()
	} else {
		recent = s.cfg.Tail.Recent(name, int(req.Msg.GetLines()))
	}
	for _, r := range recent {
		if err := stream.Send(s.record(r)); err != nil {
			return err
		}
	}
	if live == nil {
		return nil
	}
	// The head goes out now, so that the client knows that it is listening.
	if err := stream.Send(&orlav1.TailLogsResponse{}); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.stopped:
			return nil
		case r, ok := <-live:
			if !ok {
				return nil
			}
			if err := stream.Send(s.record(r)); err != nil {
				return err
			}
		}
	}
}

func (s *Service) record(r telemetry.Record) *orlav1.TailLogsResponse {
	out := &orlav1.TailLogsResponse{Time: timestamppb.New(r.Time), Level: r.Level.String(), Message: r.Message, Node: s.cfg.Node}
	for _, a := range r.Attrs {
		out.Attributes = append(out.Attributes, &orlav1.Field{Name: a.Key, Value: a.Value})
	}
	return out
}
