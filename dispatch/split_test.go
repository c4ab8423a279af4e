package dispatch

import (
	"context"
	"crypto/tls"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/router"
	"github.com/orla-edge/orla/telemetry"
)

// weighted builds a group of "app" on every host: weights by release number. Each
// release answers with its number.
func weighted(t *testing.T, d *Dispatcher, weights map[uint64]uint32) Group {
	t.Helper()
	var g Group
	for number, weight := range weights {
		g = append(g, Share{build(t, d, number, "app", "*", respondRoute("/", strconv.FormatUint(number, 10))), weight})
	}
	return g
}

func swapGroup(t *testing.T, d *Dispatcher, g Group) {
	t.Helper()
	if err := d.Swap(1, []Group{g}, nil); err != nil {
		t.Fatal(err)
	}
}

// answerTo returns the number of the release that answers a client.
func answerTo(t *testing.T, d *Dispatcher, client uint32) string {
	t.Helper()
	res := do(d, http.MethodGet, "http://x/", "Cookie", fmt.Sprintf("orla-split=%d", client))
	if c := res.Header["Set-Cookie"]; c != nil {
		t.Fatalf("client %d, which has a number, got the cookie %q", client, c)
	}
	return text(res)
}

func TestSplitIsSticky(t *testing.T) {
	here, there := newDispatcher(t), newDispatcher(t)
	for _, d := range []*Dispatcher{here, there} {
		swapGroup(t, d, weighted(t, d, map[uint64]uint32{4: 7000, 9: 1000, 5: 2000}))
	}
	for client, want := range map[uint32]string{0: "4", 6999: "4", 7000: "5", 8999: "5", 9000: "9", 9999: "9"} {
		if got := answerTo(t, here, client); got != want {
			t.Errorf("client %d is answered by release %s, want %s", client, got, want)
		}
	}
	for range 200 {
		first := do(here, http.MethodGet, "http://x/")
		cookies := first.Cookies()
		if len(cookies) != 1 {
			t.Fatalf("a new client got the cookies %v", cookies)
		}
		want := text(first)
		for i, d := range []*Dispatcher{here, there, here} {
			again := do(d, http.MethodGet, "http://x/", "Cookie", cookies[0].Name+"="+cookies[0].Value)
			if got := text(again); got != want || again.Header["Set-Cookie"] != nil {
				t.Fatalf("visit %d of client %s: release %s, cookie %q; want %s and none", i+2, cookies[0].Value, got, again.Header["Set-Cookie"], want)
			}
		}
	}
}

// TestSplitHitsItsWeights sends clients without cookies, as from 100,000 browsers. A
// fair draw is off by four sigma once in 16,000 times, and not twice in a row.
func TestSplitHitsItsWeights(t *testing.T) {
	const clients, canary = 100_000, 1000
	d := newDispatcher(t)
	g := weighted(t, d, map[uint64]uint32{1: Whole - canary, 2: canary})
	got := map[uint64]int{}
	for _, s := range g {
		s.Release.hosts["*"].routes[0].handle = func(http.ResponseWriter, *http.Request, router.Match) { got[s.Release.Number]++ }
	}
	swapGroup(t, d, g)
	r := httptest.NewRequest(http.MethodGet, "http://x/", nil)
	p := float64(canary) / Whole
	mean, sigma := clients*p, math.Sqrt(clients*p*(1-p))
	for try := range 2 {
		clear(got)
		for range clients {
			d.ServeHTTP(discarding{http.Header{}}, r)
		}
		if got[1]+got[2] == clients && math.Abs(float64(got[2])-mean) <= 4*sigma {
			return
		}
		t.Logf("try %d: release 2 answered %d of %d clients, want %.0f ± %.0f; release 1 %d", try, got[2], clients, mean, 4*sigma, got[1])
	}
	t.Error("the clients are not spread by the weights")
}

// TestWeightsMoveFewClients changes a split of two releases: no client may move but
// those by which the weights differ.
func TestWeightsMoveFewClients(t *testing.T) {
	d := newDispatcher(t)
	g := weighted(t, d, map[uint64]uint32{4: 9000, 5: 1000})
	assigned := func() (out [Whole]string) {
		for client := range out {
			out[client] = answerTo(t, d, uint32(client))
		}
		return out
	}
	swapGroup(t, d, g)
	before := assigned()
	swapGroup(t, d, Group{{d.Keep("app", 4), 5000}, {d.Keep("app", 5), 5000}})
	after := assigned()
	for client := range before {
		want := before[client]
		if client >= 5000 && client < 9000 {
			want = "5"
		}
		if after[client] != want {
			t.Fatalf("from 90/10 to 50/50 client %d moved from %s to %s, want %s", client, before[client], after[client], want)
		}
	}
}

