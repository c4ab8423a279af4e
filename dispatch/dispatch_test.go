package dispatch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"github.com/orla-edge/orla/modules"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/router"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newDispatcher returns a dispatcher over an empty store; releases of these
// tests have no functions.
func newDispatcher(t *testing.T) *Dispatcher {
	t.Helper()
	blobs, err := modules.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	d := New(Config{Node: "n1", Blobs: blobs, Debug: func(token string) bool { return token == "secret" }})
	t.Cleanup(func() {
		d.Close()
		if err := blobs.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func respondRoute(path, body string) *orlav1.Route {
	return &orlav1.Route{Match: &orlav1.Match{Path: path}, Target: &orlav1.Route_Respond{Respond: &orlav1.Respond{Status: 200, Body: body}}}
}

func build(t *testing.T, d *Dispatcher, number uint64, name, host string, routes ...*orlav1.Route) *Release {
	t.Helper()
	r, err := d.Build(t.Context(), Spec{Number: number, Manifest: &orlav1.Manifest{
		Name: name, Kind: orlav1.Kind_KIND_ROUTES, Hosts: []string{host}, Routes: routes,
	}})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func swap(t *testing.T, d *Dispatcher, revision uint64, put ...*Release) {
	t.Helper()
	if err := d.Swap(revision, groups(put...), nil); err != nil {
		t.Fatal(err)
	}
}

// groups makes each release the only one of its name.
func groups(put ...*Release) []Group {
	var out []Group
	for _, r := range put {
		out = append(out, Alone(r))
	}
	return out
}

func do(h http.Handler, method, url string, header ...string) *http.Response {
	r := httptest.NewRequest(method, url, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func text(res *http.Response) string {
	b, _ := io.ReadAll(res.Body)
	return strings.TrimSpace(string(b))
}

func TestTargets(t *testing.T) {
	d := newDispatcher(t)
	route := func(path string, change func(*orlav1.Route)) *orlav1.Route {
		r := &orlav1.Route{Match: &orlav1.Match{Path: path}}
		change(r)
		return r
	}
	redirect := func(to string, status uint32) func(*orlav1.Route) {
		return func(r *orlav1.Route) {
			r.Target = &orlav1.Route_Redirect{Redirect: &orlav1.Redirect{To: to, Status: status}}
		}
	}
	rewrite := func(to string) func(*orlav1.Route) { return func(r *orlav1.Route) { r.Rewrite = to } }
	headers := respondRoute("/headers", "x")
	headers.Headers = &orlav1.HeaderChanges{
		Set: []*orlav1.Field{{Name: "content-type", Value: "text/x"}}, Add: []*orlav1.Field{{Name: "link", Value: "</a>"}, {Name: "link", Value: "</b>"}},
		Remove: []string{"x-gone"},
	}
	post := respondRoute("/post", "posted")
	post.Match.Methods = []string{"POST"}
	swap(t, d, 1, build(
		t, d, 1, "app", "a.test",
		respondRoute("/hello", "hello"), post, headers,
		route("/old/*", redirect("/new/:splat", 308)),
		route("/away", redirect("https://b.test/?from=a#top", 302)),
		route("/users/{id}", redirect("/people/:id#me", 301)),
		route("/re/*", rewrite("/hello")),
		route("/loop/*", rewrite("/loop/x:splat")),
	))
	for _, tt := range []struct {
		method, url string
		status      int
		location    string
		body        string
	}{
		{"GET", "http://a.test/hello", 200, "", "hello"},
		{"HEAD", "http://a.test/hello", 200, "", ""},
		{"GET", "http://A.TEST:8080/hello", 200, "", "hello"},
		{"GET", "http://a.test/none", 404, "", "not found"},
		{"GET", "http://b.test/hello", 404, "", "nothing is served under this name"},
		{"GET", "http://a.test/post", 405, "", "method not allowed"},
		{"POST", "http://a.test/post", 200, "", "posted"},
		{"POST", "http://a.test/old/a/b?q=1", 308, "/new/a/b?q=1", ""},
		{"POST", "http://a.test/away?q=1", 302, "https://b.test/?from=a#top", ""},
		{"POST", "http://a.test/users/7?q=1", 301, "/people/7?q=1#me", ""},
		{"GET", "http://a.test/old/%3Cscript%3E", 308, "/new/%3Cscript%3E", `<a href="/new/%3Cscript%3E">Permanent Redirect</a>.`},
		{"GET", "http://a.test/re/x", 200, "", "hello"},
		{"GET", "http://a.test/loop/", 508, "", "the request is rewritten in a loop"},
	} {
		res := do(d, tt.method, tt.url)
		if body := text(res); res.StatusCode != tt.status || res.Header.Get("Location") != tt.location || body != tt.body {
			t.Errorf("%s %s = %d %q %q, want %d %q %q", tt.method, tt.url, res.StatusCode, res.Header.Get("Location"), body, tt.status, tt.location, tt.body)
		}
	}
	if allow := do(d, "GET", "http://a.test/post").Header.Get("Allow"); allow != "POST" {
		t.Errorf("Allow = %q, want POST", allow)
	}
	h := do(d, "GET", "http://a.test/headers").Header
	if h.Get("Content-Type") != "text/x" || fmt.Sprint(h["Link"]) != "[</a> </b>]" {
		t.Errorf("changed headers = %v", h)
	}
}

func TestDebugHeaders(t *testing.T) {
	d := newDispatcher(t)
	echo := respondRoute("/", "x")
	swap(t, d, 42, build(t, d, 1, "app", "*", echo))
	for _, tt := range []struct {
		name   string
		header []string
		shown  bool
	}{
		{"nothing asked", nil, false},
		{"no token", []string{"Orla-Debug", "1"}, false},
		{"wrong token", []string{"Orla-Debug", "1", "Orla-Token", "guess"}, false},
		{"token", []string{"Orla-Debug", "1", "Orla-Token", "secret"}, true},
		{"bearer", []string{"Orla-Debug", "1", "Authorization", "Bearer secret"}, true},
		{"token without asking", []string{"Orla-Token", "secret"}, false},
	} {
		h := do(d, "GET", "http://x/", tt.header...).Header
		want := map[bool]string{true: "42 n1", false: " "}[tt.shown]
		if got := h.Get("Orla-Revision") + " " + h.Get("Orla-Node"); got != want {
			t.Errorf("%s: revision and node %q, want %q", tt.name, got, want)
		}
	}
}

func TestMinRevision(t *testing.T) {
	d := newDispatcher(t)
	swap(t, d, 7, build(t, d, 1, "app", "*", respondRoute("/", "x")))
	behind := errors.New("behind")
	d.cfg.Wait = func(context.Context, uint64) error { return behind }
	for _, tt := range []struct {
		want   string
		status int
	}{{"7", 200}, {"8", 503}, {"x", 400}} {
		res := do(d, "GET", "http://x/", "Orla-Min-Revision", tt.want)
		if res.StatusCode != tt.status {
			t.Errorf("Orla-Min-Revision: %s at revision 7 = %d, want %d", tt.want, res.StatusCode, tt.status)
		}
	}
}

// TestSwapIsWhole replaces one release of two hosts and removes another at once.
func TestSwapIsWhole(t *testing.T) {
	d := newDispatcher(t)
	swap(t, d, 1, build(t, d, 1, "a", "a.test", respondRoute("/", "a1")), build(t, d, 1, "b", "b.test", respondRoute("/", "b1")))
	// a gives its host to c and takes b's, and b goes.
	err := d.Swap(2, groups(
		build(t, d, 2, "a", "b.test", respondRoute("/", "a2")), build(t, d, 1, "c", "a.test", respondRoute("/", "c1")),
	), []string{"b"})
	if err != nil {
		t.Fatal(err)
	}
	for url, want := range map[string]string{"http://a.test/": "c1", "http://b.test/": "a2"} {
		if got := text(do(d, "GET", url)); got != want {
			t.Errorf("GET %s = %q, want %q", url, got, want)
		}
	}
	if d.Get("b") != nil || d.Revision() != 2 {
		t.Errorf("b is still live, or the revision is %d", d.Revision())
	}
}

func TestSwapRefusesTakenHost(t *testing.T) {
	d := newDispatcher(t)
	swap(t, d, 1, build(t, d, 1, "a", "a.test", respondRoute("/", "a")))
	err := d.Swap(2, groups(build(t, d, 1, "thief", "a.test", respondRoute("/", "stolen")), build(t, d, 1, "b", "b.test", respondRoute("/", "b"))), nil)
	if err == nil || !strings.Contains(err.Error(), "thief") || !strings.Contains(err.Error(), "belongs to a") {
		t.Errorf("Swap = %v, want an error that names the thief and the owner", err)
	}
	if got := text(do(d, "GET", "http://a.test/")); got != "a" {
		t.Errorf("a.test = %q, want a", got)
	}
	if got := text(do(d, "GET", "http://b.test/")); got != "b" {
		t.Errorf("b.test = %q: a good release was refused with a bad one", got)
	}
}

// TestRetiredReleaseWaits holds a request inside a release while it is replaced.
func TestRetiredReleaseWaits(t *testing.T) {
	d := newDispatcher(t)
	r := build(t, d, 1, "a", "*", respondRoute("/", "one"))
	inside, leave := make(chan struct{}), make(chan struct{})
	r.hosts["*"].routes[0].handle = func(w http.ResponseWriter, _ *http.Request, _ router.Match) {
		close(inside)
		<-leave
		_, _ = io.WriteString(w, "one")
	}
	var freed atomic.Bool
	free := r.free
	r.free = func() { freed.Store(true); free() }
	swap(t, d, 1, r)
	answer := make(chan string)
	go func() { answer <- text(do(d, "GET", "http://x/")) }()
	<-inside
	swap(t, d, 2, build(t, d, 2, "a", "*", respondRoute("/", "two")))
	if freed.Load() {
		t.Error("a release was freed under a request")
	}
	if got := text(do(d, "GET", "http://x/")); got != "two" {
		t.Errorf("a new request got %q, want two", got)
	}
	close(leave)
	if got := <-answer; got != "one" {
		t.Errorf("the old request got %q, want one", got)
	}
	if !freed.Load() {
		t.Error("the release was not freed when the last request left")
	}
}

// TestNoUseAfterFree swaps under load: a handler must never run in a release
// that has been freed, and every release but the last is freed.
func TestNoUseAfterFree(t *testing.T) {
	const swaps = 2000
	d := newDispatcher(t)
	var freed [swaps + 1]atomic.Bool
	release := func(n uint64) *Release {
		r := build(t, d, n, "a", "*", respondRoute("/", "x"))
		free := r.free
		r.free = func() { freed[n].Store(true); free() }
		r.hosts["*"].routes[0].handle = func(http.ResponseWriter, *http.Request, router.Match) {
			if freed[n].Load() {
				t.Errorf("release %d served after it was freed", n)
			}
		}
		return r
	}
	swap(t, d, 0, release(0))
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					do(d, "GET", "http://x/")
				}
			}
		})
	}
	for n := uint64(1); n <= swaps; n++ {
		swap(t, d, n, release(n))
	}
	close(stop)
	clients.Wait()
	for n := range swaps {
		if !freed[n].Load() {
			t.Fatalf("release %d was never freed", n)
		}
	}
}

func TestBuildNamesTheRoute(t *testing.T) {
	d := newDispatcher(t)
	_, err := d.Build(t.Context(), Spec{Manifest: &orlav1.Manifest{Name: "a", Hosts: []string{"*"}, Routes: []*orlav1.Route{
		respondRoute("/", "x"), {Match: &orlav1.Match{Path: "/f"}, Target: &orlav1.Route_Function{Function: "nope"}},
	}}})
	if err == nil || !strings.Contains(err.Error(), "routes[1]") || !strings.Contains(err.Error(), `"nope"`) {
		t.Errorf("Build = %v, want an error that names routes[1] and the function", err)
	}
}

func TestExplain(t *testing.T) {
	d := newDispatcher(t)
	post := respondRoute("/users/{id}", "x")
	post.Match.Methods = []string{"POST"}
	swap(t, d, 1, build(t, d, 3, "app", "a.test", post, respondRoute("/*", "rest")))
	e := d.Explain("A.test:443", &router.Request{Method: "GET", Path: "/users/7"})
	if e.Release == nil || e.Release.Number != 3 || e.Route.GetMatch().GetPath() != "/*" || e.Status != 200 || len(e.Steps) != 2 {
		t.Fatalf("Explain = %+v", e)
	}
	if e.Steps[0].Matched || !strings.Contains(e.Steps[0].Reason, "GET") {
		t.Errorf("first step = %+v, want the POST route with the method as the reason", e.Steps[0])
	}
	if e := d.Explain("other.test", &router.Request{Method: "GET", Path: "/"}); e.Release != nil || e.Status != 404 {
		t.Errorf("Explain of a host that nobody serves = %+v", e)
	}
}

func BenchmarkDispatch(b *testing.B) {
	blobs, err := modules.OpenDir(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	d := New(Config{Blobs: blobs})
	defer d.Close()
	r, err := d.Build(context.Background(), Spec{Manifest: &orlav1.Manifest{Name: "a", Hosts: []string{"a.test"}, Routes: []*orlav1.Route{respondRoute("/x/{id}", "")}}})
	if err != nil {
		b.Fatal(err)
	}
	r.hosts["a.test"].routes[0].handle = func(http.ResponseWriter, *http.Request, router.Match) {}
	if err := d.Swap(1, groups(r), nil); err != nil {
		b.Fatal(err)
	}
	req := inContext(httptest.NewRequest("GET", "http://a.test/x/1", nil))
	w := httptest.NewRecorder()
	b.ReportAllocs()
	b.Run("one", func(b *testing.B) {
		for b.Loop() {
			d.ServeHTTP(w, req)
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			req := inContext(httptest.NewRequest("GET", "http://a.test/x/1", nil))
			for pb.Next() {
				d.ServeHTTP(w, req)
			}
		})
	})
}

var _ Blobs = (*modules.Dir)(nil)

// TestTokenStaysHere sends the node's own header fields along with a request.
func TestTokenStaysHere(t *testing.T) {
	d := newDispatcher(t)
	r := build(t, d, 1, "a", "*", respondRoute("/", "x"))
	var seen http.Header
	r.hosts["*"].routes[0].handle = func(_ http.ResponseWriter, r *http.Request, _ router.Match) { seen = r.Header }
	swap(t, d, 1, r)
	do(d, "GET", "http://x/", "Orla-Debug", "1", "Authorization", "Bearer secret", "Orla-Min-Revision", "1", "Orla-Token", "")
	do(d, "GET", "http://x/", "Orla-Token", "secret", "Accept", "text/html")
	if len(seen) != 1 || seen.Get("Accept") != "text/html" {
		t.Errorf("the app saw %v", seen)
	}
	do(d, "GET", "http://x/", "Orla-Debug", "1", "Authorization", "Bearer secret")
	if len(seen) != 0 {
		t.Errorf("the app saw %v", seen)
	}
	do(d, "GET", "http://x/", "Authorization", "Bearer of the app")
	if seen.Get("Authorization") != "Bearer of the app" {
		t.Errorf("the app's own authorization is gone: %v", seen)
	}
}
