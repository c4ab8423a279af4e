package server

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"

	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
)

func hello(w http.ResponseWriter, _ *http.Request) {
	w.Header()["Content-Type"] = []string{"text/plain"}
	_, _ = io.WriteString(w, "hello")
}

// BenchmarkRequest measures a keep-alive request over loopback, both ends: bare
// net/http and this server with nothing, the access log, and metrics too.
func BenchmarkRequest(b *testing.B) {
	discard := slog.New(slog.NewJSONHandler(&nullWriter{}, nil))
	meter := sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader()))
	b.Run("net/http", func(b *testing.B) {
		ln := benchListener(b)
		srv := &http.Server{Handler: http.HandlerFunc(hello)}
		go func() { _ = srv.Serve(ln) }()
		defer srv.Close()
		requests(b, ln.Addr().String())
	})
	for _, tt := range []struct {
		name  string
		log   *slog.Logger
		meter metric.MeterProvider
	}{{"orla", nil, nil}, {"orla+log", discard, nil}, {"orla+log+metrics", discard, meter}} {
		b.Run(tt.name, func(b *testing.B) {
			ln := benchListener(b)
			s, err := New(Config{HTTP: []net.Listener{ln}, Handler: http.HandlerFunc(hello), Logger: tt.log, Meter: tt.meter, Node: "n"})
			if err != nil {
				b.Fatal(err)
			}
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan error)
			go func() { done <- s.Run(ctx) }()
			requests(b, ln.Addr().String())
			cancel()
			<-done
		})
	}
}

func benchListener(b testing.TB) net.Listener {
	b.Helper()
	ln, err := Listen(context.Background(), "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	return ln
}

// requests sends what a browser sends; the client itself allocates nothing.
func requests(b *testing.B, addr string) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	const head = "GET /docs/guide/start?x=1 HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n" +
		"Accept: text/html,*/*;q=0.8\r\nAccept-Language: en\r\nAccept-Encoding: gzip, br\r\nCookie: a=b\r\n\r\n"
	br := bufio.NewReader(c)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := io.WriteString(c, head); err != nil {
			b.Fatal(err)
		}
		for { // to the blank line, then the 5 bytes of the body
			line, err := br.ReadSlice('\n')
			if err != nil {
				b.Fatal(err)
			}
			if len(line) == 2 {
				break
			}
		}
		if _, err := br.Discard(5); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkServeHTTP measures what this package adds to a request, without
// net/http's part.
func BenchmarkServeHTTP(b *testing.B) {
	serve := bareRequest(b)
	b.ReportAllocs()
	for b.Loop() {
		serve()
	}
}

// What a request costs in allocations is what is known to be needed: the
// exchange, the id, the context's value and the request's copy.
func TestAllocationsPerRequest(t *testing.T) {
	if n := testing.AllocsPerRun(1000, bareRequest(t)); n > 4 {
		t.Errorf("%v allocations a request, want at most 4", n)
	}
}

// bareRequest returns what serves one request without a connection.
func bareRequest(t testing.TB) func() {
	t.Helper()
	ln := benchListener(t)
	t.Cleanup(func() { ln.Close() })
	s, err := New(Config{HTTP: []net.Listener{ln}, Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})})
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{conn: &conn{srv: s}, ip: "127.0.0.1"}
	ctx := context.WithValue(context.Background(), peerKey{}, p)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://shop.example/docs/guide/start?x=1", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.URL.Scheme, r.URL.Host, r.RequestURI = "", "", "/docs/guide/start?x=1"
	r.Header.Set("Accept", "text/html")
	w := &nullWriter{h: http.Header{}}
	return func() {
		delete(r.Header, fieldRequestID)
		s.serveHTTP(w, r)
	}
}

type nullWriter struct{ h http.Header }

func (w *nullWriter) Header() http.Header         { return w.h }
func (w *nullWriter) Write(p []byte) (int, error) { return len(p), nil }
func (w *nullWriter) WriteHeader(int)             {}
