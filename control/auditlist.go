package control

import (
	"context"
	"errors"
	"fmt"
	"time"

	"connectrpc.com/connect"

	"github.com/orla-edge/orla/cluster"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

const (
	defaultAudit = 1000
	maxAudit     = 10_000
	// auditEvery is how often who follows the audit log is told of what is new.
	auditEvery = time.Second
)

var errNoAudit = errors.New("this node keeps no audit log in the cluster; ask a hub")

// ListAudit implements the API.
func (s *Service) ListAudit(ctx context.Context, req *connect.Request[orlav1.ListAuditRequest], stream *connect.ServerStream[orlav1.ListAuditResponse]) error {
	limit := int(req.Msg.GetLimit())
	switch {
	case s.ledger.stream == nil:
		return connect.NewError(connect.CodeUnavailable, errNoAudit)
	case limit > maxAudit:
		return connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("a limit of %d; the most is %d: ask for less, or for a later --since", limit, maxAudit))
	case len(req.Msg.GetApp()) > len(auditTopic(req.Msg.GetApp())):
		return connect.NewError(connect.CodeInvalidArgument, errors.New("no app has so long a name"))
	case limit == 0:
		limit = defaultAudit
	}
	q := cluster.AuditQuery{Topic: req.Msg.GetApp()}
	if since := req.Msg.GetSince(); since != nil {
		q.Since = since.AsTime()
	}
	s.ledger.drain(ctx) // who has changed something here sees it
	last, err := s.sendAudit(ctx, q, limit, stream)
	if err != nil || !req.Msg.GetFollow() {
		return callError(err)
	}
	if err := stream.Send(&orlav1.ListAuditResponse{}); err != nil {
		return err
	}
	tick := time.NewTicker(auditEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.stopped:
			return nil
		case <-tick.C:
		}
		if last != 0 {
			q.After = last
		}
		at, err := s.sendAudit(ctx, q, maxAudit, stream)
		if err != nil && !errors.Is(err, cluster.ErrUnavailable) { // it comes back, or the reader gives up
			return callError(err)
		}
		last = max(last, at)
	}
}

// sendAudit sends the newest records that a query finds, and returns the last sequence
// that it has seen.
func (s *Service) sendAudit(ctx context.Context, q cluster.AuditQuery, limit int, stream *connect.ServerStream[orlav1.ListAuditResponse]) (last uint64, err error) {
	var newest []*orlav1.AuditRecord
	err = s.ledger.stream.Read(ctx, q, func(sequence uint64, data []byte) error {
		r, err := decode[orlav1.AuditRecord](data)
		if err != nil {
			s.cfg.Logger.Warn("audit record not understood", "sequence", sequence, "error", err)
			r = &orlav1.AuditRecord{Error: "a record that cannot be read"}
		}
		last = sequence
		if newest = append(newest, r); len(newest) >= 2*limit {
			newest = append(newest[:0], newest[len(newest)-limit:]...)
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	for _, r := range newest[max(0, len(newest)-limit):] {
		if err := stream.Send(&orlav1.ListAuditResponse{Record: r}); err != nil {
			return last, err
		}
	}
	return last, nil
}
