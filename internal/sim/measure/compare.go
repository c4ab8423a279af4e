package measure

import (
	"context"
	"fmt"
	"time"

	"github.com/orla-edge/orla/internal/sim"
)

// Check is a figure of the real run beside the simulated one.
type Check struct {
	What                string
	Predicted, Measured sim.Samples
}

const (
	realChanges = 100
	realEvery   = 50 * time.Millisecond
	belowRelay  = 10
)

// compare plays changes for real and simulates the same: hubs and edges, on one
// machine.
func compare(ctx context.Context, r *rig, p sim.Params) ([]Check, error) {
	real, proven, err := r.real(ctx, realChanges, realEvery)
	if err != nil {
		return nil, err
	}
	s := sim.Scenario{Hubs: len(r.hubs), Nodes: len(r.edges), Ack: true, OneMachine: true, Changes: realChanges, Seed: 1}
	predicted, err := sim.Play(s, p)
	if err != nil {
		return nil, err
	}
	checks := []Check{
		{fmt.Sprintf("%d edges: push → all applied", len(r.edges)), predicted.Applied, real},
		{fmt.Sprintf("%d edges: push → all acknowledged", len(r.edges)), predicted.Proven, proven},
	}
	chain, err := r.chain(ctx, p)
	return append(checks, chain), err
}

// real writes changes, and returns when the last edge had applied each, and when
// all acknowledgements were counted.
func (r *rig) real(ctx context.Context, changes int, every time.Duration) (applied, proven sim.Samples, err error) {
	if _, err := r.hubs[0].ask(request{Op: "collect", Count: len(r.edges)}); err != nil {
		return nil, nil, err
	}
	if err := r.connected(ctx); err != nil {
		return nil, nil, err
	}
	if _, err := r.hubs[0].ask(request{Op: "put", Subject: "kv.real", Count: changes, Every: every, Ack: true}); err != nil {
		return nil, nil, err
	}
	pause(ctx, 200*time.Millisecond)
	if applied, err = slowest(r.edges, changes); err != nil {
		return nil, nil, err
	}
	c, err := r.hubs[0].ask(request{Op: "collected"})
	if len(c.Took) != changes && err == nil {
		err = fmt.Errorf("%d of %d changes were acknowledged by all", len(c.Took), changes)
	}
	return applied, c.Took, err
}

// slowest returns for each change when the last edge had applied it.
func slowest(edges []*edge, changes int) (sim.Samples, error) {
	last, count := make(sim.Samples, changes), 0
	for _, e := range edges {
		for _, one := range e.take() {
			last[one.seq] = max(last[one.seq], one.after)
			count++
		}
	}
	if want := changes * len(edges); count != want {
		return nil, fmt.Errorf("%d changes arrived at edges, want %d", count, want)
	}
	return last, nil
}

// chain does it with a relay between a hub and its edges.
func (r *rig) chain(ctx context.Context, p sim.Params) (Check, error) {
	c := Check{What: fmt.Sprintf("%d edges below a relay: hub → all applied", belowRelay)}
	var err error
	r.relay, err = launch(ctx, r.args, serverOptions{Name: "relay", Dir: r.dir, Remotes: []string{r.hubs[0].leaf}, Accept: true})
	if err != nil {
		return c, err
	}
	if err := r.relay.ready(); err != nil {
		return c, err
	}
	below := &rig{dir: r.dir, hubs: r.hubs}
	defer func() {
		for _, e := range below.edges {
			e.close()
		}
	}()
	for i := range belowRelay {
		o := serverOptions{Name: fmt.Sprintf("below%d", i), Dir: r.dir, Remotes: []string{r.relay.leaf}}
		e, err := startEdge(o.Name, o, "tree.>", "rt.hello")
		if err != nil {
			return c, err
		}
		below.edges = append(below.edges, e)
	}
	if err := below.connected(ctx); err != nil {
		return c, err
	}
	if _, err := r.hubs[0].ask(request{Op: "publish", Subject: "tree.x", Count: realChanges, Every: every}); err != nil {
		return c, err
	}
	pause(ctx, 200*time.Millisecond)
	if c.Measured, err = slowest(below.edges, realChanges); err != nil {
		return c, err
	}
	s := sim.Scenario{Hubs: 1, Nodes: belowRelay + 1, Fanout: belowRelay, OneMachine: true, Changes: realChanges, Seed: 1}
	predicted, err := sim.Play(s, p)
	c.Predicted = predicted.Spread
	return c, err
}
