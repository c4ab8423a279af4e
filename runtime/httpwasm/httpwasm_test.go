package httpwasm_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
	"go.uber.org/goleak"

	"github.com/orla-edge/orla/internal/guests"
	"github.com/orla-edge/orla/runtime/host"
	"github.com/orla-edge/orla/runtime/httpwasm"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// guest serves with a fresh instance of handler.c for each request. wazero is not told
// to watch the context, so that what ends a guest is the host calls alone.
type guest struct {
	rt   wazero.Runtime
	mod  wazero.CompiledModule
	next http.Handler
	log  bytes.Buffer
	conf string
	err  error // of the last request
}

func newGuest(t *testing.T) *guest {
	t.Helper()
	ctx := t.Context()
	g := &guest{rt: wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfig())}
	t.Cleanup(func() { g.rt.Close(context.WithoutCancel(ctx)) })
	wasi_snapshot_preview1.MustInstantiate(ctx, g.rt)
	if err := httpwasm.Instantiate(ctx, g.rt); err != nil {
		t.Fatal(err)
	}
	var err error
	wasm := guests.C(t, "internal/guests/c/handler.c", "-mexec-model=reactor")
	if g.mod, err = g.rt.CompileModule(ctx, wasm); err != nil {
		t.Fatal(err)
	}
	return g
}

func (g *guest) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	mod, err := g.rt.InstantiateModule(ctx, g.mod, wazero.NewModuleConfig().WithName("").WithStartFunctions("_initialize"))
	if err != nil {
		g.err = err
		return
	}
	defer mod.Close(ctx)
	x := host.NewExchange(w, r)
	defer x.Close()
	logger := slog.New(slog.NewTextHandler(&g.log, &slog.HandlerOptions{Level: slog.LevelInfo}))
	c := &httpwasm.Call{Exchange: x, Log: host.NewLog(ctx, logger), Config: g.conf, Next: g.next}
	if g.err = c.Serve(ctx, exports{mod}); g.err != nil && !x.Started() {
		w.WriteHeader(http.StatusBadGateway)
	}
}

// exports calls what a module exports.
type exports struct{ api.Module }

func (e exports) HandleRequest(ctx context.Context) (uint64, error) {
	res, err := e.ExportedFunction(httpwasm.HandleRequest).Call(ctx)
	if err != nil {
		return 0, err
	}
	return res[0], nil
}

func (e exports) HandleResponse(ctx context.Context, requestContext, isError uint32) error {
	_, err := e.ExportedFunction(httpwasm.HandleResponse).Call(ctx, uint64(requestContext), uint64(isError))
	return err
}

func (g *guest) do(req *http.Request) *http.Response {
	w := httptest.NewRecorder()
	g.ServeHTTP(w, req)
	return w.Result()
}

func (g *guest) get(path string) (*http.Response, string) {
	resp := g.do(httptest.NewRequest("GET", path, nil))
	b, _ := io.ReadAll(resp.Body)
	return resp, string(b)
}

func TestRequestAsTheGuestSeesIt(t *testing.T) {
	g := newGuest(t)
	for _, c := range []struct{ path, want string }{
		{"/hello", "hello"},
		{"/meta", "GET /meta HTTP/1.1 192.0.2.1:1234"},
		{"/names", "3:host|x-a|x-multi|"},
		{"/values", "2:one|two, three|"},
		{"/limit", "....2/15/3"}, // nothing written, but the count, the length, and get_method's length
		{"/config", "configured"},
		{"/env-free-response-body", "1"},
		{"/log", "01110"},
	} {
		req := httptest.NewRequest("GET", c.path, nil)
		req.Header = http.Header{
			"X-Multi": {"one", "two, three"}, "X-A": {""},
			"Connection": {"keep-alive"}, "Orla-Debug": {"1"}, "Proxy": {"x"},
		}
		g.conf = "configured"
		resp := g.do(req)
		if b, _ := io.ReadAll(resp.Body); string(b) != c.want || g.err != nil {
			t.Errorf("%s: %q, %v, want %q", c.path, b, g.err, c.want)
		}
	}
	for _, want := range []string{"level=INFO msg=info stream=log", "level=WARN msg=warn", "level=ERROR msg=error"} {
		if !strings.Contains(g.log.String(), want) {
			t.Errorf("the log lacks %q:\n%s", want, &g.log)
		}
	}
	if strings.Contains(g.log.String(), "none") {
		t.Error("level none was logged")
	}
}

