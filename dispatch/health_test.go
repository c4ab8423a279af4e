package dispatch

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/router"
	"github.com/orla-edge/orla/server"
)

// listening serves d as a node does, until the test ends.
func listening(t *testing.T, d *Dispatcher) (url string) {
	t.Helper()
	l, err := server.Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, err := server.New(server.Config{HTTP: []net.Listener{l}, Handler: d, DrainIdle: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return "http://" + l.Addr().String()
}

// once is a client that does not ask again when a connection ends without an answer.
func once() *http.Client {
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
}

// ask makes a request whose answer may be cut short, and waits for its end. The status
// is 0 if not even the head came.
func ask(t *testing.T, url string) (status int, whole bool) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	res, err := once().Do(req)
	if err != nil {
		return 0, false
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, res.Body)
	return res.StatusCode, err == nil
}

func TestHealth(t *testing.T) {
	d, store := withEngine(t)
	down := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusInternalServerError)
	}))
	defer down.Close()
	f := program(t, store, "fn")
	f.Timeout, f.Cpu = durationpb.New(10*time.Second), durationpb.New(30*time.Millisecond)
	r, err := d.Build(t.Context(), Spec{Number: 3, Manifest: &orlav1.Manifest{
		Name: "app", Kind: orlav1.Kind_KIND_APP, Hosts: []string{"*"}, Functions: []*orlav1.Function{f},
		Routes: []*orlav1.Route{
			{Match: &orlav1.Match{Path: "/*"}, Target: &orlav1.Route_Function{Function: "fn"}},
			{Match: &orlav1.Match{Path: "/proxy"}, Target: &orlav1.Route_Proxy{Proxy: &orlav1.Proxy{To: []string{down.URL}}}},
			respondRoute("/panic", ""), respondRoute("/cut", ""), respondRoute("/gone", ""),
			{Match: &orlav1.Match{Path: "/503"}, Target: &orlav1.Route_Respond{Respond: &orlav1.Respond{Status: 503}}},
			{Match: &orlav1.Match{Path: "/404"}, Target: &orlav1.Route_Respond{Respond: &orlav1.Respond{Status: 404}}},
		},
	}})
	if err != nil {
		t.Fatal(err)
	}
	handle := func(path string, h http.HandlerFunc) {
		for _, rt := range r.hosts["*"].routes {
			if rt.pattern == path {
				rt.handle = plain(h)
			}
		}
	}
	handle("/panic", func(http.ResponseWriter, *http.Request) { panic("a fault of the node") })
	handle("/cut", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "begun")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	entered := make(chan struct{})
	handle("/gone", func(_ http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	})
	swap(t, d, 1, r)
	url := listening(t, d)
	last := ReleaseHealth{Number: 3}
	for _, tt := range []struct {
		path          string
		status        int
		whole         bool
		server, guest uint64
	}{
		{"/count", 200, true, 0, 0},
		{"/404", 404, true, 0, 0},
		{"/503", 503, true, 1, 0},
		{"/proxy", 500, true, 1, 0},
		{"/panic", 500, true, 1, 0},
		{"/cut", 200, false, 1, 0},
		{"/trap", 502, true, 1, 1},
		{"/loop", 504, true, 1, 1},
		{"/raw", 502, true, 1, 1}, // nothing is no answer
		{"/late-trap", 0, false, 1, 1},
	} {
		if status, whole := ask(t, url+tt.path); status != tt.status || whole != tt.whole {
			t.Errorf("GET %s = %d, whole %v; want %d, %v", tt.path, status, whole, tt.status, tt.whole)
		}
		want := ReleaseHealth{3, last.Requests + 1, last.ServerErrors + tt.server, last.GuestFailures + tt.guest}
		last = settled(d, want.Requests)
		if last != want {
			t.Errorf("after GET %s: %+v, want %+v", tt.path, last, want)
		}
	}
	// A client that goes away is nobody's fault.
	ctx, cancel := context.WithCancel(t.Context())
	req, _ := http.NewRequestWithContext(ctx, http.MethodGet, url+"/gone", http.NoBody)
	over := make(chan struct{})
	go func() {
		defer close(over)
		if res, err := once().Do(req); err == nil {
			res.Body.Close()
		}
	}()
	<-entered
	cancel()
	<-over
	if got := settled(d, last.Requests+1); got.ServerErrors != last.ServerErrors || got.GuestFailures != last.GuestFailures {
		t.Errorf("after a client has gone: %+v, before %+v", got, last)
	}
	if d.Health("nobody") != nil {
		t.Error("Health of what is not live")
	}
}

// settled returns the health of the only release once that many requests are over: a
// client sees its answer's end before the node has counted it.
func settled(d *Dispatcher, requests uint64) ReleaseHealth {
	for {
		if h := d.Health("app")[0]; h.Requests >= requests {
			return h
		}
		runtime.Gosched()
	}
}

// TestHealthCountsEach compares the counters with the answers that clients got while
// the table changed.
func TestHealthCountsEach(t *testing.T) {
	const clients, each = 4, 2000
	d := newDispatcher(t)
	build := func(number uint64) *Release {
		r := build(t, d, number, "app", "*", respondRoute("/", ""))
		r.hosts["*"].routes[0].handle = func(w http.ResponseWriter, _ *http.Request, _ router.Match) { _, _ = fmt.Fprint(w, number) }
		return r
	}
	swapGroup(t, d, Group{{build(1), 5000}, {build(2), 5000}})
	var mu sync.Mutex // guards got
	got := map[string]uint64{}
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			for range each {
				n := text(do(d, http.MethodGet, "http://x/"))
				mu.Lock()
				got[n]++
				mu.Unlock()
			}
		})
	}
	for weight := range uint32(200) {
		swapGroup(t, d, Group{{d.Keep("app", 1), weight + 1}, {d.Keep("app", 2), Whole - weight - 1}})
	}
	wg.Wait()
	for _, h := range d.Health("app") {
		if want := got[fmt.Sprint(h.Number)]; h.Requests != want || h.ServerErrors != 0 || h.GuestFailures != 0 {
			t.Errorf("%+v, want %d requests", h, want)
		}
	}
	if got["1"]+got["2"] != clients*each {
		t.Errorf("answers: %v", got)
	}
}
