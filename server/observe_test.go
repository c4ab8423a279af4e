package server

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/orla-edge/orla/telemetry"
)

// routed does what dispatch and a target do.
func routed(w http.ResponseWriter, r *http.Request) {
	t := telemetry.RequestFrom(r.Context())
	switch r.URL.Path {
	case "/users/7":
		t.App, t.Release, t.Route, t.Target, t.Function = "shop", 3, "/users/{id}", "function", "api"
		t.CPU = 1500 * time.Microsecond
		_, _ = io.Copy(io.Discard, r.Body)
		io.WriteString(w, "hello")
	case "/bad":
		t.App, t.Route, t.Err = "shop", "/bad", errors.New("upstream is down")
		w.WriteHeader(http.StatusBadGateway)
	case "/panic":
		t.App, t.Route = "shop", "/panic"
		w.Header().Set("Strict-Transport-Security", "max-age=1")
		w.Header().Set("Etag", "x")
		panic("oh no")
	case "/late":
		io.WriteString(w, "partial")
		http.NewResponseController(w).Flush()
		panic("too late")
	case "/abort":
		panic(http.ErrAbortHandler)
	}
}

func TestAccessLog(t *testing.T) {
	srv := start(t, Config{Handler: http.HandlerFunc(routed), Node: "n1"})
	client := srv.client(t, "h1")
	get := func(method, path string) {
		req, err := http.NewRequestWithContext(t.Context(), method, "http://"+srv.http+path, strings.NewReader("12345678"))
		if err != nil {
			t.Fatal(err)
		}
		req.Host, req.Header = "Shop.Example:80", http.Header{"User-Agent": {"test/1"}, "X-Request-Id": {"id-1"}, "Authorization": {"Bearer hidden"}}
		if resp, err := client.Do(req); err == nil {
			resp.Body.Close()
		}
	}
	get(http.MethodPost, "/users/7?token=hidden")
	srv.log.await(t, "request", map[string]any{
		"level": "INFO", "app": "shop", "node": "n1", "request_id": "id-1", "method": "POST", "host": "shop.example",
		"path": "/users/7", "protocol": "HTTP/1.1", "status": 200.0, "bytes": 5.0, "client": "127.0.0.1", "route": "/users/{id}",
		"release": 3.0, "target": "function", "function": "api", "guest_cpu_ms": 1.5, "user_agent": "test/1",
	})
	get(http.MethodPost, "/bad")
	srv.log.await(t, "request", map[string]any{"level": "WARN", "status": 502.0, "error": "upstream is down", "path": "/bad"})
	get(http.MethodGet, "/%5c")
	srv.log.await(t, "request", map[string]any{"level": "INFO", "status": 400.0, "error": "server: path refused"})
	get(http.MethodGet, "/panic")
	srv.log.await(t, "request", map[string]any{"level": "WARN", "status": 500.0, "path": "/panic", "error": "server: handler panicked: oh no"})
	rec := srv.log.await(t, "handler panicked", map[string]any{"level": "ERROR", "request_id": "id-1", "error": "oh no"})
	if stack, _ := rec["stack"].(string); !strings.Contains(stack, "server.routed") {
		t.Errorf("stack %q does not name the function", stack)
	}
	get(http.MethodGet, "/abort")
	srv.log.await(t, "request", map[string]any{"status": 500.0, "path": "/abort"})
	if strings.Contains(srv.log.String(), "hidden") {
		t.Error("a secret is in the log")
	}
}

func TestQueryIsLoggedOnRequest(t *testing.T) {
	srv := start(t, Config{Handler: http.HandlerFunc(routed), LogQuery: true})
	resp, err := srv.client(t, "h1").Get("http://" + srv.http + "/x?a=1")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	srv.log.await(t, "request", map[string]any{"path": "/x", "query": "a=1"})
}

