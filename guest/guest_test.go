package guest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/orla-edge/orla/guest"
	"github.com/orla-edge/orla/internal/guests"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/runtime"
)

// node serves the test guest as a node does, and collects its log.
type node struct {
	*httptest.Server
	mu      sync.Mutex // guards log
	log     bytes.Buffer
	written chan struct{} // a line was logged
}

func (n *node) Write(p []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	select {
	case n.written <- struct{}{}:
	default:
	}
	return n.log.Write(p)
}

func (n *node) logged(s string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return strings.Contains(n.log.String(), s)
}

func newNode(t *testing.T) *node {
	t.Helper()
	n, store := &node{written: make(chan struct{}, 1)}, guests.NewStore(t)
	ctx := context.WithoutCancel(t.Context())
	e, err := runtime.New(ctx, runtime.Config{
		Blobs: store, CacheDir: guests.CompileCache(t), Logger: slog.New(slog.NewTextHandler(n, &slog.HandlerOptions{Level: slog.LevelInfo})),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	p, err := e.Load(ctx, "app", &orlav1.Function{Name: "fn", Module: store.Put(t, guests.Go(t, "internal/guests/handler"))})
	if err != nil {
		t.Fatal(err)
	}
	n.Server = httptest.NewUnstartedServer(p.Handler("/*", ""))
	n.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	n.Start()
	t.Cleanup(n.Close)
	return n
}

func (n *node) do(t *testing.T, method, path string, body io.Reader, edit func(*http.Request)) (*http.Response, string, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, n.URL+path, body)
	if err != nil {
		t.Fatal(err)
	}
	if edit != nil {
		edit(req)
	}
	resp, err := n.Client().Do(req)
	if err != nil {
		return &http.Response{}, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp, string(b), err
}

func TestHandler(t *testing.T) {
	n := newNode(t)
	t.Run("request", func(t *testing.T) { testRequest(t, n) })
	t.Run("response", func(t *testing.T) { testResponse(t, n) })
	t.Run("failures", func(t *testing.T) { testFailures(t, n) })
	t.Run("trailers", func(t *testing.T) { testTrailers(t, n) })
	t.Run("log", func(t *testing.T) { testLog(t, n) })
	t.Run("context", func(t *testing.T) { testContext(t, n) })
}

func testRequest(t *testing.T, n *node) {
	_, body, err := n.do(t, "PUT", "/request?a=b%20c", strings.NewReader("hello"), func(r *http.Request) {
		r.Host = "shop.example"
		r.Header = http.Header{"X-Multi": {"1", "2"}, "User-Agent": {"test"}, "Accept-Encoding": {"identity"}}
	})
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatalf("%v in %q", err, body)
	}
	if remote, _ := got["remote"].(string); !strings.HasPrefix(remote, "127.0.0.1:") {
		t.Errorf("RemoteAddr = %q", remote)
	}
	delete(got, "remote")
	want := map[string]any{
		"method": "PUT", "url": "/request?a=b%20c", "uri": "/request?a=b%20c", "host": "shop.example", "proto": "HTTP/1.1", "major": 1.0,
		"length": 5.0, "body": "hello", "header": map[string]any{
			"X-Multi": []any{"1", "2"}, "User-Agent": []any{"test"}, "Accept-Encoding": []any{"identity"}, "Content-Length": []any{"5"},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the request (-want +got):\n%s", diff)
	}

	long := func(r *http.Request) { r.Header.Set("X-Long", strings.Repeat("x", 20_000)) }
	if _, body, err := n.do(t, "GET", "/long-header?"+strings.Repeat("y", 5000), nil, long); !strings.HasPrefix(body, "20000 ") || !strings.HasSuffix(body, " 5000") {
		t.Errorf("a long header and URI: %q, %v", body, err)
	}
	chunked := io.NopCloser(strings.NewReader("of unknown length"))
	if _, body, err := n.do(t, "POST", "/request", chunked, nil); !strings.Contains(body, `"of unknown length"`) || !strings.Contains(body, `"length":-1`) {
		t.Errorf("a chunked body: %q, %v", body, err)
	}
}

func testResponse(t *testing.T, n *node) {
	resp, body, err := n.do(t, "GET", "/status", nil, nil)
	if resp.StatusCode != http.StatusTeapot || strings.Join(resp.Header["X-A"], ",") != "1,2" || resp.Header.Get("X-B") != "" || body != "" || err != nil {
		t.Errorf("status: %d %v %q, %v", resp.StatusCode, resp.Header, body, err)
	}
	if resp, body, err := n.do(t, "GET", "/big", nil, nil); len(body) != 1_000_000 || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/plain") || err != nil {
		t.Errorf("big: %d bytes, %v, %v", len(body), resp.Header, err)
	}
	if resp, body, err := n.do(t, "HEAD", "/request", nil, nil); resp.StatusCode != 200 || body != "" || resp.ContentLength < 10 || err != nil {
		t.Errorf("HEAD: %d, length %d, %q, %v", resp.StatusCode, resp.ContentLength, body, err)
	}
	if resp, _, err := n.do(t, "GET", "/no-content", nil, nil); resp.StatusCode != http.StatusNoContent || err != nil {
		t.Errorf("no content: %d, %v", resp.StatusCode, err)
	}
	if resp, body, err := n.do(t, "GET", "/length", nil, nil); resp.ContentLength != 2 || body != "ok" || err != nil {
		t.Errorf("length: %d, %q, %v", resp.ContentLength, body, err)
	}
	if resp, _, err := n.do(t, "GET", "/nowhere", nil, nil); resp.StatusCode != http.StatusNotFound || err != nil {
		t.Errorf("the router's 404: %d, %v", resp.StatusCode, err)
	}
	if _, body, err := n.do(t, "GET", "/goroutines", nil, nil); body != "done" || err != nil {
		t.Errorf("goroutines: %q, %v", body, err)
	}
}

func testFailures(t *testing.T, n *node) {
	if resp, body, err := n.do(t, "GET", "/panic", nil, nil); resp.StatusCode != 500 || body != "Internal Server Error\n" || err != nil {
		t.Errorf("panic: %d %q, %v", resp.StatusCode, body, err)
	}
	if !strings.Contains(n.log.String(), "handler panicked: on purpose") || !strings.Contains(n.log.String(), "level=ERROR") {
		t.Errorf("the log does not tell the panic:\n%s", &n.log)
	}
	if _, body, err := n.do(t, "GET", "/late-panic", nil, nil); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("late panic: %q, %v, want an answer that is cut short", body, err)
	}
	if resp, _, _ := n.do(t, "GET", "/abort", nil, nil); resp.StatusCode != http.StatusBadGateway {
		t.Errorf("abort: %d, want the node's 502", resp.StatusCode)
	}
}

