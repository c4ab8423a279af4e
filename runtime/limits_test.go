package runtime_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/orla-edge/orla/internal/guests"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/runtime"
	"github.com/orla-edge/orla/telemetry"
)

// occupy keeps a guest busy until leave is called.
func occupy(t *testing.T, url string) (leave func()) {
	t.Helper()
	r, w := io.Pipe()
	req, _ := http.NewRequestWithContext(t.Context(), "POST", url+"/echo", r)
	go io.WriteString(w, "x\n")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(resp.Body).ReadString('\n'); line != "x\n" {
		t.Fatalf("the guest answers %q, %v", line, err)
	}
	return func() {
		w.Close()
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
}

func TestTooManyRequestsAtOneTime(t *testing.T) {
	b := newBench(t, runtime.Config{MaxWait: 20 * time.Millisecond})
	url, last := serve(t, b.load(t, cgiGuest(t), &orlav1.Function{Concurrency: 2}).Handler("/*", ""))
	leave := []func(){occupy(t, url), occupy(t, url)}
	got := get(t, url+"/")
	if got.StatusCode != http.StatusServiceUnavailable || got.Header.Get("Retry-After") != "1" || !strings.Contains(got.body, "request r1") {
		t.Errorf("a third request: %d %v %q, want 503 with Retry-After", got.StatusCode, got.Header, got.body)
	}
	if rec := last(); rec.Err == nil || rec.Guest != 0 {
		t.Errorf("its record: %+v", rec)
	}
	leave[0]()
	last()
	if got := get(t, url+"/"); got.StatusCode != 200 {
		t.Errorf("after one has left: %d", got.StatusCode)
	}
	leave[1]()
}

func TestSpansAndMetrics(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	tracer := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	reader := sdkmetric.NewManualReader()
	meter := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		if err := errors.Join(tracer.Shutdown(ctx), meter.Shutdown(ctx)); err != nil {
			t.Error(err)
		}
	})
	b := newBench(t, runtime.Config{Tracer: tracer, Meter: meter, Logger: slog.New(slog.DiscardHandler)})
	url, _ := serve(t, b.load(t, cgiGuest(t), &orlav1.Function{Source: "x.wasm"}).Handler("/*", ""))
	req, _ := http.NewRequestWithContext(t.Context(), "GET", url+"/env", nil)
	req.Header.Set("Traceparent", "00-11111111111111111111111111111111-2222222222222222-01") // the client's, not ours
	env := send(t, req).body
	get(t, url+"/trap")

	ended := spans.Ended()
	if len(ended) != 2 || ended[0].Name() != telemetry.SpanGuest {
		t.Fatalf("spans: %v", ended)
	}
	sc := ended[0].SpanContext()
	if want := "HTTP_TRACEPARENT=00-" + sc.TraceID().String() + "-" + sc.SpanID().String() + "-01\n"; !strings.Contains(env, want) {
		t.Errorf("the guest does not see %q in\n%s", want, env)
	}
	attrs := attribute.NewSet(ended[1].Attributes()...)
	for key, want := range map[string]string{
		telemetry.AttrApp: "app", telemetry.AttrFunction: "fn", telemetry.AttrABI: "cgi", telemetry.AttrOutcome: "crash", "faas.trigger": "http",
		"faas.name": "app/fn", "faas.invocation_id": "r1", "code.function.name": "_start", "code.file.path": "x.wasm",
	} {
		if got, _ := attrs.Value(attribute.Key(key)); got.AsString() != want {
			t.Errorf("the span's %s = %q, want %q", key, got.AsString(), want)
		}
	}
	var data metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &data); err != nil {
		t.Fatal(err)
	}
	counts, active := invocations(data)
	if counts["ok"] != 1 || counts["crash"] != 1 || len(counts) != 2 || active != 0 {
		t.Errorf("invocations %v, %d active, want one ok, one crash and none active", counts, active)
	}
}

