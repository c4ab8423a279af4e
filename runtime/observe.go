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
}

func newObserver(cfg Config) (*observer, error) {
	m := cfg.Meter.Meter(scope)
	o := &observer{tracer: cfg.Tracer.Tracer(scope)}
	var errs [6]error
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
	if err := errors.Join(errs[:]...); err != nil {
		return nil, fmt.Errorf("create instruments: %w", err)
	}
	return o, nil
}

// outcome is how an invocation ended: a label of few values.
type outcome string

const (
	succeeded  outcome = "ok"
	timedOut   outcome = "deadline" // stopped by the wall clock
	canceled   outcome = "canceled" // the client went away
	crashed    outcome = "crash"    // trap, exit, fault against the ABI
	malformed  outcome = "response" // an answer that is no HTTP response
	overloaded outcome = "overload" // no place within the wait
)

// measures are the label sets of one program, made once.
type measures struct {
	*observer
	labels metric.MeasurementOption
	ended  map[outcome]metric.MeasurementOption
	span   []attribute.KeyValue
}

func newMeasures(o *observer, app string, f *orlav1.Function, abi orlav1.Abi) *measures {
	entry := "_start"
	if abi == orlav1.Abi_ABI_HTTP_WASM {
		entry = httpwasm.HandleRequest
	}
	labels := []attribute.KeyValue{attribute.String(telemetry.AttrApp, app), attribute.String(telemetry.AttrFunction, f.GetName())}
	m := &measures{observer: o, labels: metric.WithAttributeSet(attribute.NewSet(labels...)), ended: make(map[outcome]metric.MeasurementOption)}
	for _, out := range []outcome{succeeded, timedOut, canceled, crashed, malformed, overloaded} {
		m.ended[out] = metric.WithAttributeSet(attribute.NewSet(append(labels[:2:2], attribute.String(telemetry.AttrOutcome, string(out)))...))
	}
	m.span = append(labels[:2:2],
		attribute.String(telemetry.AttrABI, abiName(abi)),
		attribute.String("faas.name", app+"/"+f.GetName()),
		attribute.String("faas.trigger", "http"),
		attribute.String("code.function.name", entry),
		attribute.String("code.file.path", f.GetSource()))
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
	m.active.Add(ctx, 1, m.labels)
	return m.tracer.Start(ctx, telemetry.SpanGuest, trace.WithAttributes(m.span...),
		trace.WithAttributes(attribute.String("faas.invocation_id", requestID)))
}

// end ends what start began.
func (m *measures) end(ctx context.Context, span trace.Span, out outcome, err error, took time.Duration) {
	m.active.Add(ctx, -1, m.labels)
	m.guest.Record(ctx, took.Seconds(), m.labels)
	span.SetAttributes(attribute.String(telemetry.AttrOutcome, string(out)))
	if err != nil {
		span.RecordError(err)
		span.SetStatus(codes.Error, string(out))
	}
	span.End()
}

// done records an invocation as a whole.
func (m *measures) done(ctx context.Context, out outcome, took time.Duration) {
	m.invocations.Add(ctx, 1, m.ended[out])
	m.duration.Record(ctx, took.Seconds(), m.ended[out])
}
