package otlptest

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/otlpreceiver"
	"go.opentelemetry.io/collector/receiver/receivertest"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/orla-edge/orla/telemetry"
)

// collector is a running OTLP receiver and what it has received.
type collector struct {
	http, grpc string // addresses
	traces     consumertest.TracesSink
	metrics    consumertest.MetricsSink
	logs       consumertest.LogsSink
}

// startCollector tries a few times: the receiver does not tell which port it got,
// so that it is given ones that were free a moment ago.
func startCollector(t *testing.T) *collector {
	t.Helper()
	var err error
	for range 5 {
		c := &collector{http: freeAddress(t), grpc: freeAddress(t)}
		if err = c.start(t); err == nil {
			return c
		}
	}
	t.Fatal(err)
	return nil
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func (c *collector) start(t *testing.T) error {
	t.Helper()
	factory := otlpreceiver.NewFactory()
	config := factory.CreateDefaultConfig()
	err := confmap.NewFromStringMap(map[string]any{"protocols": map[string]any{
		"http": map[string]any{"endpoint": c.http},
		"grpc": map[string]any{"endpoint": c.grpc},
	}}).Unmarshal(config)
	if err != nil {
		return err
	}
	settings := receivertest.NewNopSettings(factory.Type())
	traces, err1 := factory.CreateTraces(t.Context(), settings, config, &c.traces)
	metrics, err2 := factory.CreateMetrics(t.Context(), settings, config, &c.metrics)
	logs, err3 := factory.CreateLogs(t.Context(), settings, config, &c.logs)
	if err := firstError(err1, err2, err3); err != nil {
		return err
	}
	// The three are one component underneath, which is started once.
	for _, r := range []component.Component{traces, metrics, logs} {
		if err := r.Start(t.Context(), componenttest.NewNopHost()); err != nil {
			stop(t, traces)
			return err
		}
	}
	t.Cleanup(func() { stop(t, traces) })
	return nil
}

func stop(t *testing.T, r receiver.Traces) {
	if err := r.Shutdown(context.Background()); err != nil {
		t.Errorf("stop collector: %v", err)
	}
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func TestSignalsArrive(t *testing.T) {
	for _, protocol := range []string{"http/protobuf", "grpc"} {
		t.Run(protocol, func(t *testing.T) {
			c := startCollector(t)
			endpoint := c.http
			if protocol == "grpc" {
				endpoint = c.grpc
			}
			t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+endpoint)
			t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
			t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
			parent, child := work(t)
			checkTraces(t, c, parent, child)
			checkMetrics(t, c)
			checkLogs(t, c, child)
		})
	}
}

// work does what a request does, and shuts telemetry down, which flushes.
func work(t *testing.T) (parent, child trace.SpanContext) {
	t.Helper()
	tel, err := telemetry.New(t.Context(), telemetry.Config{Node: "n1", Version: "1.2.3", Output: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	tracer := tel.TracerProvider().Tracer("test")
	ctx, outer := tracer.Start(t.Context(), "GET /users/{id}", trace.WithSpanKind(trace.SpanKindServer))
	ctx, inner := tracer.Start(ctx, telemetry.SpanGuest, trace.WithAttributes(attribute.String(telemetry.AttrFunction, "api")))
	tel.Logger().WarnContext(ctx, "guest is slow", telemetry.KeyApp, "shop", telemetry.KeyDuration, time.Second)
	tel.Logger().DebugContext(ctx, "not at this level")
	h, err := tel.MeterProvider().Meter("test").Float64Histogram(telemetry.HTTPServerRequestDuration, metric.WithUnit("s"))
	if err != nil {
		t.Fatal(err)
	}
	h.Record(ctx, 0.0002)
	inner.End()
	outer.End()
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Fatalf("Shutdown: %v", err)
	}
	return outer.SpanContext(), inner.SpanContext()
}

func checkResource(t *testing.T, r pcommon.Resource) {
	t.Helper()
	for key, want := range map[string]string{
		"service.name":                "orla",
		"service.version":             "1.2.3",
		"service.instance.id":         "n1",
		"telemetry.sdk.language":      "go",
		"deployment.environment.name": "test",
	} {
		if v, ok := r.Attributes().Get(key); !ok || v.AsString() != want {
			t.Errorf("resource has %s = %q, want %q", key, v.AsString(), want)
		}
	}
	if _, ok := r.Attributes().Get("host.name"); !ok {
		t.Error("resource lacks host.name")
	}
}

func checkTraces(t *testing.T, c *collector, parent, child trace.SpanContext) {
	t.Helper()
	spans := map[string]ptrace.Span{}
	for _, batch := range c.traces.AllTraces() {
		for _, rs := range batch.ResourceSpans().All() {
			checkResource(t, rs.Resource())
			for _, ss := range rs.ScopeSpans().All() {
				for _, s := range ss.Spans().All() {
					spans[s.Name()] = s
				}
			}
		}
	}
	outer, ok1 := spans["GET /users/{id}"]
	inner, ok2 := spans[telemetry.SpanGuest]
	if !ok1 || !ok2 || len(spans) != 2 {
		t.Fatalf("spans %v arrived, want the request's and the guest's", spans)
	}
	if outer.Kind() != ptrace.SpanKindServer || outer.SpanID() != pcommon.SpanID(parent.SpanID()) || !outer.ParentSpanID().IsEmpty() {
		t.Errorf("the request's span is %v %v under %v", outer.Kind(), outer.SpanID(), outer.ParentSpanID())
	}
	if inner.ParentSpanID() != outer.SpanID() || inner.TraceID() != outer.TraceID() || inner.SpanID() != pcommon.SpanID(child.SpanID()) {
		t.Errorf("the guest's span is under %v of trace %v, want %v of %v", inner.ParentSpanID(), inner.TraceID(), outer.SpanID(), outer.TraceID())
	}
	if v, ok := inner.Attributes().Get(telemetry.AttrFunction); !ok || v.Str() != "api" {
		t.Errorf("the guest's span lacks %s", telemetry.AttrFunction)
	}
}

func checkMetrics(t *testing.T, c *collector) {
	t.Helper()
	found := false
	for _, batch := range c.metrics.AllMetrics() {
		for _, rm := range batch.ResourceMetrics().All() {
			checkResource(t, rm.Resource())
			for _, sm := range rm.ScopeMetrics().All() {
				for _, m := range sm.Metrics().All() {
					found = found || isDuration(t, m)
				}
			}
		}
	}
	if !found {
		t.Errorf("%s did not arrive", telemetry.HTTPServerRequestDuration)
	}
}

func isDuration(t *testing.T, m pmetric.Metric) bool {
	t.Helper()
	if m.Name() != telemetry.HTTPServerRequestDuration {
		return false
	}
	if m.Type() != pmetric.MetricTypeHistogram || m.Unit() != "s" {
		t.Fatalf("%s is a %v in %q", m.Name(), m.Type(), m.Unit())
	}
	p := m.Histogram().DataPoints().At(0)
	if p.Count() != 1 || p.Sum() != 0.0002 || p.ExplicitBounds().At(0) != 0.00005 {
		t.Errorf("%s has count %d, sum %v, first bound %v", m.Name(), p.Count(), p.Sum(), p.ExplicitBounds().At(0))
	}
	return true
}

func checkLogs(t *testing.T, c *collector, span trace.SpanContext) {
	t.Helper()
	var all []plog.LogRecord
	for _, batch := range c.logs.AllLogs() {
		for _, rl := range batch.ResourceLogs().All() {
			checkResource(t, rl.Resource())
			for _, sl := range rl.ScopeLogs().All() {
				for _, r := range sl.LogRecords().All() {
					all = append(all, r)
				}
			}
		}
	}
	if len(all) != 1 {
		t.Fatalf("%d log records arrived, want 1", len(all))
	}
	r := all[0]
	app, _ := r.Attributes().Get(telemetry.KeyApp)
	got := fmt.Sprint(r.Body().Str(), r.SeverityText(), app.AsString(), r.TraceID(), r.SpanID())
	want := fmt.Sprint("guest is slow", slog.LevelWarn, "shop", pcommon.TraceID(span.TraceID()), pcommon.SpanID(span.SpanID()))
	if got != want {
		t.Errorf("log record %s, want %s", got, want)
	}
	if _, ok := r.Attributes().Get(telemetry.KeyTraceID); ok {
		t.Error("the record has its trace id twice")
	}
}

func TestSDKDisabled(t *testing.T) {
	c := startCollector(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+c.http)
	t.Setenv("OTEL_SDK_DISABLED", "true")
	work(t)
	if n := c.traces.SpanCount() + c.metrics.DataPointCount() + c.logs.LogRecordCount(); n != 0 {
		t.Errorf("%d things arrived although OTEL_SDK_DISABLED=true", n)
	}
}

func TestSampler(t *testing.T) {
	c := startCollector(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+c.http)
	t.Setenv("OTEL_TRACES_SAMPLER", "always_off")
	work(t)
	if n := c.traces.SpanCount(); n != 0 {
		t.Errorf("%d spans arrived although OTEL_TRACES_SAMPLER=always_off", n)
	}
	if c.logs.LogRecordCount() != 1 {
		t.Error("the log record did not arrive")
	}
}
