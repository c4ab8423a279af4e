package runtime_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	goruntime "runtime"
	"runtime/debug"
	"sync"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"github.com/orla-edge/orla/internal/guests"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/runtime"
	"github.com/orla-edge/orla/runtime/host"
	"github.com/orla-edge/orla/runtime/httpwasm"
)

// BenchmarkHello answers one request after the other with a handler in each language,
// without a network: by wazero as it comes, with a new instance for each request
// ("fresh") and with one instance for all ("reused", no isolation), and by a Program.
// All go through the same host functions. The ratios are of the CPU time.
func BenchmarkHello(b *testing.B) {
	for _, g := range guests.Hellos(b) {
		var fresh, reused float64
		against := func(b *testing.B, h http.Handler) {
			took := measure(b, h)
			b.ReportMetric(fresh/took, "fresh/ours")
			b.ReportMetric(took/reused, "ours/reused")
		}
		b.Run(g.Language+"/fresh", func(b *testing.B) { fresh = measure(b, newPlain(b, g.Wasm, true)) })
		b.Run(g.Language+"/reused", func(b *testing.B) { reused = measure(b, newPlain(b, g.Wasm, false)) })
		for _, isolation := range []orlav1.Isolation{orlav1.Isolation_ISOLATION_REQUEST, orlav1.Isolation_ISOLATION_POOLED} {
			name := map[orlav1.Isolation]string{1: "ours", 2: "ours-pooled"}[isolation]
			b.Run(g.Language+"/"+name, func(b *testing.B) { against(b, program(b, g.Wasm, isolation)) })
		}
	}
}

// BenchmarkCores answers requests with one processor and with two, in turns, and beside
// it does what needs nothing but a processor: more than that no program can gain. The
// rates are the best of all turns.
func BenchmarkCores(b *testing.B) {
	spin := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		x := uint32(1)
		for range 5000 {
			x ^= x << 13
			x ^= x >> 17
			x ^= x << 5
		}
		if x != 0 {
			w.Write([]byte("hello"))
		}
	})
	handlers := map[string]http.Handler{"spin": spin}
	names := []string{"spin"}
	for _, g := range guests.Hellos(b) {
		handlers[g.Language] = program(b, g.Wasm, 0)
		names = append(names, g.Language)
	}
	for _, name := range names {
		b.Run(name, func(b *testing.B) {
			best := [3]float64{}
			for b.Loop() {
				for _, cores := range []int{1, 2} {
					best[cores] = max(best[cores], rate(b, handlers[name], cores))
				}
			}
			b.ReportMetric(best[1], "one-req/s")
			b.ReportMetric(best[2], "two-req/s")
			b.ReportMetric(best[2]/best[1], "two/one")
		})
	}
}

// rate returns how many requests a second are answered with so many processors, each of
// which has a client.
func rate(b *testing.B, h http.Handler, cores int) float64 {
	const requests = 4000 // of each client: tens of milliseconds, so that the second one's start does not count
	defer goruntime.GOMAXPROCS(goruntime.GOMAXPROCS(cores))
	// A node has tens of megabytes on its heap; the collector of a process with four runs
	// two hundred times a second here, and stops both processors each time.
	defer debug.SetGCPercent(debug.SetGCPercent(1000))
	var clients sync.WaitGroup
	began := time.Now()
	for range cores {
		clients.Go(func() {
			w, r := newSink(), httptest.NewRequest("GET", "/hello", nil)
			for range requests {
				w.serve(b, h, r)
			}
		})
	}
	clients.Wait()
	return float64(cores*requests) / time.Since(began).Seconds()
}

// measure serves with h, and returns the CPU time of one request in nanoseconds.
func measure(b *testing.B, h http.Handler) float64 {
	w, r := newSink(), httptest.NewRequest("GET", "/hello", nil)
	w.serve(b, h, r)
	b.ReportAllocs()
	began := cpu()
	for b.Loop() {
		w.serve(b, h, r)
	}
	took := float64(cpu()-began) / float64(b.N)
	b.ReportMetric(took, "cpu-ns/op")
	return took
}

// sink is a ResponseWriter that costs as little as can be.
type sink struct {
	header http.Header
	status int
	body   []byte
}

func newSink() *sink { return &sink{header: make(http.Header)} }

func (s *sink) Header() http.Header    { return s.header }
func (s *sink) WriteHeader(status int) { s.status = status }

func (s *sink) Write(p []byte) (int, error) {
	s.body = append(s.body, p...)
	return len(p), nil
}

func (s *sink) serve(b testing.TB, h http.Handler, r *http.Request) {
	clear(s.header)
	s.status, s.body = 200, s.body[:0]
	h.ServeHTTP(s, r)
	if s.status != 200 || string(s.body) != "hello" {
		b.Errorf("%d %q", s.status, s.body)
	}
}

// program returns the Handler of a Program that is closed with the benchmark.
func program(b *testing.B, wasm []byte, isolation orlav1.Isolation) http.Handler {
	bench := newBench(b, runtime.Config{Logger: slog.New(slog.DiscardHandler)})
	return bench.load(b, wasm, &orlav1.Function{Isolation: isolation}).Handler("/*", "")
}

// plain answers with wazero as it comes.
type plain struct {
	rt       wazero.Runtime
	compiled wazero.CompiledModule
	log      *slog.Logger
	one      *export // nil: each request gets an instance of its own
}

func newPlain(b *testing.B, wasm []byte, fresh bool) *plain {
	ctx := context.WithoutCancel(b.Context())
	p := &plain{rt: wazero.NewRuntime(ctx), log: slog.New(slog.DiscardHandler)}
	b.Cleanup(func() { p.rt.Close(ctx) })
	wasi_snapshot_preview1.MustInstantiate(ctx, p.rt)
	if err := httpwasm.Instantiate(ctx, p.rt); err != nil {
		b.Fatal(err)
	}
	var err error
	if p.compiled, err = p.rt.CompileModule(ctx, wasm); err != nil {
		b.Fatal(err)
	}
	if !fresh {
		p.one = p.instantiate(ctx)
	}
	return p
}

// instantiate makes an instance and runs its initialisation.
func (p *plain) instantiate(ctx context.Context) *export {
	cfg := wazero.NewModuleConfig().WithName("").WithStartFunctions("_initialize").WithSysWalltime().WithSysNanotime()
	mod, err := p.rt.InstantiateModule(ctx, p.compiled, cfg)
	if err != nil {
		panic(err)
	}
	return &export{mod, mod.ExportedFunction(httpwasm.HandleRequest)}
}

func (p *plain) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	x := host.NewExchange(w, r)
	defer x.Close()
	e := p.one
	if e == nil {
		e = p.instantiate(ctx)
		defer e.mod.Close(ctx)
	}
	call := &httpwasm.Call{Exchange: x, Log: host.NewLog(ctx, p.log)}
	if err := call.Serve(ctx, e); err != nil {
		panic(err)
	}
}

// export is a handler's one export that is called here.
type export struct {
	mod     api.Module
	request api.Function
}

func (e *export) HandleRequest(ctx context.Context) (uint64, error) {
	var stack [1]uint64
	err := e.request.CallWithStack(ctx, stack[:])
	return stack[0], err
}

func (e *export) HandleResponse(context.Context, uint32, uint32) error { return nil }
