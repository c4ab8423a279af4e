package measure

import (
	"context"
	"fmt"
	"time"

	"github.com/orla-edge/orla/internal/sim"
)

// death kills the leader, and measures for how long nothing can be written and
// when its edges are connected to other hubs.
func death(ctx context.Context, r *rig, p *sim.Params) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	victim, left := r.hubs[0], r.hubs[1]
	var orphans []*edge
	for i, e := range r.edges {
		if r.at(i) == victim {
			orphans = append(orphans, e)
		}
	}
	start := time.Now()
	if err := victim.kill(); err != nil {
		return err
	}
	r.hubs = r.hubs[1:]
	rejoined := make(chan error, 1)
	go func() { rejoined <- rejoin(ctx, orphans, start, p) }()
	if _, err := left.ask(request{Op: "try", Subject: "kv.quiet"}); err != nil {
		return err
	}
	p.Election = time.Since(start)
	return <-rejoined
}

// rejoin waits until all orphans have lost their connection and made another.
func rejoin(ctx context.Context, orphans []*edge, start time.Time, p *sim.Params) error {
	lost := make([]bool, len(orphans))
	done := make([]bool, len(orphans))
	for len(p.Rejoin) < len(orphans) {
		pause(ctx, 2*time.Millisecond)
		if ctx.Err() != nil {
			return fmt.Errorf("wait for %d edges to connect to another hub, %d have: %w", len(orphans), len(p.Rejoin), ctx.Err())
		}
		for i, e := range orphans {
			switch n := e.srv.NumLeafNodes(); {
			case n == 0:
				lost[i] = true
			case lost[i] && !done[i]:
				done[i] = true
				p.Rejoin = append(p.Rejoin, time.Since(start))
			}
		}
	}
	return nil
}

// five measures commits with five hubs.
func five(ctx context.Context, cfg Config, p *sim.Params) (err error) {
	r, err := startRig(ctx, cfg.Args, 5)
	if err != nil {
		return err
	}
	defer func() {
		if e := r.close(); err == nil {
			err = e
		}
	}()
	return commits(ctx, r, p)
}
