package proxy

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

// answerWith reads a request's head and answers with s.
func answerWith(s string) func(net.Conn) {
	return func(c net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			_, _ = io.WriteString(c, s)
		}
	}
}

func TestUpstreamFailures(t *testing.T) {
	for _, tt := range []struct {
		name   string
		to     string
		status int
		err    string // in the record
	}{
		{"refuses connections", "http://" + deadAddress(t), 502, "connect to upstream"},
		{"closes without an answer", rawUpstream(t, answerWith("")), 502, "EOF"},
		{"speaks something else", rawUpstream(t, answerWith("SSH-2.0-x\r\n\r\n")), 502, "malformed"},
		{"answers with status 000", rawUpstream(t, answerWith("HTTP/1.1 000 x\r\n\r\n")), 502, "status 0"},
		{"switches protocols unasked", rawUpstream(t, answerWith("HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")), 502, `switched to protocol "x"`},
		{"has an endless head", rawUpstream(t, answerWith("HTTP/1.1 200 OK\r\nX: "+strings.Repeat("x", 128<<10)+"\r\n\r\n")), 502, "headers exceeded"},
		{"does not answer", rawUpstream(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }), 504, "did not answer in time"},
		{"has an unknown certificate", untrusted(t), 502, "certificate"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := Config{}
			if tt.status == 504 {
				c.Timeout = 50 * time.Millisecond
			}
			n := nodeWith(t, c, tt.to)
			res := n.get(t, "GET", "/")
			body, err := io.ReadAll(res.Body)
			if err != nil {
				t.Fatal(err)
			}
			record := n.record(t)
			if res.StatusCode != tt.status || record.Err == nil || !strings.Contains(record.Err.Error(), tt.err) {
				t.Errorf("status %d, cause %v; want %d, %q", res.StatusCode, record.Err, tt.status, tt.err)
			}
			if !strings.Contains(string(body), "request id: id-1") || strings.Contains(string(body), "127.0.0.1") {
				t.Errorf("body = %q, want a fixed phrase with the request id", body)
			}
			if record.Target != "proxy" || record.Upstream == "" {
				t.Errorf("record has target %q, upstream %q", record.Target, record.Upstream)
			}
		})
	}
}

func untrusted(t *testing.T) string {
	t.Helper()
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.URL
}

func TestClientFaultsAreNotTheUpstreams(t *testing.T) {
	for _, tt := range []struct {
		name, body string
		handler    func(*node) http.Handler
		status     string
		err        string
	}{
		{name: "malformed chunk", body: "zz\r\nhello\r\n", status: "400", err: "read request body"},
		{name: "malformed after a good chunk", body: "5\r\nhello\r\nzz\r\n", status: "400", err: "read request body"},
		{name: "a request hidden behind a malformed chunk", body: "zz\r\nGET /hidden HTTP/1.1\r\nHost: h\r\n\r\n", status: "400", err: "read request body"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var seen atomic.Int32
			base := upstreamAt(t, func(_ http.ResponseWriter, r *http.Request) {
				seen.Add(1)
				_, _ = io.Copy(io.Discard, r.Body)
			})
			n := nodeWith(t, Config{}, base)
			c := n.dial(t)
			if _, err := io.WriteString(c, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"+tt.body); err != nil {
				t.Fatal(err)
			}
			all, _ := io.ReadAll(c) // the node closes the connection
			if !strings.HasPrefix(string(all), "HTTP/1.1 "+tt.status+" ") {
				t.Errorf("answer = %q, want status %s", all, tt.status)
			}
			if strings.Count(string(all), "HTTP/1.1 ") != 1 {
				t.Errorf("more than one answer: %q", all)
			}
			if err := n.record(t).Err; err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("cause = %v, want %q", err, tt.err)
			}
			if seen.Load() > 1 {
				t.Errorf("the upstream saw %d requests", seen.Load())
			}
		})
	}
}

func TestTooLargeBodyIs413(t *testing.T) {
	base := upstreamAt(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	n := nodeWith(t, Config{}, base)
	inner := n.Config.Handler
	n.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, 10)
		inner.ServeHTTP(w, r)
	})
	c := n.dial(t)
	if _, err := io.WriteString(c, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 20\r\n\r\n01234567890123456789"); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("status = %d, want 413", res.StatusCode)
	}
}

func TestClientGoneCancelsUpstream(t *testing.T) {
	arrived, cancelled := make(chan struct{}), make(chan struct{})
	base := upstreamAt(t, func(_ http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
		close(cancelled)
	})
	n := nodeWith(t, Config{}, base)
	c := n.dial(t)
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	<-arrived
	c.Close()
	<-cancelled
	if err := n.record(t).Err; !errors.Is(err, errClientGone) {
		t.Errorf("cause = %v, want %v", err, errClientGone)
	}
}