func TestPanics(t *testing.T) {
	srv := start(t, Config{Handler: http.HandlerFunc(routed)})
	for _, proto := range []string{"h1", "h2"} {
		client := srv.client(t, proto)
		resp, err := client.Get("https://" + srv.https + "/panic")
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != 500 || !strings.HasPrefix(string(body), "500 Internal Server Error") || strings.Contains(string(body), "oh no") {
			t.Errorf("%s: %d %q, want a fixed page", proto, resp.StatusCode, body)
		}
		if hsts, tag := resp.Header.Get("Strict-Transport-Security"), resp.Header.Get("Etag"); hsts != "max-age=1" || tag != "" {
			t.Errorf("%s: the page has HSTS %q and the tag %q, want what was promised of the host, nothing of the answer", proto, hsts, tag)
		}
		// After the head is out, only the end of the connection tells.
		resp, err = client.Get("https://" + srv.https + "/late")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(resp.Body); err == nil {
			t.Errorf("%s: an answer that was cut looks complete", proto)
		}
		resp.Body.Close()
		if _, err := client.Get("https://" + srv.https + "/abort"); err == nil {
			t.Errorf("%s: an aborted request was answered", proto)
		}
	}
}

func TestSpans(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	defer provider.Shutdown(context.Background())
	srv := start(t, Config{Handler: http.HandlerFunc(routed), Tracer: provider})
	for _, tt := range []struct {
		method, path, traceparent string
		name                      string
		code                      codes.Code
		attrs                     []attribute.KeyValue
	}{
		{"POST", "/users/7?x=1", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "POST /users/{id}", codes.Unset, []attribute.KeyValue{
			attribute.String("http.request.method", "POST"), attribute.String("url.path", "/users/7"), attribute.String("url.scheme", "https"),
			attribute.String("server.address", "127.0.0.1"), attribute.String("http.route", "/users/{id}"), attribute.Int("http.response.status_code", 200),
			attribute.String("network.protocol.version", "2"), attribute.String("client.address", "127.0.0.1"), attribute.String("user_agent.original", "test/1"),
			attribute.String("orla.app", "shop"), attribute.Int("orla.release", 3), attribute.String("orla.target", "function"),
			attribute.Float64("orla.guest_cpu_ms", 1.5),
		}},
		{"GET", "/nobody", "", "GET", codes.Unset, []attribute.KeyValue{attribute.Int("http.response.status_code", 200)}},
		{"BREW", "/nobody", "", "HTTP", codes.Unset, []attribute.KeyValue{
			attribute.String("http.request.method", "_OTHER"), attribute.String("http.request.method_original", "BREW"),
		}},
		{"GET", "/bad", "", "GET /bad", codes.Error, []attribute.KeyValue{attribute.String("error.type", "502")}},
		{"GET", "/panic", "", "GET /panic", codes.Error, []attribute.KeyValue{attribute.String("error.type", "500")}},
		{"GET", "/%5c", "", "GET", codes.Unset, []attribute.KeyValue{attribute.Int("http.response.status_code", 400)}},
	} {
		before := len(spans.Ended())
		req, err := http.NewRequestWithContext(t.Context(), tt.method, "https://"+srv.https+tt.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("User-Agent", "test/1")
		if tt.traceparent != "" {
			req.Header.Set("Traceparent", tt.traceparent)
		}
		resp, err := srv.client(t, "h2").Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		await(t, func() bool { return len(spans.Ended()) > before })
		span := spans.Ended()[before]
		if span.Name() != tt.name || span.SpanKind() != trace.SpanKindServer || span.Status().Code != tt.code {
			t.Errorf("%s %s: span %q, %v, %v, want %q, %v", tt.method, tt.path, span.Name(), span.SpanKind(), span.Status().Code, tt.name, tt.code)
		}
		got := attribute.NewSet(span.Attributes()...)
		for _, want := range tt.attrs {
			if v, ok := got.Value(want.Key); !ok || v != want.Value {
				t.Errorf("%s %s: attribute %s = %v, want %v", tt.method, tt.path, want.Key, v.String(), want.Value.String())
			}
		}
		if tt.traceparent != "" && (span.Parent().SpanID().String() != "b7ad6b7169203331" || !span.Parent().IsRemote()) {
			t.Errorf("parent %v, want the caller's", span.Parent())
		}
	}
}

// The handler works inside of the span.
func TestSpanIsInTheContext(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	defer provider.Shutdown(context.Background())
	inside := make(chan trace.SpanContext, 1)
	srv := start(t, Config{
		Tracer: provider, Propagator: propagation.TraceContext{},
		Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { inside <- trace.SpanContextFromContext(r.Context()) }),
	})
	resp, err := srv.client(t, "h1").Get("http://" + srv.http + "/")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	await(t, func() bool { return len(spans.Ended()) == 1 })
	if got := <-inside; got.SpanID() != spans.Ended()[0].SpanContext().SpanID() {
		t.Errorf("the handler saw span %v", got)
	}
}

