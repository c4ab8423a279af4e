package runtime

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/runtime/httpwasm"
	"github.com/orla-edge/orla/telemetry"
)

const scope = "github.com/orla-edge/orla/runtime"

// observer holds the instruments of an Engine.
type observer struct {
	tracer      trace.Tracer
	invocations metric.Int64Counter
	duration    metric.Float64Histogram
	guest       metric.Float64Histogram
	active      metric.Int64UpDownCounter
	queued      metric.Int64UpDownCounter
	prepare     metric.Float64Histogram
	cpu         metric.Float64Counter
	limits      metric.Int64Counter
	state       metric.Registration
}

func newObserver(cfg Config, e *Engine) (*observer, error) {
	m := cfg.Meter.Meter(scope)
	o := &observer{tracer: cfg.Tracer.Tracer(scope)}
	var errs [8]error
	o.invocations, errs[0] = m.Int64Counter(telemetry.FunctionInvocations,
		metric.WithUnit("{invocation}"), metric.WithDescription("Requests that functions were asked to answer, by how they ended."))
	o.duration, errs[1] = m.Float64Histogram(telemetry.FunctionDuration,
		metric.WithUnit("s"), metric.WithDescription("Time of an invocation, waiting for its turn included."))
	o.guest, errs[2] = m.Float64Histogram(telemetry.FunctionGuestDuration,
		metric.WithUnit("s"), metric.WithDescription("Time inside the guest, making its instance included."))
	o.active, errs[3] = m.Int64UpDownCounter(telemetry.FunctionActive,
		metric.WithUnit("{invocation}"), metric.WithDescription("Guests at work."))
	o.queued, errs[4] = m.Int64UpDownCounter(telemetry.FunctionQueued,
		metric.WithUnit("{invocation}"), metric.WithDescription("Requests that wait for their turn."))
	o.prepare, errs[5] = m.Float64Histogram(telemetry.FunctionPrepareDuration,
		metric.WithUnit("s"), metric.WithDescription("Time to compile a module, or to load it from the cache."))
	o.cpu, errs[6] = m.Float64Counter(telemetry.FunctionCPU,
		metric.WithUnit("s"), metric.WithDescription("CPU time that guests used."))
	o.limits, errs[7] = m.Int64Counter(telemetry.FunctionLimit,
		metric.WithUnit("{hit}"), metric.WithDescription("Limits that requests ran into."))
	err := errors.Join(errs[:]...)
	if err == nil {
		o.state, err = e.observe(m)
	}
	if err != nil {
		return nil, fmt.Errorf("create instruments: %w", err)
	}
	return o, nil
}

// observe registers what is asked of all programs when metrics are collected.
func (e *Engine) observe(m metric.Meter) (metric.Registration, error) {
	circuits, err1 := m.Int64ObservableGauge(telemetry.FunctionCircuit,
		metric.WithUnit("1"), metric.WithDescription("Whether a function keeps crashing and is not called."))
	instances, err2 := m.Int64ObservableGauge(telemetry.FunctionInstances,
		metric.WithUnit("{instance}"), metric.WithDescription("Instances of a function."))
	memories, err3 := m.Int64ObservableGauge(telemetry.FunctionMemory,
		metric.WithUnit("By"), metric.WithDescription("Linear memory of a function's instances."))
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, err
	}
	return m.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		for _, p := range e.all() {
			s := p.Stats()
			open := int64(0)
			if p.Circuit().Open {
				open = 1
			}
			o.ObserveInt64(circuits, open, p.obs.labels)
			o.ObserveInt64(instances, int64(s.Idle), p.obs.idle)
			o.ObserveInt64(instances, int64(s.Busy), p.obs.busy)
			o.ObserveInt64(memories, s.Memory, p.obs.labels)
		}
		return nil
	}, circuits, instances, memories)
}

// stop ends observing.
func (o *observer) stop() {
	_ = o.state.Unregister() // always succeeds for a registration of this meter
}