func TestSplitCookie(t *testing.T) {
	d := newDispatcher(t)
	swapGroup(t, d, weighted(t, d, map[uint64]uint32{1: 5000, 2: 5000}))
	for _, secure := range []bool{false, true} {
		r := httptest.NewRequest(http.MethodGet, "http://x/", nil)
		if secure {
			r.TLS = &tls.ConnectionState{}
		}
		w := httptest.NewRecorder()
		d.ServeHTTP(w, r)
		c := w.Result().Cookies()[0]
		number, err := strconv.Atoi(c.Value)
		if err != nil || number < 0 || number >= Whole {
			t.Errorf("the cookie's value is %q", c.Value)
		}
		if c.Name != "orla-split" || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Secure != secure || c.Path != "/" || c.Domain != "" || c.MaxAge != 0 || !c.Expires.IsZero() {
			t.Errorf("over TLS %v the cookie is %q", secure, c)
		}
		if got := w.Result().Header; got.Get("Vary") != "Cookie" || got.Get("Cache-Control") != "private" {
			t.Errorf("an answer that gives out a cookie may be kept by caches: %v", got)
		}
	}
	for _, known := range []string{"0", "9999", "0042"} {
		if h := do(d, http.MethodGet, "http://x/", "Cookie", "orla-split="+known).Header; h["Set-Cookie"] != nil || h.Get("Vary") != "Cookie" || h["Cache-Control"] != nil {
			t.Errorf("an answer to a client with the number %s has %v", known, h)
		}
	}
	for _, bad := range []string{"", "10000", "-1", "x", "99999999999999999999", `"1"`} {
		if h := do(d, http.MethodGet, "http://x/", "Cookie", "orla-split="+bad).Header; h["Set-Cookie"] == nil {
			t.Errorf("a client with the number %q got no other one", bad)
		}
	}
	// What the node answers by itself is an answer of that release, too.
	if h := do(d, http.MethodGet, "http://x/none").Header; h["Set-Cookie"] == nil || h.Get("Vary") != "Cookie" {
		t.Errorf("a 404 of a split app has %v", h)
	}
}

func TestSplitCookieIsTakenOff(t *testing.T) {
	d := newDispatcher(t)
	g := weighted(t, d, map[uint64]uint32{1: 5000, 2: 5000})
	var seen []string
	for _, s := range g {
		s.Release.hosts["*"].routes[0].handle = func(_ http.ResponseWriter, r *http.Request, _ router.Match) { seen = r.Header["Cookie"] }
	}
	swapGroup(t, d, g)
	for _, tt := range []struct{ lines, want []string }{
		{nil, nil},
		{[]string{"a=1;b=2;  c"}, []string{"a=1;b=2;  c"}},
		{[]string{"orla-split=7"}, nil},
		{[]string{"a=1; orla-split=7; b=2"}, []string{"a=1; b=2"}},
		{[]string{"orla-split=7; a=1"}, []string{"a=1"}},
		{[]string{"a=1; orla-split=7"}, []string{"a=1"}},
		{[]string{"a=1", "orla-split=7", "b=2"}, []string{"a=1", "b=2"}},
		{[]string{"orla-split=7; orla-split=8;orla-split"}, nil},
		{[]string{"x-orla-split=7; orla-splits=1; a=orla-split"}, []string{"x-orla-split=7; orla-splits=1; a=orla-split"}},
	} {
		r := httptest.NewRequest(http.MethodGet, "http://x/", nil)
		r.Header["Cookie"] = slices.Clone(tt.lines)
		d.ServeHTTP(httptest.NewRecorder(), r)
		if !slices.Equal(seen, tt.want) {
			t.Errorf("Cookie %q: the app saw %q, want %q", tt.lines, seen, tt.want)
		}
	}
}

// FuzzSplitCookie compares what is left of a Cookie field with what net/http reads
// from it.
func FuzzSplitCookie(f *testing.F) {
	for _, seed := range []string{"", "orla-split=7", "a=1; orla-split=7; b=2", "orla-split", "orla-split=1;;orla-split=2", ";;=;"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		h := http.Header{"Cookie": {line}}
		before := (&http.Request{Header: h.Clone()}).Cookies()
		l := draw(h)
		if l.number >= Whole {
			t.Fatalf("%q leads to the number %d", line, l.number)
		}
		if _, known := lotOf(h["Cookie"]); known {
			t.Fatalf("%q leaves %q", line, h["Cookie"])
		}
		kept := slices.DeleteFunc(before, func(c *http.Cookie) bool { return c.Name == cookieName })
		after := (&http.Request{Header: h}).Cookies()
		if !slices.EqualFunc(kept, after, func(a, b *http.Cookie) bool { return a.Name == b.Name && a.Value == b.Value }) {
			t.Errorf("%q leaves %q: cookies %v, want %v", line, h["Cookie"], after, kept)
		}
	})
}

