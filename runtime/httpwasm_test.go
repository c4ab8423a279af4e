package runtime_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/orla-edge/orla/internal/guests"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/runtime"
	"github.com/orla-edge/orla/runtime/httpwasm"
	"github.com/orla-edge/orla/telemetry"
)

// TestMiddlewareIsTheTarget: what has answered is in the record.
func TestMiddlewareIsTheTarget(t *testing.T) {
	b := newBench(t, runtime.Config{})
	p := b.load(t, handlerGuest(t), &orlav1.Function{})
	site := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		telemetry.RequestFrom(r.Context()).Target = "site"
		w.WriteHeader(http.StatusNoContent)
	})
	url, last := serve(t, p.Middleware(site, "/*", ""))
	for _, tt := range []struct {
		path             string
		status           int
		target, function string
	}{
		{"/hello", 200, "function", "fn"},
		{"/fault/unreachable", 502, "function", "fn"},
		{"/next/plain", 204, "site", ""},
	} {
		got, rec := get(t, url+tt.path), last()
		if got.StatusCode != tt.status || rec.Target != tt.target || rec.Function != tt.function {
			t.Errorf("GET %s = %d by %q %q, want %d by %q %q", tt.path, got.StatusCode, rec.Target, rec.Function, tt.status, tt.target, tt.function)
		}
	}
}

func TestHTTPWasm(t *testing.T) {
	b := newBench(t, runtime.Config{})
	p := b.load(t, handlerGuest(t), &orlav1.Function{Env: map[string]string{"A": "1"}, Timeout: durationpb.New(300 * time.Millisecond)})
	if p.ABI() != orlav1.Abi_ABI_HTTP_WASM {
		t.Fatalf("ABI() = %v, want HTTP_WASM", p.ABI())
	}
	url, last := serve(t, p.Handler("/*", ""))
	for _, c := range []struct {
		path   string
		status int
		body   string
	}{
		{"/hello", 200, "hello"},
		{"/config", 200, `{"A":"1"}`},
		{"/nothing", 200, ""},
		{"/next/plain", 404, "404 page not found\n"},
	} {
		if got := get(t, url+c.path); got.StatusCode != c.status || got.body != c.body {
			t.Errorf("%s: answer %d %q, want %d %q", c.path, got.StatusCode, got.body, c.status, c.body)
		}
		if rec := last(); rec.Err != nil || rec.Function != "fn" {
			t.Errorf("%s: record %+v", c.path, rec)
		}
	}
	for path, status := range map[string]int{"/fault/pointer": 502, "/fault/unreachable": 502, "/loop": 504} {
		got, rec := get(t, url+path), last()
		if got.StatusCode != status || rec.Err == nil || !strings.Contains(got.body, "request r1") {
			t.Errorf("%s: answer %d %q, cause %v, want %d", path, got.StatusCode, got.body, rec.Err, status)
		}
		if path == "/fault/pointer" && !errors.Is(rec.Err, httpwasm.ErrGuest) {
			t.Errorf("%s: cause %v, want ErrGuest", path, rec.Err)
		}
	}
	if got := get(t, url+"/fault/late-trap"); got.err == nil {
		t.Errorf("/fault/late-trap: the whole answer %q, want to see that it is cut short", got.body)
	}
}

func TestStockGoHandler(t *testing.T) {
	b := newBench(t, runtime.Config{})
	h := b.load(t, guests.Go(t, "examples/go-handler"), &orlav1.Function{}).Handler("/*", "")
	srv := httptest.NewServer(h)
	defer srv.Close()
	defer http.DefaultClient.CloseIdleConnections()
	if got := get(t, srv.URL+"/hello/go"); got.body != "hello, go\n" || got.Header.Get("Content-Length") != "10" {
		t.Errorf("answer %q with %v", got.body, got.Header)
	}
	upper(t, srv)
}

// upper sends a body piece by piece and reads each piece's answer before the next.
func upper(t *testing.T, srv *httptest.Server) {
	t.Helper()
	r, w := io.Pipe()
	req, _ := http.NewRequestWithContext(t.Context(), "POST", srv.URL+"/upper", r)
	go io.WriteString(w, "one")
	resp, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	buf := make([]byte, 3)
	for _, piece := range []string{"two", "six", ""} {
		if _, err := io.ReadFull(resp.Body, buf); err != nil || string(buf) != strings.ToUpper(string(buf)) {
			t.Fatalf("got %q, %v", buf, err)
		}
		if piece == "" {
			w.Close()
		} else if _, err := io.WriteString(w, piece); err != nil {
			t.Fatal(err)
		}
	}
	if rest, err := io.ReadAll(resp.Body); len(rest) > 0 || err != nil {
		t.Errorf("at the end: %q, %v", rest, err)
	}
}
