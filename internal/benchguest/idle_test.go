package benchguest

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net/http/httptest"
	"os"
	"regexp"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/orla-edge/orla/internal/guests"
	"github.com/orla-edge/orla/modules"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/runtime"
)

// BenchmarkIdle loads as many functions as -benchtime says (10000x), each a module of
// its own, which children compile, and keeps them all deployed. Then it reports what
// the process has come to hold, and what the first request to a function costs that has
// been put out of memory meanwhile.
func BenchmarkIdle(b *testing.B) {
	store := newFamily(b)
	e := newEngine(b, store)
	keep := func(p *runtime.Program) {
		b.Cleanup(func() {
			if err := p.Close(context.WithoutCancel(b.Context())); err != nil {
				b.Error(err)
			}
		})
	}
	keep(store.load(b, e, "app0", 0)) // what the first one costs is the engine's
	before := resident(b)
	var serial atomic.Uint32
	var mu sync.Mutex
	var all []*runtime.Program
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			n := serial.Add(1)
			p := store.load(b, e, fmt.Sprint("app", n), n)
			mu.Lock()
			all = append(all, p)
			mu.Unlock()
		}
	})
	b.StopTimer()
	held := resident(b) - before
	for _, p := range all {
		keep(p)
	}
	b.ReportMetric(float64(held)/(1<<20), "MiB")
	b.ReportMetric(float64(held)/1024/float64(b.N), "KiB/function")
	first(b, all)
}

// first calls functions that are out of memory.
func first(b *testing.B, all []*runtime.Program) {
	var took []time.Duration
	for _, p := range all {
		if p.Stats().Loaded {
			continue
		}
		w := httptest.NewRecorder()
		began := time.Now()
		p.Handler("/*", "").ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		took = append(took, time.Since(began))
		if w.Code != 200 || w.Body.String() != "hello" {
			b.Fatal(w.Code, w.Body)
		}
		if len(took) == 500 {
			break
		}
	}
	if len(took) > 0 {
		slices.Sort(took)
		b.ReportMetric(float64(took[len(took)/2].Microseconds()), "first-p50-µs")
		b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "first-p99-µs")
	}
}

func newEngine(b *testing.B, blobs runtime.Blobs) *runtime.Engine {
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	ctx := context.WithoutCancel(b.Context())
	e, err := runtime.New(ctx, runtime.Config{Blobs: blobs, CacheDir: b.TempDir(), CompileCommand: []string{self, "compile"}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := e.Close(ctx); err != nil {
			b.Error(err)
		}
	})
	return e
}

// resident returns how many bytes of memory the process has, after a collection.
func resident(b *testing.B) int64 {
	debug.FreeOSMemory()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Skip("only Linux tells how much memory a process has: ", err)
	}
	found := regexp.MustCompile(`VmRSS:\s+(\d+) kB`).FindSubmatch(status)
	if found == nil {
		b.Fatalf("no VmRSS in %s", status)
	}
	n, err := strconv.ParseInt(string(found[1]), 10, 64)
	if err != nil {
		b.Fatal(err)
	}
	return n << 10
}

// family makes modules that differ in one instruction, and holds none of them.
type family struct {
	wasm []byte
	at   int // of the number, five bytes of LEB128

	mu      sync.Mutex // guards serials
	serials map[modules.Digest]uint32
}

const marker = 0x5ca1ab1e

func newFamily(b *testing.B) *family {
	f := &family{serials: make(map[modules.Digest]uint32)}
	f.wasm = guests.C(b, "internal/guests/c/hello.c", "-mexec-model=reactor", fmt.Sprintf("-DSERIAL=%#x", marker))
	mark := leb(marker)
	if f.at = bytes.Index(f.wasm, mark); f.at < 0 || bytes.Count(f.wasm, mark) != 1 {
		b.Fatal("the module does not hold the marker once")
	}
	return f
}

// leb encodes a number of 31 bits, whose highest is set.
func leb(n uint32) []byte { return binary.AppendUvarint(nil, uint64(n)) }

func (f *family) make(serial uint32) []byte {
	wasm := slices.Clone(f.wasm)
	copy(wasm[f.at:], leb(1<<30|serial))
	return wasm
}

// load deploys a module of the family.
func (f *family) load(b *testing.B, e *runtime.Engine, app string, serial uint32) *runtime.Program {
	d := modules.Sum(f.make(serial))
	f.mu.Lock()
	f.serials[d] = serial
	f.mu.Unlock()
	p, err := e.Load(context.WithoutCancel(b.Context()), app, &orlav1.Function{Name: "fn", Module: d.String()})
	if err != nil {
		b.Error(err)
		b.FailNow()
	}
	return p
}

// Read implements [runtime.Blobs].
func (f *family) Read(d modules.Digest, _ int64) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.make(f.serials[d]), nil
}

// Open implements [runtime.Blobs]: the functions have no files.
func (f *family) Open(modules.Digest) (*os.File, error) { return nil, modules.ErrNotFound }
