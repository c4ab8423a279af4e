package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
)

// lockedBuffer is a buffer that exporters' goroutines may write to as well.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// clearEnv makes a test independent of the OTEL_* variables around it.
func clearEnv(t *testing.T) {
	for _, name := range []string{
		"OTEL_SDK_DISABLED", "OTEL_TRACES_EXPORTER", "OTEL_METRICS_EXPORTER", "OTEL_LOGS_EXPORTER",
		"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_PROTOCOL",
		"OTEL_PROPAGATORS", "OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES", "OTEL_TRACES_SAMPLER",
	} {
		t.Setenv(name, "")
	}
}

func start(t *testing.T, c Config) *Telemetry {
	t.Helper()
	tel, err := New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tel.Shutdown(context.Background()); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
	})
	return tel
}

func TestExportersComeFromTheEnvironment(t *testing.T) {
	for _, tt := range []struct {
		name   string
		env    map[string]string
		signal string
		want   string
		err    string
	}{
		{name: "nothing asked", signal: traces},
		{name: "endpoint", env: map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c"}, signal: logs, want: exportHTTP},
		{name: "endpoint of the signal", env: map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c"}, signal: traces, want: exportHTTP},
		{name: "endpoint of another signal", env: map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c"}, signal: logs},
		{name: "grpc", env: map[string]string{"OTEL_METRICS_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, signal: metrics, want: exportGRPC},
		{name: "none wins over the endpoint", env: map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_LOGS_EXPORTER": "none"}, signal: logs},
		{name: "prometheus is there anyway", env: map[string]string{"OTEL_METRICS_EXPORTER": "prometheus"}, signal: metrics},
		{name: "several", env: map[string]string{"OTEL_TRACES_EXPORTER": "otlp, console,otlp"}, signal: traces, want: exportHTTP + "+" + exportConsole},
		{name: "disabled", env: map[string]string{"OTEL_SDK_DISABLED": "true", "OTEL_TRACES_EXPORTER": "otlp"}, signal: traces},
		{name: "unknown exporter", env: map[string]string{"OTEL_TRACES_EXPORTER": "zipkin"}, signal: traces, err: `OTEL_TRACES_EXPORTER: exporter "zipkin" is not known: use otlp, console or none`},
		{name: "prometheus for traces", env: map[string]string{"OTEL_TRACES_EXPORTER": "prometheus"}, signal: traces, err: `OTEL_TRACES_EXPORTER: exporter "prometheus"`},
		{name: "unknown protocol", env: map[string]string{"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}, signal: traces, err: `OTEL_EXPORTER_OTLP_PROTOCOL: protocol "http/json" is not known`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			clearEnv(t)
			for k, v := range tt.env {
				t.Setenv(k, v)
			}
			kinds, err := exportersFor(tt.signal)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("error = %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(kinds, "+"); got != tt.want {
				t.Errorf("exporters of %s = %q, want %q", tt.signal, got, tt.want)
			}
		})
	}
}

func TestNewRefuses(t *testing.T) {
	for _, tt := range []struct {
		name, env, value string
		c                Config
		want             string
	}{
		{name: "format", c: Config{Format: "xml"}, want: `log format "xml" is not known: use text or json`},
		{name: "propagator", env: "OTEL_PROPAGATORS", value: "tracecontext,b3", want: `OTEL_PROPAGATORS: "b3" is not known`},
		{name: "logs exporter", env: "OTEL_LOGS_EXPORTER", value: "file", want: "OTEL_LOGS_EXPORTER"},
		{name: "resource", env: "OTEL_RESOURCE_ATTRIBUTES", value: "novalue", want: "OTEL_RESOURCE_ATTRIBUTES"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			clearEnv(t)
			t.Setenv("OTEL_TRACES_EXPORTER", "otlp") // something to be undone
			if tt.env != "" {
				t.Setenv(tt.env, tt.value)
			}
			if _, err := New(t.Context(), tt.c); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error = %v, want %q", err, tt.want)
			}
		})
	}
}

func TestWithoutExportersSpansCostNothing(t *testing.T) {
	clearEnv(t)
	tel := start(t, Config{Output: io.Discard})
	tracer := tel.TracerProvider().Tracer("test")
	ctx := t.Context()
	if n := testing.AllocsPerRun(100, func() {
		_, span := tracer.Start(ctx, "GET")
		span.End()
	}); n > 1 {
		t.Errorf("a span makes %v allocations, want at most 1", n)
	}
	if _, span := tracer.Start(ctx, "GET"); span.IsRecording() {
		t.Error("spans are recorded although nobody asked for them")
	}
}

func TestGlobalsAreLeftAlone(t *testing.T) {
	clearEnv(t)
	t.Setenv("OTEL_TRACES_EXPORTER", "otlp")
	tel := start(t, Config{Output: io.Discard}) // exports nothing, as there are no spans
	if otel.GetTracerProvider() == tel.TracerProvider() || otel.GetMeterProvider() == tel.MeterProvider() {
		t.Error("a global provider was set")
	}
	if fields := otel.GetTextMapPropagator().Fields(); len(fields) != 0 {
		t.Errorf("the global propagator was set: %v", fields)
	}
}

func TestMetricsInPrometheusFormat(t *testing.T) {
	clearEnv(t)
	tel := start(t, Config{Node: "n1", Version: "1.2.3", Output: io.Discard})
	meter := tel.MeterProvider().Meter("test")
	h, err := meter.Float64Histogram(HTTPServerRequestDuration, metric.WithUnit("s"))
	if err != nil {
		t.Fatal(err)
	}
	h.Record(t.Context(), 0.00003, metric.WithAttributes(attribute.Int("http.response.status_code", 200)))
	c, err := meter.Int64Counter(FunctionInvocations, metric.WithUnit("{invocation}"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range maxSeries + 100 {
		c.Add(t.Context(), 1, metric.WithAttributes(attribute.Int(AttrApp, i)))
	}
	w := httptest.NewRecorder()
	tel.MetricsHandler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/metrics", nil))
	body := w.Body.String()
	for _, want := range []string{
		`http_server_request_duration_seconds_bucket{http_response_status_code="200",le="5e-05"} 1`,
		`orla_function_invocations_total{otel_metric_overflow="true"} `,
		`service_instance_id="n1"`, `service_version="1.2.3"`, `service_name="orla"`,
		"go_goroutines ", "process_resident_memory_bytes ",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
	if n := strings.Count(body, "\norla_function_invocations_total{"); n > maxSeries {
		t.Errorf("/metrics has %d series of one counter, want at most %d", n, maxSeries)
	}
}

func TestTwoNodesInOneProcess(t *testing.T) {
	clearEnv(t)
	start(t, Config{Node: "a", Output: io.Discard})
	start(t, Config{Node: "b", Output: io.Discard})
}

// deadCollector returns the address of a collector that accepts connections and
// never answers.
func deadCollector(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}

func TestDeadCollectorDelaysNobody(t *testing.T) {
	for _, protocol := range []string{"http/protobuf", "grpc"} {
		t.Run(protocol, func(t *testing.T) {
			clearEnv(t)
			t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+deadCollector(t))
			t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
			out := new(lockedBuffer)
			tel, err := New(t.Context(), Config{Output: out, ShutdownTimeout: 50 * time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			tracer := tel.TracerProvider().Tracer("test")
			for range 10_000 { // several times what the queues hold: would block here
				ctx, span := tracer.Start(t.Context(), "GET")
				tel.Logger().InfoContext(ctx, "request")
				span.End()
			}
			done := make(chan error, 1)
			go func() { done <- tel.Shutdown(context.Background()) }()
			select {
			case <-done: // with an error, or without: what was lost is in the log
			case <-time.After(10 * time.Second):
				t.Fatal("Shutdown waits for the collector")
			}
		})
	}
}

func TestExportFailuresAreLoggedOnceAMinute(t *testing.T) {
	out := new(lockedBuffer)
	h, err := newOutput(Config{Output: out})
	if err != nil {
		t.Fatal(err)
	}
	b := builder{log: slog.New(h), stopped: t.Context()}
	w := b.watch(traces)
	for range 5 {
		if err := w.do(t.Context(), func(context.Context) error { return io.ErrUnexpectedEOF }); err != nil {
			t.Errorf("the SDK gets %v, want nil", err)
		}
	}
	if err := w.do(t.Context(), func(context.Context) error { return nil }); err != nil {
		t.Error(err)
	}
	got := out.String()
	if n := strings.Count(got, "export failed"); n != 1 {
		t.Errorf("the log has %d complaints, want 1:\n%s", n, got)
	}
	if want := `msg="export works again" signal=traces count=5`; !strings.Contains(got, want) {
		t.Errorf("the log lacks %s:\n%s", want, got)
	}
}

func TestLogFormats(t *testing.T) {
	clearEnv(t)
	sc := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}})
	ctx := trace.ContextWithSpanContext(t.Context(), sc)
	attrs := []any{"status", 200, KeyDuration, 1500 * time.Microsecond, "token", "hunter2", slog.Group("g", "cookie", "hunter2", "n", 1)}
	t.Run("text", func(t *testing.T) {
		out := new(lockedBuffer)
		tel := start(t, Config{Output: out})
		tel.Logger().With("authorization", "hunter2").InfoContext(ctx, "request", attrs...)
		tel.Logger().Debug("not this")
		got := out.String()
		want := ` level=INFO msg=request authorization=[redacted] status=200 duration=1.5ms token=[redacted] g.cookie=[redacted] g.n=1 ` +
			`trace_id=01000000000000000000000000000000 span_id=0200000000000000` + "\n"
		if _, after, _ := strings.Cut(got, " "); " "+after != want {
			t.Errorf("line = %q, want time and %q", got, want)
		}
		if _, err := time.Parse("time=15:04:05.000", strings.Fields(got)[0]); err != nil {
			t.Errorf("time: %v", err)
		}
	})
	t.Run("json", func(t *testing.T) {
		out := new(lockedBuffer)
		tel := start(t, Config{Output: out, Format: "json", Level: slog.LevelWarn})
		tel.Logger().InfoContext(ctx, "not this")
		tel.Logger().WarnContext(ctx, "request", attrs...)
		var got map[string]any
		if err := json.Unmarshal([]byte(out.String()), &got); err != nil {
			t.Fatal(err)
		}
		if got["duration"] != 0.0015 || got["token"] != "[redacted]" || got["trace_id"] == nil {
			t.Errorf("line = %v", got)
		}
	})
	t.Run("tail", func(t *testing.T) {
		tel := start(t, Config{Output: io.Discard})
		tel.Logger().With("app", "shop", "secret", "hunter2").InfoContext(ctx, "request", attrs...)
		tel.Logger().With("app", "shop").Debug("not this")
		rs := tel.Tail().Recent("shop", 10)
		if len(rs) != 1 {
			t.Fatalf("the tail has %d records, want 1", len(rs))
		}
		for _, a := range rs[0].Attrs {
			if strings.Contains(a.Value, "hunter2") {
				t.Errorf("the tail has %s=%s", a.Key, a.Value)
			}
		}
	})
}

func TestPropagators(t *testing.T) {
	for list, want := range map[string]int{"": 3, "tracecontext": 2, "none": 0, "baggage , tracecontext": 3} {
		p, err := newPropagator(list)
		if err != nil {
			t.Fatal(err)
		}
		if got := len(p.Fields()); got != want {
			t.Errorf("OTEL_PROPAGATORS=%q has fields %v, want %d", list, p.Fields(), want)
		}
	}
}

func TestRequestInContext(t *testing.T) {
	r := &Request{ID: "x"}
	if got := RequestFrom(WithRequest(t.Context(), r)); got != r {
		t.Errorf("RequestFrom = %p, want %p", got, r)
	}
	if got := RequestFrom(t.Context()); got == nil || got.ID != "" {
		t.Errorf("RequestFrom without one = %v, want a fresh one", got)
	}
}