// invocations reads the counters, by outcome.
func invocations(data metricdata.ResourceMetrics) (counts map[string]int64, active int64) {
	counts = make(map[string]int64)
	for _, m := range data.ScopeMetrics[0].Metrics {
		sum, _ := m.Data.(metricdata.Sum[int64])
		for _, p := range sum.DataPoints {
			switch m.Name {
			case telemetry.FunctionInvocations:
				v, _ := p.Attributes.Value(telemetry.AttrOutcome)
				counts[v.AsString()] += p.Value
			case telemetry.FunctionActive:
				active += p.Value
			}
		}
	}
	return counts, active
}

func TestTraceparentPassesWithoutTracing(t *testing.T) {
	b := newBench(t, runtime.Config{})
	url, _ := serve(t, b.load(t, cgiGuest(t), &orlav1.Function{}).Handler("/*", ""))
	req, _ := http.NewRequestWithContext(t.Context(), "GET", url+"/env", nil)
	req.Header.Set("Traceparent", "00-11111111111111111111111111111111-2222222222222222-01")
	if env := send(t, req).body; !strings.Contains(env, "HTTP_TRACEPARENT=00-11111111111111111111111111111111-2222222222222222-01\n") {
		t.Errorf("the guest sees\n%s", env)
	}
}

func TestFiles(t *testing.T) {
	b := newBench(t, runtime.Config{})
	file := func(path, content string) *orlav1.File {
		return &orlav1.File{Path: path, Digest: b.store.Put(t, []byte(content)), Size: int64(len(content))}
	}
	url, _ := serve(t, b.load(t, cgiGuest(t), &orlav1.Function{Files: []*orlav1.File{
		file("/hello.txt", "hello"), file("/lib/b.py", "b"), file("/lib/a.py", "a"), file("/lib/deep/c.py", ""),
	}}).Handler("/*", ""))
	for _, c := range []struct{ query, want string }{
		{"/cat?/hello.txt", "hello"},
		{"/cat?/lib/a.py", "a"},
		{"/cat?/lib/../hello.txt", "hello"},
		{"/cat?hello.txt", "hello"},
		{"/cat?/lib/deep/c.py", ""},
		{"/ls?/", "hello.txt\nlib\n"},
		{"/ls?/lib", "a.py\nb.py\ndeep\n"},
		{"/change", "create refused\nwrite refused\nremove refused\noutside refused\n"},
	} {
		if got := get(t, url+c.query); got.StatusCode != 200 || got.body != c.want {
			t.Errorf("%s: %d %q, want %q", c.query, got.StatusCode, got.body, c.want)
		}
	}
	for _, query := range []string{"/cat?/none", "/cat?/hello.txt/x", "/ls?/none", "/cat?/etc/passwd", "/cat?/../../../../etc/passwd"} {
		if got := get(t, url+query); got.StatusCode != 404 {
			t.Errorf("%s: %d %q, want 404", query, got.StatusCode, got.body)
		}
	}
	if got := get(t, url+"/open-many").body; got != "127\n" { // the root is open too
		t.Errorf("a guest can open %q files at one time, want 127", got)
	}
	without, _ := serve(t, b.load(t, cgiGuest(t), &orlav1.Function{}).Handler("/*", ""))
	if got := get(t, without+"/ls?/"); got.StatusCode != 404 {
		t.Errorf("a guest without files lists /: %d %q", got.StatusCode, got.body)
	}
}

// BenchmarkRequest is one small GET over a keep-alive connection, with a fresh instance
// for each, beside a native handler.
func BenchmarkRequest(b *testing.B) {
	bench := newBench(b, runtime.Config{Logger: slog.New(slog.DiscardHandler)})
	for _, c := range []struct {
		name string
		h    http.Handler
	}{
		{"net/http", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") })},
		{"cgi-c", bench.load(b, cgiGuest(b), &orlav1.Function{}).Handler("/*", "")},
		{"http-wasm-c", bench.load(b, handlerGuest(b), &orlav1.Function{}).Handler("/*", "")},
		{"http-wasm-go", bench.load(b, guests.Go(b, "examples/go-handler"), &orlav1.Function{}).Handler("/*", "")},
	} {
		b.Run(c.name, func(b *testing.B) {
			url, last := serve(b, c.h)
			b.ReportAllocs()
			for b.Loop() {
				resp, err := http.Get(url + "/hello")
				if err != nil {
					b.Fatal(err)
				}
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				last()
			}
		})
	}
}
