package hostile

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/orla-edge/orla/internal/guests"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/runtime"
	"github.com/orla-edge/orla/runtime/compile"
	"github.com/orla-edge/orla/telemetry"
)

// The first argument of a child: the second kind has little time and memory, so that a
// test need not wait until a node's limits are reached.
const (
	compileChild = "compile"
	poorChild    = "compile-poor"
)

// TestMain is also what the children run that compile.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch args := os.Args[2:]; os.Args[1] {
		case compileChild:
			os.Exit(compile.Child(context.Background(), args, os.Stdin, os.Stderr))
		case poorChild:
			go beFrugal()
			args = slices.Concat(args, []string{"--memory", "100663296"})
			os.Exit(compile.Child(context.Background(), args, os.Stdin, os.Stderr))
		}
	}
	goleak.VerifyTestMain(m)
}

// beFrugal sends what the kernel does at the limit of processor time, which it counts in
// seconds, after 150 ms of it.
func beFrugal() {
	for {
		time.Sleep(10 * time.Millisecond)
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			panic(err)
		}
		if u.Utime.Nano()+u.Stime.Nano() > int64(150*time.Millisecond) {
			if err := syscall.Kill(os.Getpid(), syscall.SIGXCPU); err != nil {
				panic(err)
			}
			return
		}
	}
}

// budget is what the instances of an engine may have.
const budget = 1 << 30

// bench is an engine with a store, which compiles in children.
type bench struct {
	*runtime.Engine
	store *guests.Store
}

func newBench(t *testing.T, child string, cfg runtime.Config) *bench {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{store: guests.NewStore(t)}
	cfg.Blobs, cfg.CacheDir, cfg.CompileCommand, cfg.MaxMemory = b.store, guests.CompileCache(t), []string{self, child}, budget
	cfg.Logger = slog.New(slog.NewTextHandler(io.Discard, nil)) //nolint:sloglint // it formats, as a real one does
	if b.Engine, err = runtime.New(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return b
}

// load prepares a function of an app, which is closed with the test.
func (b *bench) load(t *testing.T, app string, wasm []byte, f *orlav1.Function) *runtime.Program {
	t.Helper()
	p, err := b.tryLoad(t, app, wasm, f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return p
}

// tryLoad is load for modules that may be refused. The caller closes the program.
func (b *bench) tryLoad(t testing.TB, app string, wasm []byte, f *orlav1.Function) (*runtime.Program, error) {
	t.Helper()
	f = proto.CloneOf(f)
	f.Name, f.Module = "fn", b.store.Put(t, wasm)
	return b.Load(t.Context(), app, f)
}

// result is how a request has ended.
type result struct {
	status int // 0 if the connection was cut
	body   string
	took   time.Duration
	cpu    time.Duration
	err    error
}

// answer is where a guest writes to; it keeps the beginning only.
type answer struct {
	*httptest.ResponseRecorder
}

// Write implements [io.Writer].
func (a answer) Write(p []byte) (int, error) {
	const most = 1 << 20
	if _, err := a.ResponseRecorder.Write(p[:min(len(p), most-a.Body.Len())]); err != nil {
		return 0, err
	}
	return len(p), nil
}

// ask has a handler answer one request.
func ask(h http.Handler, req *http.Request) (res result) {
	rec := &telemetry.Request{ID: "r1"}
	w := answer{httptest.NewRecorder()}
	began := time.Now()
	defer func() {
		res = result{w.Code, w.Body.String(), time.Since(began), rec.CPU, rec.Err}
		if p := recover(); p != nil {
			if err, ok := p.(error); !ok || !errors.Is(err, http.ErrAbortHandler) {
				panic(p)
			}
			res.status = 0
		}
	}()
	h.ServeHTTP(w, req.WithContext(telemetry.WithRequest(req.Context(), rec)))
	return
}

func get(path string) *http.Request { return httptest.NewRequest(http.MethodGet, path, nil) }
