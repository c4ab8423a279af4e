package proxy

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/telemetry"
)

func TestEachAttemptIsASpanUnderTheRequests(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	var seen trace.SpanContext
	var state string
	good := upstreamAt(t, func(w http.ResponseWriter, r *http.Request) {
		ctx := propagation.TraceContext{}.Extract(context.Background(), propagation.HeaderCarrier(r.Header))
		seen, state = trace.SpanContextFromContext(ctx), r.Header.Get("Tracestate")
	})
	p, err := New(Config{Proxy: &orlav1.Proxy{To: []string{"http://" + deadAddress(t), good}}, TracerProvider: provider})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	p.targets[1].active.Store(1) // so that the dead one is first
	ctx, parent := provider.Tracer("server").Start(t.Context(), "GET /")
	r := httptest.NewRequestWithContext(ctx, "GET", "/a?secret=1", nil)
	r.Header.Set("Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	r.Header.Set("Tracestate", "theirs=1")
	p.ServeHTTP(httptest.NewRecorder(), r)
	parent.End()
	ended := spans.Ended()
	if len(ended) != 3 {
		t.Fatalf("%d spans, want two attempts and the request", len(ended))
	}
	for i, s := range ended[:2] {
		if s.Parent().SpanID() != parent.SpanContext().SpanID() || s.SpanKind() != trace.SpanKindClient || s.Name() != "GET" {
			t.Errorf("attempt %d is %s %q under %v", i, s.SpanKind(), s.Name(), s.Parent().SpanID())
		}
		for _, a := range s.Attributes() {
			if strings.Contains(a.Value.String(), "secret") {
				t.Errorf("attempt %d has the query in %s", i, a.Key)
			}
		}
	}
	if ended[0].Status().Code != codes.Error || !hasAttribute(ended[0], attribute.String("error.type", "connect")) {
		t.Errorf("failed attempt: %v, %v", ended[0].Status(), ended[0].Attributes())
	}
	if seen.SpanID() != ended[1].SpanContext().SpanID() || seen.TraceID() != parent.SpanContext().TraceID() {
		t.Errorf("the upstream's parent is %v, want the second attempt's span", seen.SpanID())
	}
	if state != "" {
		t.Errorf("the upstream got the tracestate %q of another trace", state)
	}
	for _, want := range []attribute.KeyValue{attribute.Int("http.response.status_code", 200), attribute.Int("http.request.resend_count", 1), attribute.String("http.request.method", "GET")} {
		if !hasAttribute(ended[1], want) {
			t.Errorf("second attempt lacks %v: %v", want, ended[1].Attributes())
		}
	}
}

func hasAttribute(s sdktrace.ReadOnlySpan, want attribute.KeyValue) bool {
	return slices.Contains(s.Attributes(), want)
}

func TestMetrics(t *testing.T) {
	reader := sdkmetric.NewManualReader()
	pool, err := NewPool(PoolConfig{MeterProvider: sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))})
	if err != nil {
		t.Fatal(err)
	}
	dead := "http://" + deadAddress(t)
	good := upstreamAt(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(404) })
	n := nodeWith(t, Config{Pool: pool}, dead, good)
	n.proxy.targets[1].active.Store(1) // so that the dead one is first
	n.get(t, "GET", "/")
	n.record(t)
	n.proxy.targets[1].active.Add(-1)

	var got metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &got); err != nil {
		t.Fatal(err)
	}
	durations, values := map[string]uint64{}, map[string]int64{}
	for _, m := range got.ScopeMetrics[0].Metrics {
		switch d := m.Data.(type) {
		case metricdata.Histogram[float64]:
			for _, p := range d.DataPoints {
				class, _ := p.Attributes.Value(telemetry.AttrOutcome)
				durations[class.AsString()] += p.Count
			}
		case metricdata.Gauge[int64]:
			for _, p := range d.DataPoints {
				port, _ := p.Attributes.Value("server.port")
				if strings.HasSuffix(dead, ":"+port.String()) {
					values[m.Name+" dead"] = p.Value
				} else {
					values[m.Name+" good"] = p.Value
				}
			}
		case metricdata.Sum[int64]:
			values[m.Name] = d.DataPoints[0].Value
		}
	}
	if durations["none"] != 1 || durations["4xx"] != 1 {
		t.Errorf("attempts by outcome: %v, want one none and one 4xx", durations)
	}
	for name, want := range map[string]int64{
		telemetry.ProxyUpstreamRetries:             1,
		telemetry.ProxyUpstreamAvailable + " dead": 0,
		telemetry.ProxyUpstreamAvailable + " good": 1,
		telemetry.ProxyUpstreamActive + " good":    0,
	} {
		if got, ok := values[name]; !ok || got != want {
			t.Errorf("%s = %d, want %d", name, got, want)
		}
	}
	if err := pool.Close(); err != nil {
		t.Error(err)
	}
}

func TestActiveRequestsAreCountedToTheirEnd(t *testing.T) {
	release := make(chan struct{})
	n := nodeWith(t, Config{}, upstreamAt(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(200)
		_ = http.NewResponseController(w).Flush()
		<-release
	}))
	res := n.get(t, "GET", "/")
	if got := n.proxy.targets[0].active.Load(); got != 1 {
		t.Errorf("while the body lasts %d requests are in flight, want 1", got)
	}
	close(release)
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		t.Fatal(err)
	}
	n.record(t)
	if got := n.proxy.targets[0].active.Load(); got != 0 {
		t.Errorf("afterwards %d requests are in flight, want 0", got)
	}
}

func TestRecordNamesTheUpstream(t *testing.T) {
	base := upstreamAt(t, func(http.ResponseWriter, *http.Request) {})
	n := nodeWith(t, Config{}, base)
	n.get(t, "GET", "/")
	if r := n.record(t); r.Target != "proxy" || "http://"+r.Upstream != base || r.Err != nil {
		t.Errorf("record has target %q, upstream %q, cause %v", r.Target, r.Upstream, r.Err)
	}
}
