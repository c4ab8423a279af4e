package control

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"

	"github.com/orla-edge/orla/telemetry"
)

// instruments are the service's metrics. What they observe lives as long as the provider.
type instruments struct {
	propagation metric.Float64Histogram
}

// newInstruments makes them; without a provider, ones that measure nothing.
func (s *Service) newInstruments(p metric.MeterProvider) (instruments, error) {
	if p == nil {
		p = noop.NewMeterProvider()
	}
	m := p.Meter("github.com/orla-edge/orla/control")
	var in instruments
	var errs [4]error
	var nodes, refusals metric.Int64ObservableGauge
	in.propagation, errs[0] = m.Float64Histogram(telemetry.ClusterPropagation, metric.WithUnit("s"),
		metric.WithDescription("Time from a change that this hub made to its being live on each other node."),
		metric.WithExplicitBucketBoundaries(.001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 30))
	nodes, errs[1] = m.Int64ObservableGauge(telemetry.ClusterNodes, metric.WithUnit("{node}"),
		metric.WithDescription("Nodes by state, as this hub knows them."))
	refusals, errs[2] = m.Int64ObservableGauge(telemetry.ClusterRefusals, metric.WithUnit("{release}"),
		metric.WithDescription("Apps whose live release this node does not serve."))
	if errs[1] == nil && errs[2] == nil {
		_, errs[3] = m.RegisterCallback(func(_ context.Context, o metric.Observer) error {
			o.ObserveInt64(refusals, int64(len(s.catalog.listRefusals())))
			if s.hub() {
				for state, n := range s.states() {
					o.ObserveInt64(nodes, n, metric.WithAttributes(attribute.String(telemetry.AttrNodeState, state)))
				}
			}
			return nil
		}, nodes, refusals)
	}
	if err := errors.Join(errs[:]...); err != nil {
		return in, fmt.Errorf("make instruments: %w", err)
	}
	return in, nil
}

// states counts the nodes by state. States that none is in are counted too.
func (s *Service) states() map[string]int64 {
	now := time.Now()
	out := map[string]int64{phaseServing: 0, stateLost: 0, stateCutOff: 0, stateBehind: 0, stateRefusing: 0, "starting": 0, "drained": 0, "draining": 0}
	for _, h := range s.members.list() {
		out[h.stateOf(now)]++
	}
	return out
}