func TestUpstreamDeathTruncates(t *testing.T) {
	for name, head := range map[string]string{
		"chunked":        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
		"content length": "Content-Length: 100\r\n\r\nhello",
	} {
		t.Run(name, func(t *testing.T) {
			n := nodeWith(t, Config{}, rawUpstream(t, answerWith("HTTP/1.1 200 OK\r\n"+head)))
			res := n.get(t, "GET", "/")
			body, err := io.ReadAll(res.Body)
			if string(body) != "hello" || err == nil {
				t.Errorf("client read %q and error %v; want the beginning and an error", body, err)
			}
			if err := n.record(t).Err; err == nil || !strings.Contains(err.Error(), "broke off") {
				t.Errorf("cause = %v", err)
			}
		})
	}
}

func TestConnectFailureIsRetriedElsewhere(t *testing.T) {
	var served atomic.Int32
	good := upstreamAt(t, func(w http.ResponseWriter, r *http.Request) {
		served.Add(1)
		_, _ = io.Copy(w, r.Body)
	})
	n := nodeWith(t, Config{}, "http://"+deadAddress(t), good, "http://"+deadAddress(t))
	for range 20 {
		req, err := http.NewRequestWithContext(t.Context(), "POST", n.URL, strings.NewReader("hello"))
		if err != nil {
			t.Fatal(err)
		}
		res, err := n.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != 200 || string(body) != "hello" {
			t.Fatalf("status %d, body %q, %v", res.StatusCode, body, err)
		}
		if record := n.record(t); "http://"+record.Upstream != good || record.Err != nil {
			t.Errorf("record has upstream %q, cause %v", record.Upstream, record.Err)
		}
	}
	if served.Load() != 20 {
		t.Errorf("the upstream served %d requests, want 20", served.Load())
	}
}

func TestSentRequestIsNotRetried(t *testing.T) {
	var seen atomic.Int32
	die := func(c net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			seen.Add(1)
		}
	}
	n := nodeWith(t, Config{}, rawUpstream(t, die), rawUpstream(t, die))
	for i, method := range []string{"GET", "POST"} {
		if res := n.get(t, method, "/"); res.StatusCode != 502 {
			t.Errorf("%s: status = %d, want 502", method, res.StatusCode)
		}
		if got := seen.Load(); got != int32(i+1) {
			t.Errorf("%s: upstreams saw %d requests so far, want %d", method, got, i+1)
		}
	}
}

func TestStaleConnectionIsReplaced(t *testing.T) {
	// Each connection serves one request, says that it stays open, and closes.
	closed := make(chan struct{}, 10)
	base := rawUpstream(t, func(c net.Conn) {
		answerWith("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")(c)
		c.Close()
		closed <- struct{}{}
	})
	n := nodeWith(t, Config{}, base)
	for range 5 {
		res := n.get(t, "GET", "/")
		if body, err := io.ReadAll(res.Body); err != nil || string(body) != "ok" {
			t.Fatalf("body %q, %v", body, err)
		}
		<-closed
	}
}

func TestRetriesHaveABudget(t *testing.T) {
	var b budget
	b.init()
	n := 0
	for b.withdraw() {
		n++
	}
	if n != 10 {
		t.Errorf("%d retries at once, want 10", n)
	}
	for range 100 {
		b.deposit()
	}
	n = 0
	for b.withdraw() {
		n++
	}
	if n != 10 {
		t.Errorf("%d retries after 100 requests, want 10: the budget is bounded", n)
	}
	for range 10 {
		b.deposit()
	}
	n = 0
	for b.withdraw() {
		n++
	}
	if n != 2 {
		t.Errorf("ten requests pay for %d retries, want 2", n)
	}
}

func TestEjection(t *testing.T) {
	u := &upstream{host: "h", log: slog.New(slog.DiscardHandler)}
	now := time.Unix(1000, 0)
	for i, want := range []time.Duration{1, 2, 4, 8, 16, 30, 30} {
		u.connectFailed(now, i > 0, io.EOF)
		u.connectFailed(now, false, io.EOF) // at the same time: does not count
		if got := time.Duration(u.ejected.Load() - now.UnixNano()); got != want*time.Second {
			t.Errorf("failure %d ejects for %v, want %v", i+1, got, want*time.Second)
		}
		now = now.Add(want * time.Second)
		if u.probe(now.Add(-time.Nanosecond)) {
			t.Errorf("failure %d: tried too early", i+1)
		}
		if !u.probe(now) || u.probe(now) {
			t.Errorf("failure %d: not tried once when the time was up", i+1)
		}
	}
	u.answered()
	if u.available(now) != 1 || u.failures != 0 {
		t.Error("an answer does not bring the upstream back")
	}
}

