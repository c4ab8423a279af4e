package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// instruments are the package's metrics.
type instruments struct {
	commits metric.Int64Counter
	gaps    metric.Int64Counter
	applies metric.Float64Histogram
	observe metric.Registration
}

func newInstruments(c *Cluster) (*instruments, error) {
	m := c.cfg.Meter.Meter("github.com/orla-edge/orla/cluster")
	var in instruments
	var errs [6]error
	in.commits, errs[0] = m.Int64Counter("orla.register.commits",
		metric.WithUnit("{commit}"), metric.WithDescription("Commits by outcome."))
	in.gaps, errs[1] = m.Int64Counter("orla.register.gaps",
		metric.WithUnit("{gap}"), metric.WithDescription("Times that the sync had to fill up from the stream."))
	in.applies, errs[2] = m.Float64Histogram("orla.register.apply.duration",
		metric.WithUnit("s"), metric.WithDescription("Time to bring the node in line with an update."))
	revision, err := m.Int64ObservableGauge("orla.register.revision",
		metric.WithUnit("{revision}"), metric.WithDescription("Revision of the register that is served."))
	errs[3] = err
	ready, err := m.Int64ObservableGauge("orla.register.ready",
		metric.WithUnit("1"), metric.WithDescription("1 if changes can be committed."))
	errs[4] = err
	age, err := m.Float64ObservableGauge("orla.cluster.heartbeat.age",
		metric.WithUnit("s"), metric.WithDescription("Time since the register was last heard of."))
	errs[5] = err
	if err := errors.Join(errs[:]...); err != nil {
		return nil, fmt.Errorf("make instruments: %w", err)
	}
	in.observe, err = m.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		o.ObserveInt64(revision, int64(c.Applied())) //nolint:gosec // a sequence number
		var one int64
		if c.Ready() == nil {
			one = 1
		}
		o.ObserveInt64(ready, one)
		if since, ok := c.Heartbeat(); ok {
			o.ObserveFloat64(age, since.Seconds())
		}
		return nil
	}, revision, ready, age)
	if err != nil {
		return nil, fmt.Errorf("observe gauges: %w", err)
	}
	return &in, nil
}

// outcome is the attribute that says how a commit ended.
func outcome(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, ErrConflict):
		return "conflict"
	case errors.Is(err, ErrUncertain):
		return "uncertain"
	case errors.Is(err, ErrUnavailable):
		return "unavailable"
	default:
		return "invalid"
	}
}

func (in *instruments) committed(ctx context.Context, err error) {
	in.commits.Add(ctx, 1, metric.WithAttributes(attribute.String("orla.outcome", outcome(err))))
}

func (in *instruments) gap(ctx context.Context) { in.gaps.Add(ctx, 1) }

func (in *instruments) applyTook(ctx context.Context, d time.Duration) {
	in.applies.Record(ctx, d.Seconds())
}

// close stops the observation of the gauges.
func (in *instruments) close() error { return in.observe.Unregister() }