// inContext gives r a telemetry.Request, as the server does.
func inContext(r *http.Request) *http.Request {
	return r.WithContext(telemetry.WithRequest(r.Context(), &telemetry.Request{}))
}

// TestNoSplitNoCost shows that an app without a split pays nothing for those with
// one, and is not touched by a cookie that a split has left behind.
func TestNoSplitNoCost(t *testing.T) {
	d := newDispatcher(t)
	r := build(t, d, 1, "a", "*", respondRoute("/", ""))
	var seen string
	r.hosts["*"].routes[0].handle = func(_ http.ResponseWriter, r *http.Request, _ router.Match) { seen = r.Header.Get("Cookie") }
	swap(t, d, 1, r)
	if h := do(d, http.MethodGet, "http://x/", "Cookie", "orla-split=7; a=1").Header; len(h) != 0 || seen != "orla-split=7; a=1" {
		t.Errorf("an app without a split saw the cookies %q and answered %v", seen, h)
	}
	req := inContext(httptest.NewRequest(http.MethodGet, "http://x/", nil))
	req.Header.Set("Cookie", "orla-split=7; a=1")
	w := httptest.NewRecorder()
	if n := testing.AllocsPerRun(100, func() { d.ServeHTTP(w, req) }); n != 0 {
		t.Errorf("a request of an app without a split allocates %.0f times", n)
	}
}

func TestSwapRefusesWhatIsNoGroup(t *testing.T) {
	d := newDispatcher(t)
	swap(t, d, 1, build(t, d, 1, "a", "a.test", respondRoute("/", "one")))
	one := func(number uint64, name, host string, weight uint32) Share {
		return Share{build(t, d, number, name, host, respondRoute("/", "new")), weight}
	}
	many := Group{}
	for n := range uint64(MaxShares + 1) {
		many = append(many, one(n+2, "a", "a.test", 900))
	}
	for _, tt := range []struct {
		name  string
		group Group
		part  string
	}{
		{"too little", Group{one(2, "a", "a.test", 9000), one(3, "a", "a.test", 999)}, "add up to 9999"},
		{"too much", Group{one(2, "a", "a.test", math.MaxUint32), one(3, "a", "a.test", 10001)}, "add up to"},
		{"nothing", Group{one(2, "a", "a.test", 10000), one(3, "a", "a.test", 0)}, "release 3 has no share"},
		{"twice", Group{one(2, "a", "a.test", 5000), one(2, "a", "a.test", 5000)}, "release 2 has two shares"},
		{"names", Group{one(2, "a", "a.test", 5000), one(3, "b", "a.test", 5000)}, "among those of a"},
		{"hosts", Group{one(2, "a", "a.test", 5000), one(3, "a", "b.test", 5000)}, "different hosts"},
		{"many", many, "11 releases"},
	} {
		freed := 0
		for i := range tt.group {
			free := tt.group[i].Release.free
			tt.group[i].Release.free = func() { freed++; free() }
		}
		err := d.Swap(2, []Group{tt.group}, nil)
		if err == nil || !strings.Contains(err.Error(), tt.part) {
			t.Errorf("%s: Swap = %v, want an error that says %q", tt.name, err, tt.part)
		}
		if got := text(do(d, http.MethodGet, "http://a.test/")); got != "one" || freed != len(tt.group) {
			t.Errorf("%s: after the refusal a.test answers %q, want one; %d of %d releases are freed", tt.name, got, freed, len(tt.group))
		}
	}
}

