package control

import (
	"context"
	"fmt"
	"time"

	"connectrpc.com/connect"

	"github.com/orla-edge/orla/dispatch"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

const (
	trialEvery = 100 * time.Millisecond
	// A trial fails when so many requests have failed, and so much larger a part of them
	// than before.
	trialFailures = 3
	trialMargin   = 0.01
)

// try serves a release on this node alone for as long as the rollout asks, and gives it
// up with an error if more of its requests fail than did before. The caller calls
// revert once the change has been made or not: it ends the trial if that is still on.
func (r *rollout) try(ctx context.Context, built *dispatch.Release) (revert func(), err error) {
	soak := r.opts.GetCanary().AsDuration()
	if soak <= 0 {
		return func() {}, nil
	}
	s, name := r.s, r.head.GetName()
	mine := s.staged.take(built.Name, built.Number, built.Digest)
	if mine == nil {
		return nil, fmt.Errorf("release %d of %q was taken by another change", built.Number, name)
	}
	if revert, err = s.cfg.Dispatcher.Try(mine); err != nil {
		return nil, err
	}
	if r.tell != nil {
		r.tell(&orlav1.NodeResult{Node: s.cfg.Node, State: orlav1.NodeState_NODE_STATE_TRIAL})
	}
	end := time.NewTimer(soak)
	defer end.Stop()
	check := time.NewTicker(trialEvery)
	defer check.Stop()
	for {
		select {
		case <-ctx.Done():
			revert()
			return nil, context.Cause(ctx)
		case <-check.C:
		case <-end.C:
			if why := verdict(s.cfg.Dispatcher.Health(name), built.Number); why == "" {
				return revert, nil // the activation finds it live
			}
		}
		if why := verdict(s.cfg.Dispatcher.Health(name), built.Number); why != "" {
			revert()
			s.cfg.Logger.Warn("trial given up", "app", name, "release", built.Number, "cause", why)
			return nil, connect.NewError(connect.CodeFailedPrecondition, fmt.Errorf(
				"release %d of %q was tried on node %s and given up: %s; the one before is live everywhere, as it was", built.Number, name, s.cfg.Node, why))
		}
	}
}

// verdict says what is wrong with a release on trial; empty: nothing.
func verdict(all []dispatch.ReleaseHealth, number uint64) string {
	var before, now dispatch.ReleaseHealth
	for _, h := range all {
		if h.Number == number {
			now = h
			continue
		}
		before.Requests += h.Requests
		before.ServerErrors += h.ServerErrors
		before.GuestFailures += h.GuestFailures
	}
	worse := func(what string, failed, failedBefore uint64) string {
		if failed < trialFailures || rate(failed, now.Requests) <= rate(failedBefore, before.Requests)+trialMargin {
			return ""
		}
		return fmt.Sprintf("%d of %d requests %s, %.1f %% (before: %.1f %%)", failed, now.Requests, what,
			100*rate(failed, now.Requests), 100*rate(failedBefore, before.Requests))
	}
	if why := worse("were answered with a server error", now.ServerErrors, before.ServerErrors); why != "" {
		return why
	}
	return worse("ended in a failed function", now.GuestFailures, before.GuestFailures)
}

func rate(part, whole uint64) float64 {
	if whole == 0 {
		return 0
	}
	return float64(part) / float64(whole)
}
