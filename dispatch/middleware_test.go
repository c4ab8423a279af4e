package dispatch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/orla-edge/orla/internal/guests"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/release"
	"github.com/orla-edge/orla/router"
	"github.com/orla-edge/orla/runtime"
)

// withEngine returns a dispatcher that runs functions, and where their modules go.
func withEngine(t *testing.T) (*Dispatcher, *guests.Store) {
	t.Helper()
	store := guests.NewStore(t)
	engine, err := runtime.New(t.Context(), runtime.Config{Blobs: store, CacheDir: guests.CompileCache(t)})
	if err != nil {
		t.Fatal(err)
	}
	d := New(Config{Node: "n1", Blobs: store, Engine: engine})
	t.Cleanup(func() {
		d.Close()
		if err := engine.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return d, store
}

// front is a function that marks what passes it with its name.
func front(t *testing.T, store *guests.Store, name string) *orlav1.Function {
	t.Helper()
	module := store.Put(t, guests.C(t, "dispatch/testdata/front.c", "-mexec-model=reactor"))
	return &orlav1.Function{Name: name, Module: module, Env: map[string]string{"name": name}}
}

func program(t *testing.T, store *guests.Store, name string) *orlav1.Function {
	t.Helper()
	return &orlav1.Function{Name: name, Module: store.Put(t, guests.C(t, "internal/guests/c/cgi.c"))}
}

func TestMiddleware(t *testing.T) {
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "%s %s %q", r.Method, r.URL.RequestURI(), r.Header["X-Seen"])
	}))
	defer app.Close()
	to := func(r *orlav1.Route) *orlav1.Route {
		r.Target = &orlav1.Route_Proxy{Proxy: &orlav1.Proxy{To: []string{app.URL}}}
		return r
	}
	route := func(path string, middleware ...string) *orlav1.Route {
		return &orlav1.Route{Match: &orlav1.Match{Path: path}, Middleware: middleware}
	}
	rewrite := func(r *orlav1.Route, path string) *orlav1.Route {
		r.Rewrite = path
		return r
	}
	changed := to(route("/changed", "in"))
	changed.RequestHeaders = &orlav1.HeaderChanges{Set: []*orlav1.Field{{Name: "X-Seen", Value: "route"}}}
	changed.Headers = &orlav1.HeaderChanges{Remove: []string{"X-Passed"}}
	redirect := route("/old/*", "in")
	redirect.Target = &orlav1.Route_Redirect{Redirect: &orlav1.Redirect{To: "/new/:splat", Status: 308}}
	answer := respondRoute("/answer", "fixed")
	answer.Middleware = []string{"out"}

	d, store := withEngine(t)
	r, err := d.Build(t.Context(), Spec{Number: 1, Manifest: &orlav1.Manifest{
		Name: "app", Kind: orlav1.Kind_KIND_APP, Hosts: []string{"*"},
		Functions: []*orlav1.Function{front(t, store, "in"), front(t, store, "out")},
		Routes: []*orlav1.Route{
			to(route("/two", "out", "in")), changed, redirect, answer, to(route("/deny/*", "out", "in")), to(route("/open/*")),
			to(rewrite(route("/as/*", "in"), "/deny/:splat")),
			rewrite(route("/again/*", "out"), "/two"),
			rewrite(route("/loop/*", "in"), "/loop/x"),
		},
	}})
	if err != nil {
		t.Fatal(err)
	}
	swap(t, d, 1, r)
	const in, out = `{"name":"in"}`, `{"name":"out"}`
	quoted := func(names ...string) string { return fmt.Sprintf("%q", names) }
	for _, tt := range []struct {
		name, path, to string
		status         int
		body           string
		passed         []string
	}{
		{"outermost first", "/two?q=1", "", 200, "GET /two?q=1 " + quoted(out, in), []string{in, out}},
		{"after the changes of the request, before those of the response", "/changed", "", 200, "GET /changed " + quoted("route", in), nil},
		{"before a redirect, with what it captured", "/old/a/b", "", 308, `<a href="/new/a/b">Permanent Redirect</a>.`, []string{in}},
		{"before a fixed answer", "/answer", "", 200, "fixed", []string{out}},
		{"one that answers", "/deny/x", "", 403, "denied", nil},
		{"none", "/open/deny", "", 200, "GET /open/deny " + quoted(), nil},
		{"sees the rewritten path", "/as/x", "", 403, "denied", nil},
		{"before another match", "/again/x", "", 200, "GET /two " + quoted(out, out, in), []string{in, out, out}},
		{"another path for the target", "/two", "/other?x=1", 200, "GET /other?x=1 " + quoted(out, in), []string{in, out}},
		{"another path for another match", "/again/x", "/open/y", 200, "GET /open/y " + quoted(out), []string{out}},
		{"a path to be cleaned", "/two", "/a/./b/../c", 200, "GET /a/c " + quoted(out, in), []string{in, out}},
		{"a path that cannot be", "/two", "/a%2e%2e/..%2f../b%00", 502, "the function in front made an invalid path", []string{in, out}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var header []string
			if tt.to != "" {
				header = []string{"X-To", tt.to}
			}
			res := do(d, http.MethodGet, "http://x"+tt.path, header...)
			if body := text(res); res.StatusCode != tt.status || body != tt.body || fmt.Sprint(res.Header["X-Passed"]) != fmt.Sprint(tt.passed) {
				t.Errorf("GET %s = %d %q passed %q, want %d %q passed %q", tt.path, res.StatusCode, body, res.Header["X-Passed"], tt.status, tt.body, tt.passed)
			}
		})
	}
	if res := do(d, http.MethodGet, "http://x/loop/a"); res.StatusCode != http.StatusLoopDetected {
		t.Errorf("a loop through middleware = %d, want 508", res.StatusCode)
	}
	if e := d.Explain("x", &router.Request{Method: http.MethodGet, Path: "/answer"}); e.Status != 0 {
		t.Errorf("Explain of an answer behind middleware has status %d, want 0: the middleware may decide", e.Status)
	}
}