// measures are the label sets of one program, made once: an argument made for a call
// of an interface is garbage.
type measures struct {
	*observer
	labels        metric.MeasurementOption
	add           []metric.AddOption       // with labels
	record        []metric.RecordOption    // with labels
	span          []trace.SpanStartOption  // with the span's attributes
	ended         map[outcome]endedOptions // with labels and the outcome
	app, function attribute.KeyValue
	// idle and busy are labels with the state of instances.
	idle, busy metric.MeasurementOption
}

type endedOptions struct {
	add    []metric.AddOption
	record []metric.RecordOption
}

func newMeasures(o *observer, app string, f *orlav1.Function, abi orlav1.Abi) *measures {
	entry := "_start"
	if abi == orlav1.Abi_ABI_HTTP_WASM {
		entry = httpwasm.HandleRequest
	}
	labels := []attribute.KeyValue{attribute.String(telemetry.AttrApp, app), attribute.String(telemetry.AttrFunction, f.GetName())}
	m := &measures{observer: o, labels: metric.WithAttributeSet(attribute.NewSet(labels...)), ended: make(map[outcome]endedOptions)}
	m.add, m.record = []metric.AddOption{m.labels}, []metric.RecordOption{m.labels}
	for _, out := range outcomes {
		set := metric.WithAttributeSet(attribute.NewSet(append(labels[:2:2], attribute.String(telemetry.AttrOutcome, string(out)))...))
		m.ended[out] = endedOptions{[]metric.AddOption{set}, []metric.RecordOption{set}}
	}
	state := func(s string) metric.MeasurementOption {
		return metric.WithAttributeSet(attribute.NewSet(append(labels[:2:2], attribute.String(telemetry.AttrInstanceState, s))...))
	}
	m.idle, m.busy = state("idle"), state("busy")
	m.app, m.function = labels[0], labels[1]
	m.span = []trace.SpanStartOption{trace.WithAttributes(append(labels[:2:2],
		attribute.String(telemetry.AttrABI, abiName(abi)),
		attribute.String("faas.name", app+"/"+f.GetName()),
		attribute.String("faas.trigger", "http"),
		attribute.String("code.function.name", entry),
		attribute.String("code.file.path", f.GetSource()))...)}
	return m
}

// abiName returns the ABI's name in traces and messages.
func abiName(abi orlav1.Abi) string {
	if abi == orlav1.Abi_ABI_HTTP_WASM {
		return "http-wasm"
	}
	return "cgi"
}

// start begins the guest's span.
func (m *measures) start(ctx context.Context, requestID string) (context.Context, trace.Span) {
	m.active.Add(ctx, 1, m.add...)
	ctx, span := m.tracer.Start(ctx, telemetry.SpanGuest, m.span...)
	if span.IsRecording() {
		span.SetAttributes(attribute.String("faas.invocation_id", requestID))
	}
	return ctx, span
}

// end ends what start began.
func (m *measures) end(ctx context.Context, span trace.Span, out outcome, err error, took, cpu time.Duration) {
	m.active.Add(ctx, -1, m.add...)
	m.cpu.Add(ctx, cpu.Seconds(), m.add...)
	m.guest.Record(ctx, took.Seconds(), m.record...)
	if span.IsRecording() {
		span.SetAttributes(attribute.String(telemetry.AttrOutcome, string(out)), attribute.Float64(telemetry.AttrGuestCPU, float64(cpu)/1e6))
		if err != nil {
			span.RecordError(err)
			span.SetStatus(codes.Error, string(out))
		}
	}
	span.End()
}

// done records an invocation as a whole.
func (m *measures) done(ctx context.Context, out outcome, took time.Duration) {
	m.invocations.Add(ctx, 1, m.ended[out].add...)
	m.duration.Record(ctx, took.Seconds(), m.ended[out].record...)
}

// hit counts that a limit was reached.
func (m *measures) hit(ctx context.Context, limit string) {
	m.limits.Add(ctx, 1, metric.WithAttributes(m.app, m.function, attribute.String(telemetry.AttrLimit, limit)))
}