func TestMetrics(t *testing.T) {
	reader := sdkmetric.NewManualReader()
	provider := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))
	defer provider.Shutdown(context.Background())
	inside, release := make(chan struct{}), make(chan struct{})
	srv := start(t, Config{Meter: provider, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/wait" {
			close(inside)
			<-release
		}
		routed(w, r)
	})})
	client := srv.client(t, "h1")
	for range 3 {
		resp, err := client.Post("http://"+srv.http+"/users/7", "text/plain", strings.NewReader("12345678"))
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	for _, path := range []string{"/panic", "/made/up/1", "/made/up/2"} {
		resp, err := client.Get("http://" + srv.http + path)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if resp, err := client.Get("http://" + srv.http + "/wait"); err == nil {
			resp.Body.Close()
		}
	}()
	<-inside
	got := collect(t, reader)
	close(release)
	<-done

	labels := attribute.NewSet(attribute.String("http.request.method", "POST"), attribute.String("url.scheme", "http"),
		attribute.String("network.protocol.version", "1.1"), attribute.Int("http.response.status_code", 200),
		attribute.String("http.route", "/users/{id}"), attribute.String("orla.app", "shop"))
	duration := histogram(t, got, telemetry.HTTPServerRequestDuration)
	if len(duration) != 3 { // the route, the panic, and all that is made up
		t.Errorf("%d series of durations, want 3", len(duration))
	}
	if p := duration[labels.Equivalent()]; p.Count != 3 || len(p.Bounds) != 14 {
		t.Errorf("durations: %d in %d bounds, want 3 in 14", p.Count, len(p.Bounds))
	}
	if p := histogram(t, got, telemetry.HTTPServerRequestBodySize)[labels.Equivalent()]; p.Sum != 24 {
		t.Errorf("request bodies: %v bytes, want 24", p.Sum)
	}
	if p := histogram(t, got, telemetry.HTTPServerResponseBodySize)[labels.Equivalent()]; p.Sum != 15 {
		t.Errorf("response bodies: %v bytes, want 15", p.Sum)
	}
	active := got[telemetry.HTTPServerActiveRequests].(metricdata.Sum[int64])
	if active.IsMonotonic || sum(active) != 1 {
		t.Errorf("%d active requests, want 1", sum(active))
	}
	if n := sum(got[telemetry.ServerConnections].(metricdata.Sum[int64])); n < 1 {
		t.Errorf("%d connections, want at least 1", n)
	}
	if n := sum(got[telemetry.ServerPanics].(metricdata.Sum[int64])); n != 1 {
		t.Errorf("%d panics, want 1", n)
	}
}

func collect(t *testing.T, reader *sdkmetric.ManualReader) map[string]metricdata.Aggregation {
	t.Helper()
	var rm metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &rm); err != nil {
		t.Fatal(err)
	}
	out := map[string]metricdata.Aggregation{}
	for _, scope := range rm.ScopeMetrics {
		for _, m := range scope.Metrics {
			out[m.Name] = m.Data
		}
	}
	return out
}

func histogram(t *testing.T, all map[string]metricdata.Aggregation, name string) map[attribute.Distinct]metricdata.HistogramDataPoint[float64] {
	t.Helper()
	h, ok := all[name].(metricdata.Histogram[float64])
	if !ok {
		t.Fatalf("%s is %T", name, all[name])
	}
	out := map[attribute.Distinct]metricdata.HistogramDataPoint[float64]{}
	for _, p := range h.DataPoints {
		out[p.Attributes.Equivalent()] = p
	}
	return out
}

func sum(s metricdata.Sum[int64]) (n int64) {
	for _, p := range s.DataPoints {
		n += p.Value
	}
	return n
}
