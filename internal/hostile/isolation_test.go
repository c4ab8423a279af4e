package hostile

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/orla-edge/orla/internal/guests"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/runtime"
)

const (
	request = orlav1.Isolation_ISOLATION_REQUEST
	pooled  = orlav1.Isolation_ISOLATION_POOLED
)

// clients is how many requests are under way at a time.
const clients = 8

// TestLeaks shows that guests that leak on purpose do so where instances are pooled, and
// that in 100,000 requests with secrets none sees anything of another where they are not.
func TestLeaks(t *testing.T) {
	b := newBench(t, guests.Child, runtime.Config{})
	rounds := 25_000
	if raceEnabled {
		rounds = 500
	}
	leaks := guests.Leaks(t)
	for _, leak := range leaks {
		if n := seenIn(t, b, leak.Wasm, pooled, 200); n == 0 {
			t.Errorf("%s leaks nothing where instances are pooled: the test below shows nothing", leak.Language)
		}
	}
	began := time.Now()
	for _, leak := range leaks {
		if n := seenIn(t, b, leak.Wasm, request, rounds); n > 0 {
			t.Errorf("%s: %d of %d requests have seen something of another", leak.Language, n, rounds)
		}
	}
	t.Logf("%d requests in %s", rounds*len(leaks), time.Since(began).Round(time.Millisecond))
}

// seenIn asks a leaking guest so many times, each time with another secret, and returns
// how often the instance was not clean.
func seenIn(t *testing.T, b *bench, wasm []byte, isolation orlav1.Isolation, rounds int) int64 {
	t.Helper()
	h := b.load(t, "app", wasm, &orlav1.Function{Isolation: isolation}).Handler("/*", "")
	var next, seen atomic.Int64
	parallel(clients, func(int) {
		for i := next.Add(1); i <= int64(rounds); i = next.Add(1) {
			req := get("/")
			req.Header.Set("X-Secret", fmt.Sprintf("secret number %d", i))
			switch r := ask(h, req); {
			case r.status != http.StatusOK || !strings.HasPrefix(r.body, "n="):
				t.Errorf("answer %d %q, %v", r.status, r.body, r.err)
				return
			case r.body != "n=1 seen=0":
				seen.Add(1)
			}
		}
	})
	return seen.Load()
}

// parallel runs f n times at once.
func parallel(n int, f func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { f(i) })
	}
	wg.Wait()
}

// TestDisturbed shows that instances are clean after requests that trap, exit, grow
// their memory, run out of time, or leave something running.
func TestDisturbed(t *testing.T) {
	b := newBench(t, guests.Child, runtime.Config{})
	for _, g := range []struct {
		language string
		wasm     []byte
		paths    map[string]int // what comes of them
	}{
		{"C", guests.C(t, "internal/hostile/testdata/disturbed.c", "-mexec-model=reactor"), map[string]int{
			"/": 200, "/trap": 502, "/grow": 200, "/grow-trap": 502, "/regrow": 200, "/deep": 200, "/loop": 504, "/log": 200,
		}},
		{"Go", guests.Go(t, "internal/hostile/testdata/disturbed"), map[string]int{
			"/": 200, "/trap": 502, "/exit": 502, "/grow": 200, "/loop": 504, "/sleep": 504, "/leave": 200,
		}},
	} {
		t.Run(g.language, func(t *testing.T) {
			clean := disturb(t, b, g.wasm, pooled, map[string]int{"/": 200})
			if clean == 0 {
				t.Error("nothing is seen where instances are pooled: the test shows nothing")
			}
			if n := disturb(t, b, g.wasm, request, g.paths); n > 0 {
				t.Errorf("%d requests have seen something of another", n)
			}
		})
	}
}

// disturb asks for all paths in turn, from several clients, with a plain request after
// each, and returns how many answers came from an instance that was not clean.
func disturb(t *testing.T, b *bench, wasm []byte, isolation orlav1.Isolation, paths map[string]int) int64 {
	t.Helper()
	h := b.load(t, "app", wasm, &orlav1.Function{
		Isolation: isolation, Timeout: durationpb.New(time.Second), Cpu: durationpb.New(300 * time.Millisecond),
	}).Handler("/*", "")
	fresh := ask(h, get("/"))
	if fresh.status != http.StatusOK {
		t.Fatalf("first answer %d %q, %v", fresh.status, fresh.body, fresh.err)
	}
	var seen atomic.Int64
	parallel(4, func(client int) {
		for path, want := range paths {
			for _, step := range []struct {
				path string
				want int
			}{{path, want}, {"/", http.StatusOK}} {
				req := get(step.path)
				req.Header.Set("X-Secret", fmt.Sprintf("secret of client %d", client))
				r := ask(h, req)
				if r.status != step.want {
					t.Errorf("%s: answer %d %q, %v, want %d", step.path, r.status, r.body, r.err, step.want)
				}
				if r.status == http.StatusOK && r.body != fresh.body {
					seen.Add(1)
				}
			}
		}
	})
	return seen.Load()
}

// TestCGI shows that a CGI program sees the environment, input and files of its own
// request only.
func TestCGI(t *testing.T) {
	b := newBench(t, guests.Child, runtime.Config{})
	f := &orlav1.Function{Files: []*orlav1.File{{Path: "/hello.txt", Digest: b.store.Put(t, []byte("hello")), Size: 5}}}
	h := b.load(t, "app", guests.C(t, "internal/guests/c/cgi.c"), f).Handler("/*", "")
	ok := func(path, want string) func(t *testing.T, client int) {
		return func(t *testing.T, _ int) {
			if r := ask(h, get(path)); r.status != http.StatusOK || r.body != want {
				t.Errorf("%s: answer %d %q, %v, want %q", path, r.status, r.body, r.err, want)
			}
		}
	}
	steps := []func(t *testing.T, client int){
		func(t *testing.T, client int) { // an environment
			req := get("/env")
			own := fmt.Sprintf("HTTP_X_SECRET=of %d\n", client)
			req.Header.Set("X-Secret", fmt.Sprintf("of %d", client))
			if r := ask(h, req); strings.Count(r.body, "HTTP_X_SECRET") != 1 || !strings.Contains(r.body, own) {
				t.Errorf("environment of client %d:\n%s", client, r.body)
			}
		},
		func(t *testing.T, _ int) {
			if r := ask(h, get("/env")); r.status != http.StatusOK || strings.Contains(r.body, "SECRET") {
				t.Errorf("environment without a secret:\n%s", r.body)
			}
		},
		func(t *testing.T, _ int) { // input that is not read
			req := get("/count")
			req.Method, req.ContentLength = http.MethodPost, 6
			req.Body = http.NoBody
			ask(h, req)
		},
		ok("/read-all", "0\n"),
		ok("/count", "1\n"),
		ok("/open-many", "127\n"), // the root is open too; all are left open
		ok("/close-stdin", "ok"),
		ok("/grow?8", "8\n"),
		ok("/count", "1\n"),
	}
	parallel(4, func(client int) {
		for range 10 {
			for _, step := range steps {
				step(t, client)
			}
		}
	})
}