func TestMiddlewareSeesBodies(t *testing.T) {
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("read the request's body: %v", err)
		}
		_, _ = w.Write(body)
	}))
	defer app.Close()
	d, store := withEngine(t)
	r, err := d.Build(t.Context(), Spec{Number: 1, Manifest: &orlav1.Manifest{
		Name: "app", Kind: orlav1.Kind_KIND_APP, Hosts: []string{"*"}, Functions: []*orlav1.Function{front(t, store, "in")},
		Routes: []*orlav1.Route{{Middleware: []string{"in"}, Target: &orlav1.Route_Proxy{Proxy: &orlav1.Proxy{To: []string{app.URL}}}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	swap(t, d, 1, r)
	sent := strings.Repeat("0123456789", 10_000)
	w := httptest.NewRecorder()
	d.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "http://x/", strings.NewReader(sent)))
	if w.Body.String() != sent {
		t.Errorf("%d bytes came back of %d", w.Body.Len(), len(sent))
	}
}

func TestBuildRefusesMiddleware(t *testing.T) {
	d, store := withEngine(t)
	m := &orlav1.Manifest{
		Name: "app", Kind: orlav1.Kind_KIND_APP, Hosts: []string{"*"},
		Functions: []*orlav1.Function{front(t, store, "in"), program(t, store, "cgi")},
		Routes:    []*orlav1.Route{respondRoute("/a", "a"), respondRoute("/b", "b")},
	}
	m.Routes[1].Middleware = []string{"in", "cgi"}
	for name, want := range map[string]string{"cgi": "CGI program", "gone": "not in this release"} {
		m := proto.CloneOf(m)
		m.Routes[1].Middleware[1] = name
		_, err := d.Build(t.Context(), Spec{Number: 1, Manifest: m})
		ps, _ := errors.AsType[release.Problems](err)
		if len(ps) != 1 || ps[0].Field != "routes[1].middleware[1]" || !strings.Contains(ps[0].Message, want) {
			t.Errorf("Build with middleware %q = %v, want a problem of routes[1].middleware[1] that says %q", name, err, want)
		}
	}
}