func testTrailers(t *testing.T, n *node) {
	resp, body, err := n.do(t, "POST", "/trailers", io.NopCloser(strings.NewReader("x")), func(r *http.Request) {
		r.Trailer = http.Header{"X-Sum": {"7"}}
	})
	if body != "map[X-Sum:[7]]" || resp.Trailer.Get("X-Announced") != "1" || resp.Trailer.Get("X-Late") != "2" || err != nil {
		t.Errorf("trailers: %q, %v, %v", body, resp.Trailer, err)
	}
}

func testLog(t *testing.T, n *node) {
	if _, _, err := n.do(t, "GET", "/log", nil, nil); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`level=INFO msg="info a=1 g.b=\"two words\""`, `level=WARN msg="warn a=1"`, `level=ERROR msg="error a=1 g.msg=kept"`,
		`msg="to stdout" app=app function=fn request_id="" stream=stdout`, `msg="to stderr"`,
	} {
		if !strings.Contains(n.log.String(), want) {
			t.Errorf("the log lacks %s:\n%s", want, &n.log)
		}
	}
	if strings.Contains(n.log.String(), "debug a=1") {
		t.Error("a level that the node does not log was sent")
	}
}

// testContext goes away while the handler waits for that.
func testContext(t *testing.T, n *node) {
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	req, err := http.NewRequestWithContext(ctx, "GET", n.URL+"/wait", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := n.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.ReadFull(resp.Body, make([]byte, len("begun"))); err != nil {
		t.Fatal(err)
	}
	leave()
	const want = `msg="the wait is over err=\"context canceled\""`
	limit, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for !n.logged(want) {
		select {
		case <-n.written:
		case <-limit.Done():
			t.Fatal("the handler was not told")
		}
	}
}

func TestHandleRefusesMistakes(t *testing.T) {
	mustPanic := func(what string, f func()) {
		t.Helper()
		defer func() {
			if recover() == nil {
				t.Errorf("%s does not panic", what)
			}
		}()
		f()
	}
	mustPanic("Handle(nil)", func() { guest.Handle(nil) })
	guest.Handle(http.NotFoundHandler())
	mustPanic("a second Handle", func() { guest.Handle(http.NotFoundHandler()) })
}