func TestResponse(t *testing.T) {
	g := newGuest(t)
	resp, body := g.get("/status")
	if resp.StatusCode != 418 || body != "4:connection|x-a|x-b|x-request-id|" {
		t.Errorf("answer %d %q, %v", resp.StatusCode, body, g.err)
	}
	for name, want := range map[string]string{"X-A": "1,2", "X-B": "2", "X-C": "", "Connection": "", "X-Request-Id": ""} {
		if got := strings.Join(resp.Header.Values(name), ","); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	resp = g.do(httptest.NewRequest("HEAD", "/hello", nil))
	if b, _ := io.ReadAll(resp.Body); len(b) > 0 || resp.Header.Get("Content-Type") != "text/plain" || g.err != nil {
		t.Errorf("HEAD: %q %v %v", b, resp.Header, g.err)
	}
}

func TestBodyAndTrailers(t *testing.T) {
	g := newGuest(t)
	big := strings.Repeat("0123456789", 100_000)
	if b, _ := io.ReadAll(g.do(httptest.NewRequest("POST", "/echo", strings.NewReader(big))).Body); string(b) != big {
		t.Errorf("1 MB comes back as %d bytes, %v", len(b), g.err)
	}
	srv := httptest.NewServer(g)
	defer srv.Close()
	req, _ := http.NewRequestWithContext(t.Context(), "POST", srv.URL+"/trailers", io.NopCloser(strings.NewReader("body ")))
	req.Trailer = http.Header{"X-Checksum": {"7"}}
	resp, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	if string(b) != "7body 1:x-checksum|" || resp.Trailer.Get("X-Sum") != "42" {
		t.Errorf("answer %q with trailers %v, %v", b, resp.Trailer, g.err)
	}
}

func TestFaultsEndTheGuest(t *testing.T) {
	g := newGuest(t)
	for _, path := range []string{
		"pointer", "write", "read-nothing", "status", "early-hints", "header-name", "header-value", "header-kind",
		"body-kind", "method", "uri", "trailer", "headers", "late-status",
	} {
		resp, _ := g.get("/fault/" + path)
		if !errors.Is(g.err, httpwasm.ErrGuest) {
			t.Errorf("%s: %v, want ErrGuest", path, g.err)
		}
		if late := strings.HasPrefix(path, "late"); !late && resp.StatusCode != http.StatusBadGateway {
			t.Errorf("%s: status %d", path, resp.StatusCode)
		}
	}
	if g.get("/fault/unreachable"); g.err == nil || errors.Is(g.err, httpwasm.ErrGuest) {
		t.Errorf("unreachable: %v, want the trap", g.err)
	}
	if g.get("/next/begun"); !errors.Is(g.err, httpwasm.ErrGuest) {
		t.Errorf("a request handed on after the answer had begun: %v, want ErrGuest", g.err)
	}
}

func TestStoppedExchangeEndsTheGuest(t *testing.T) {
	g := newGuest(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	w := &stopAfter{ResponseWriter: httptest.NewRecorder(), n: 10, stop: func() { cancel(why) }}
	g.ServeHTTP(w, httptest.NewRequest("GET", "/flood", nil).WithContext(ctx))
	if !errors.Is(g.err, why) {
		t.Errorf("the guest ended with %v, want %v", g.err, why)
	}
}

// TestInstanceKeepsState is the control of the runtime's isolation: the counter that is
// always 1 there goes on counting in an instance that is used again.
func TestInstanceKeepsState(t *testing.T) {
	g := newGuest(t)
	mod, err := g.rt.InstantiateModule(t.Context(), g.mod, wazero.NewModuleConfig().WithName("").WithStartFunctions("_initialize"))
	if err != nil {
		t.Fatal(err)
	}
	defer mod.Close(t.Context())
	for _, want := range []string{"1", "2", "3"} {
		w := httptest.NewRecorder()
		x := host.NewExchange(w, httptest.NewRequest("GET", "/count", nil))
		c := &httpwasm.Call{Exchange: x, Log: host.NewLog(t.Context(), slog.New(slog.DiscardHandler))}
		if err := c.Serve(t.Context(), exports{mod}); err != nil {
			t.Fatal(err)
		}
		x.Close()
		if got := w.Body.String(); got != want {
			t.Errorf("the counter is at %s, want %s", got, want)
		}
	}
}

// stopAfter calls stop after n writes.
type stopAfter struct {
	http.ResponseWriter
	n    int
	stop func()
}

func (w *stopAfter) Write(p []byte) (int, error) {
	if w.n--; w.n == 0 {
		w.stop()
	}
	return len(p), nil
}

func TestNext(t *testing.T) {
	g := newGuest(t)
	var seen *http.Request
	var body string
	g.next = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		seen, body = r, string(b)
		if r.URL.Path == "/next/panic" {
			panic("next")
		}
		w.Header().Set("X-Next", "1")
		w.Header().Set("Content-Length", "4")
		w.Header().Set(http.TrailerPrefix+"X-After", "2")
		w.WriteHeader(200)
		io.WriteString(w, "next")
	})
	do := func(path string) (*http.Response, string) {
		req := httptest.NewRequest("POST", path, strings.NewReader("original"))
		req.Header.Set("X-Multi", "1")
		resp := g.do(req)
		b, _ := io.ReadAll(resp.Body)
		return resp, string(b)
	}
	if resp, b := do("/next/plain"); b != "next" || resp.Header.Get("X-Next") != "1" || body != "original" || g.err != nil {
		t.Errorf("plain: %q %v, request body %q, %v", b, resp.Header, body, g.err)
	}
	if do("/next/change"); seen.Method != "PUT" || seen.URL.String() != "/changed?x=1" || seen.Header.Get("X-Added") != "yes" ||
		seen.Header.Get("X-Multi") != "" || seen.Host != "inner.example" || body != "new body" || seen.ContentLength != 8 {
		t.Errorf("change: the next handler sees %s %s %v %q, body %q, %v", seen.Method, seen.URL, seen.Header, seen.Host, body, g.err)
	}
	if do("/next/peek"); body != "original" {
		t.Errorf("peek: the next handler reads %q, %v", body, g.err)
	}
	if do("/next/consume"); body != "inal" {
		t.Errorf("consume: the next handler reads %q, %v", body, g.err)
	}
	if resp, b := do("/next/buffer"); resp.StatusCode != 201 || b != "NEXT!" || resp.Trailer.Get("X-After") != "2" || resp.Trailer.Get("X-Guest") != "1" {
		t.Errorf("buffer: %d %q, trailers %v, %v", resp.StatusCode, b, resp.Trailer, g.err)
	}
	if _, b := do("/next/overwrite"); b != "mine" || g.err != nil {
		t.Errorf("overwrite: %q, %v", b, g.err)
	}
	if do("/next/too-late"); !errors.Is(g.err, httpwasm.ErrGuest) {
		t.Errorf("too late: %v, want ErrGuest", g.err)
	}
	if resp, _ := do("/next/panic"); g.err == nil || resp.StatusCode != http.StatusBadGateway || !strings.Contains(g.log.String(), "msg=failed") {
		t.Errorf("panic: %d, %v, log %s", resp.StatusCode, g.err, &g.log)
	}
}

func TestNextThatIsNotThere(t *testing.T) {
	g := newGuest(t)
	if resp, _ := g.get("/next/see"); resp.StatusCode != 404 || !strings.Contains(g.log.String(), "msg=404") {
		t.Errorf("answer %d, the guest logs %s", resp.StatusCode, &g.log)
	}
}

func TestBufferedResponseIsBounded(t *testing.T) {
	g := newGuest(t)
	g.next = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		piece := make([]byte, 1<<20)
		for range httpwasm.MaxBuffer>>20 + 1 {
			if _, err := w.Write(piece); err != nil {
				return
			}
		}
	})
	if resp, _ := g.get("/next/buffer"); !errors.Is(g.err, httpwasm.ErrBuffer) || resp.StatusCode != http.StatusBadGateway {
		t.Errorf("answer %d, %v, want ErrBuffer", resp.StatusCode, g.err)
	}
}
