package hostile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/orla-edge/orla/internal/guests"
	"github.com/orla-edge/orla/internal/guests/hostile"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/runtime"
)

const (
	// patience is how long after its deadline a guest may run for the test to pass. How
	// long it does is reported: a test that failed by milliseconds would fail at random.
	patience = 5 * time.Second
	deadline = 100 * time.Millisecond
	cpuLimit = 50 * time.Millisecond
)

// limited is a function with a limit that ends guests.
type limited struct {
	name     string
	function *orlav1.Function
	// words are in the error of a request that was ended.
	words string
	// over returns by how much a request has exceeded the limit.
	over func(result) time.Duration
}

func limits() []limited {
	return []limited{
		{
			"timeout", &orlav1.Function{Timeout: durationpb.New(deadline)}, "timeout has passed",
			func(r result) time.Duration { return r.took - deadline },
		},
		{
			"cpu", &orlav1.Function{Cpu: durationpb.New(cpuLimit)}, "CPU time",
			func(r result) time.Duration { return r.cpu - cpuLimit },
		},
	}
}

// overshoots are how far limits were exceeded.
type overshoots struct {
	times
	module string // that went farthest
	most   time.Duration
}

func (o *overshoots) add(module string, d time.Duration) {
	if len(o.times) == 0 || d > o.most {
		o.module, o.most = module, d
	}
	o.times = append(o.times, d)
}

// TestHostile runs guests that mean harm while another tenant is served and garbage is
// collected: each comes to its end, and the other notices nothing but less of the machine.
func TestHostile(t *testing.T) {
	watchMemory(t)
	b := newBench(t, guests.Child, runtime.Config{Timeout: time.Minute})
	n := newNeighbour(t, b)
	quiet := n.during(t, nil)
	over := map[string]*overshoots{}
	loud := n.during(t, func() {
		for _, l := range limits() {
			over[l.name] = new(overshoots)
			for _, m := range hostile.Of(hostile.Deadline) {
				t.Run(l.name+"/"+m.Name, func(t *testing.T) { testDeadline(t, b, l, m, over[l.name]) })
			}
		}
		for _, m := range hostile.Of(hostile.Crash) {
			t.Run("crash/"+m.Name, func(t *testing.T) { testCrash(t, b, m) })
		}
		for _, m := range hostile.Of(hostile.Survives) {
			t.Run("survives/"+m.Name, func(t *testing.T) { testSurvives(t, b, m) })
		}
	})
	for _, l := range limits() {
		o := over[l.name]
		t.Logf("beyond %-7s %s (%s)", l.name, o.times, o.module)
	}
	t.Logf("neighbour quiet  %s", quiet)
	t.Logf("neighbour loud   %s", loud)
}

// TestHostCalls runs guests that have the host work for them, in few and long calls.
func TestHostCalls(t *testing.T) {
	watchMemory(t)
	b := newBench(t, guests.Child, runtime.Config{Timeout: time.Minute})
	n := newNeighbour(t, b)
	quiet := n.during(t, nil)
	wasm := guests.C(t, "internal/hostile/testdata/greedy.c", "-mexec-model=reactor")
	over := map[string]*overshoots{}
	loud := n.during(t, func() {
		for _, l := range limits() {
			over[l.name] = new(overshoots)
			h := b.load(t, "hostile", wasm, l.function).Handler("/*", "")
			for _, path := range []string{"/random", "/names", "/body", "/clocks", "/inputs", "/lines", "/pieces"} {
				t.Run(l.name+path, func(t *testing.T) {
					req := get(path)
					for i := range 2000 {
						req.Header.Set(fmt.Sprintf("X-Name-%d", i), "1")
					}
					testEnds(t, h, req, l, path, over[l.name])
				})
			}
		}
	})
	for _, l := range limits() {
		o := over[l.name]
		t.Logf("beyond %-7s %s (%s)", l.name, o.times, o.module)
	}
	t.Logf("neighbour quiet  %s", quiet)
	t.Logf("neighbour loud   %s", loud)
}

// testDeadline has two clients ask a guest that nothing but the limit ends.
func testDeadline(t *testing.T, b *bench, l limited, m hostile.Module, over *overshoots) {
	p := b.load(t, "hostile", m.Wasm, l.function)
	testEnds(t, p.Handler("/*", ""), get("/"), l, m.Name, over)
	checkLeft(t, p, 2)
}

// testEnds sends a request twice, at one time.
func testEnds(t *testing.T, h http.Handler, req *http.Request, l limited, name string, over *overshoots) {
	t.Helper()
	results := make(chan result, 2)
	for range cap(results) {
		go func() { results <- ask(h, req) }()
	}
	for range cap(results) {
		r := wait(t, results, time.Minute)
		over.add(name, l.over(r))
		if r.status != http.StatusGatewayTimeout && r.status != 0 || r.err == nil || !strings.Contains(r.err.Error(), l.words) {
			t.Errorf("ended after %s with %d, %v, want 504, %s", r.took, r.status, r.err, l.words)
		}
		if l.over(r) > patience {
			t.Errorf("ended %s late", l.over(r))
		}
	}
}

// wait returns what c yields. The memory of a guest that does not end cannot be taken
// away, as the end of the test would do: the process ends.
func wait[T any](t *testing.T, c <-chan T, most time.Duration) T {
	t.Helper()
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case v := <-c:
		return v
	case <-timer.C:
		fmt.Fprintf(os.Stderr, "%s: still not ended after %s\n", t.Name(), most)
		os.Exit(1)
	}
	panic("not reached")
}