func TestAllEjectedAreTriedAnyway(t *testing.T) {
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	n := nodeWith(t, Config{}, "http://"+address)
	if res := n.get(t, "GET", "/"); res.StatusCode != 502 {
		t.Fatalf("status = %d, want 502", res.StatusCode)
	}
	if n.proxy.targets[0].available(time.Now()) != 0 {
		t.Fatal("the upstream was not ejected")
	}
	// It comes back long before its ejection ends.
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	s.Listener.Close()
	if s.Listener, err = (&net.ListenConfig{}).Listen(t.Context(), "tcp", address); err != nil {
		t.Skipf("somebody took the port: %v", err)
	}
	s.Start()
	defer s.Close()
	if res := n.get(t, "GET", "/"); res.StatusCode != 200 {
		t.Errorf("status = %d, want 200", res.StatusCode)
	}
	if n.proxy.targets[0].available(time.Now()) != 1 {
		t.Error("the upstream is still ejected")
	}
}

func TestLessBusyUpstreamIsPicked(t *testing.T) {
	p, err := New(Config{Proxy: &orlav1.Proxy{To: []string{"http://a", "http://b"}}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	p.targets[0].active.Store(5)
	for range 100 {
		if i, _ := p.pick(0); i != 1 {
			t.Fatalf("picked %d with 5 requests in flight, the other has none", i)
		}
	}
	p.targets[0].active.Store(0)
	var counts [2]int
	for range 1000 {
		i, _ := p.pick(0)
		counts[i]++
	}
	if counts[0] < 300 || counts[1] < 300 {
		t.Errorf("idle upstreams are picked %v times", counts)
	}
}

func TestHealthNeedsTwoInARow(t *testing.T) {
	var h health
	for i, tt := range []struct{ good, changed, down bool }{
		{true, false, false},
		{false, false, false},
		{true, false, false}, // interrupted
		{false, false, false},
		{false, true, true},
		{false, false, true},
		{true, false, true},
		{true, true, false},
	} {
		if changed := h.note(tt.good); changed != tt.changed || h.down != tt.down {
			t.Errorf("check %d, good %v: changed %v, down %v; want %v, %v", i, tt.good, changed, h.down, tt.changed, tt.down)
		}
	}
}

// changes hears of health changes by way of the log.
type changes struct {
	slog.Handler
	heard chan string
}

func (c changes) Enabled(context.Context, slog.Level) bool { return true }

func (c changes) Handle(_ context.Context, r slog.Record) error {
	c.heard <- r.Message
	return nil
}

func TestActiveHealth(t *testing.T) {
	var sick atomic.Bool
	sick.Store(true)
	var asked atomic.Pointer[http.Request]
	base := upstreamAt(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/app/healthz" {
			return
		}
		asked.Store(r)
		if sick.Load() {
			w.WriteHeader(500)
		}
	})
	log := changes{slog.DiscardHandler, make(chan string, 10)}
	n := nodeWith(t, Config{Proxy: &orlav1.Proxy{Health: "/healthz?full=1"}, HealthInterval: time.Second, Logger: slog.New(log)}, base+"/app")
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := n.proxy.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	defer wg.Wait()
	defer cancel()
	if got := <-log.heard; got != "upstream fails its health checks" {
		t.Fatalf("heard %q", got)
	}
	res := n.get(t, "GET", "/app/")
	if res.StatusCode != 503 || res.Header.Get("Retry-After") != "1" {
		t.Errorf("status %d, Retry-After %q; want 503, 1", res.StatusCode, res.Header.Get("Retry-After"))
	}
	sick.Store(false)
	if got := <-log.heard; got != "upstream is healthy" {
		t.Fatalf("heard %q", got)
	}
	if res := n.get(t, "GET", "/app/"); res.StatusCode != 200 {
		t.Errorf("status = %d, want 200", res.StatusCode)
	}
	if r := asked.Load(); r.RequestURI != "/app/healthz?full=1" || r.UserAgent() != "orla-health-check" {
		t.Errorf("check asked for %s as %s", r.RequestURI, r.UserAgent())
	}
}

func TestRunWithoutHealthReturns(t *testing.T) {
	n := nodeWith(t, Config{}, "http://127.0.0.1:1")
	if err := n.proxy.Run(t.Context()); err != nil {
		t.Error(err)
	}
}