func TestSplitIsVisible(t *testing.T) {
	d := newDispatcher(t)
	swapGroup(t, d, weighted(t, d, map[uint64]uint32{4: 9000, 5: 1000}))
	parts, trial := d.Serving("app")
	if trial || len(parts) != 2 || parts[0].Number != 4 || parts[0].Weight != 9000 || parts[1].Number != 5 || parts[1].Weight != 1000 {
		t.Errorf("Serving = %+v, %v", parts, trial)
	}
	if r := d.Get("app"); r.Number != 4 {
		t.Errorf("Get = release %d, want the one with the largest share", r.Number)
	}
	if live := d.Live(); len(live) != 2 || live[0].Number != 4 || live[1].Number != 5 {
		t.Errorf("Live = %v", live)
	}
	if !d.Serves("x") {
		t.Error("the split's host is not served")
	}
	var rec telemetry.Request
	r := httptest.NewRequest(http.MethodGet, "http://x/", nil)
	r.Header = http.Header{"Cookie": {"orla-split=9500"}, "Orla-Debug": {"1"}, "Orla-Token": {"secret"}}
	w := httptest.NewRecorder()
	d.ServeHTTP(w, r.WithContext(telemetry.WithRequest(context.Background(), &rec)))
	if rec.Release != 5 || w.Header().Get("Orla-Release") != "5" {
		t.Errorf("the request's record has release %d, Orla-Release is %q; want 5", rec.Release, w.Header().Get("Orla-Release"))
	}
	for cookie, want := range map[string]uint64{"": 4, "orla-split=9500": 5, "orla-split=1": 4} {
		e := d.Explain("x", &router.Request{Method: http.MethodGet, Path: "/", Header: http.Header{"Cookie": {cookie}}})
		if e.Release.Number != want || e.Status != 200 {
			t.Errorf("Explain with Cookie %q = release %d, status %d; want %d", cookie, e.Release.Number, e.Status, want)
		}
	}
}

// TestKeptReleasesAreOwned walks releases through groups and frees each exactly
// when nobody owns it any more.
func TestKeptReleasesAreOwned(t *testing.T) {
	d := newDispatcher(t)
	freed := map[uint64]bool{}
	watched := func(number uint64) *Release {
		r := build(t, d, number, "a", "*", respondRoute("/", "x"))
		free := r.free
		r.free = func() { freed[number] = true; free() }
		return r
	}
	check := func(when string, want ...uint64) {
		t.Helper()
		if got := slices.Sorted(maps.Keys(freed)); !slices.Equal(got, want) {
			t.Errorf("%s: freed are %v, want %v", when, got, want)
		}
	}
	if d.Keep("a", 1) != nil {
		t.Error("Keep returns what is not live")
	}
	swap(t, d, 1, watched(1))
	swapGroup(t, d, Group{{watched(2), 1000}, {d.Keep("a", 1), 9000}})
	check("one joined")
	extra := d.Keep("a", 1)
	swapGroup(t, d, Alone(d.Keep("a", 2)))
	check("one left, kept elsewhere")
	d.Discard(extra)
	check("given back", 1)
	if d.Keep("a", 1) != nil {
		t.Error("Keep returns what is freed")
	}
	if err := d.Swap(3, nil, []string{"a"}); err != nil {
		t.Fatal(err)
	}
	check("removed", 1, 2)
}

func BenchmarkSplit(b *testing.B) {
	d := New(Config{})
	defer d.Close()
	var g Group
	for number := range uint64(2) {
		r, err := d.Build(b.Context(), Spec{Number: number, Manifest: &orlav1.Manifest{Name: "a", Hosts: []string{"a.test"}, Routes: []*orlav1.Route{respondRoute("/x/{id}", "")}}})
		if err != nil {
			b.Fatal(err)
		}
		r.hosts["a.test"].routes[0].handle = func(http.ResponseWriter, *http.Request, router.Match) {}
		g = append(g, Share{r, 5000})
	}
	if err := d.Swap(1, []Group{g}, nil); err != nil {
		b.Fatal(err)
	}
	for name, cookie := range map[string]string{"known": "orla-split=7", "new": "a=1"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			req, w := inContext(httptest.NewRequest("GET", "http://a.test/x/1", nil)), discarding{http.Header{}}
			lines := []string{cookie}
			for b.Loop() {
				clear(w.h)
				req.Header[fieldCookie] = lines
				d.ServeHTTP(w, req)
			}
		})
	}
}

type discarding struct{ h http.Header }

func (w discarding) Header() http.Header         { return w.h }
func (w discarding) Write(b []byte) (int, error) { return len(b), nil }
func (w discarding) WriteHeader(int)             {}

// TestClientKeepsItsNumberOnARetry has a request find a table whose releases are
// gone, and look again until there is another one.
func TestClientKeepsItsNumberOnARetry(t *testing.T) {
	d := newDispatcher(t)
	swapGroup(t, d, weighted(t, d, map[uint64]uint32{1: 5000, 2: 5000}))
	stale := d.table.Load()
	swapGroup(t, d, weighted(t, d, map[uint64]uint32{3: 9999, 4: 1}))
	fresh := d.table.Load()
	d.table.Store(stale)
	answer := make(chan *http.Response)
	go func() { answer <- do(d, http.MethodGet, "http://x/", "Cookie", "orla-split=9999") }()
	for range 1000 {
		runtime.Gosched() // it may look more than once
	}
	d.table.Store(fresh)
	if res := <-answer; text(res) != "4" || res.Header["Set-Cookie"] != nil {
		t.Errorf("client 9999 got the cookie %q", res.Header["Set-Cookie"])
	}
}