// checkLeft checks that no more instances are left than there were requests at a time.
func checkLeft(t *testing.T, p *runtime.Program, most int) {
	t.Helper()
	if s := p.Stats(); s.Busy != 0 || s.Idle > most || s.Memory > int64(most)*64<<20 {
		t.Errorf("afterwards: %+v, want none busy and at most %d idle", s, most)
	}
}

// testCrash asks a guest that crashes, until the node stops calling it.
func testCrash(t *testing.T, b *bench, m hostile.Module) {
	p := b.load(t, "hostile", m.Wasm, &orlav1.Function{})
	h := p.Handler("/*", "")
	var got []int
	for range 12 {
		got = append(got, ask(h, get("/")).status)
	}
	want := slices.Repeat([]int{http.StatusBadGateway}, 10)
	if want = append(want, http.StatusServiceUnavailable, http.StatusServiceUnavailable); !slices.Equal(got, want) {
		t.Errorf("answers %d, want %d", got, want)
	}
	if c := p.Circuit(); !c.Open || c.Failures != 10 {
		t.Errorf("circuit %+v, want it open after 10 failures", c)
	}
	checkLeft(t, p, 1)
}

// testSurvives asks a guest that wants too much, and takes no for an answer.
func testSurvives(t *testing.T, b *bench, m hostile.Module) {
	p := b.load(t, "hostile", m.Wasm, &orlav1.Function{})
	h := p.Handler("/*", "")
	for range 3 {
		if r := ask(h, get("/")); r.status != http.StatusOK {
			t.Errorf("answer %d, %v, want 200", r.status, r.err)
		}
	}
	checkLeft(t, p, 1)
}

// TestTraps shows that ten thousand traps leave nothing behind, whether the node goes on
// calling the guest or not.
func TestTraps(t *testing.T) {
	b := newBench(t, guests.Child, runtime.Config{})
	rounds := 10_000
	if raceEnabled {
		rounds = 500
	}
	wasm := guests.C(t, "internal/guests/c/handler.c", "-mexec-model=reactor")
	for _, tt := range []struct {
		name  string
		paths []string // asked for in turn
		least int      // traps
		most  int
	}{
		{"traps between other requests", []string{"/fault/unreachable", "/hello"}, rounds, rounds},
		{"traps in a row", []string{"/fault/unreachable"}, 10, 100},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := b.load(t, "app", wasm, &orlav1.Function{})
			h := p.Handler("/*", "")
			ask(h, get("/hello"))
			before, codes := mappings(t), map[int]int{}
			for range rounds {
				for _, path := range tt.paths {
					codes[ask(h, get(path)).status]++
				}
			}
			if n := codes[http.StatusBadGateway]; n < tt.least || n > tt.most {
				t.Errorf("%d requests trapped, want %d to %d", n, tt.least, tt.most)
			}
			if n := codes[http.StatusOK] + codes[http.StatusBadGateway] + codes[http.StatusServiceUnavailable]; n != rounds*len(tt.paths) {
				t.Errorf("answers %d, want 200, 502 and 503 only", codes)
			}
			checkLeft(t, p, 1)
			if after := mappings(t); after > before+50 {
				t.Errorf("the process has %d mappings of memory, %d before", after, before)
			}
		})
	}
}

// mappings returns how many ranges of memory the process has; 0 where nobody tells.
func mappings(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile("/proc/self/maps")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return bytes.Count(b, []byte{'\n'})
}

// TestLoad loads modules that are refused, that cost a compiler too much, and whose
// initialisation fails or never ends, while another tenant is served.
func TestLoad(t *testing.T) {
	watchMemory(t)
	b := newBench(t, guests.PoorChild, runtime.Config{})
	n := newNeighbour(t, b)
	quiet := n.during(t, nil)
	var refused, bombs times
	loud := n.during(t, func() {
		var inits sync.WaitGroup
		defer inits.Wait()
		for _, m := range hostile.Of(hostile.FailsInit) {
			inits.Go(func() {
				if err := tryLoad(b, t, m); !isFault(err) {
					t.Errorf("load %q: %v, want a fault of the function", m.Name, err)
				}
			})
		}
		for _, m := range hostile.Of(hostile.Refused) {
			began := time.Now()
			if err := tryLoad(b, t, m); !isFault(err) {
				t.Errorf("load %q: %v, want a fault of the function", m.Name, err)
			}
			refused = append(refused, time.Since(began))
		}
		for _, m := range hostile.Of(hostile.Bomb) {
			began := time.Now()
			if err := tryLoad(b, t, m); err != nil && !isFault(err) {
				t.Errorf("load %q: %v, want none or a fault of the function", m.Name, err)
			}
			bombs = append(bombs, time.Since(began))
		}
	})
	t.Logf("refusals         %s", refused)
	t.Logf("bombs            %s", bombs)
	t.Logf("neighbour quiet  %s", quiet)
	t.Logf("neighbour loud   %s", loud)
}

// tryLoad loads a module and closes it at once.
func tryLoad(b *bench, t *testing.T, m hostile.Module) error {
	p, err := b.tryLoad(t, "hostile", m.Wasm, &orlav1.Function{})
	if err != nil {
		return err
	}
	return p.Close(context.WithoutCancel(t.Context()))
}

func isFault(err error) bool {
	var fault *runtime.FunctionError
	return errors.As(err, &fault)
}
