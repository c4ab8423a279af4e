package hostile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/orla-edge/orla/internal/guests"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/runtime"
	"github.com/orla-edge/orla/telemetry"
)

// compiler is the program that TestMain built.
var compiler string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "orla-hostile-")
	if err == nil {
		compiler, err = guests.Compiler(context.Background(), dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(dir) // a temporary folder
		os.Exit(code)
	}))
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
	b := &bench{store: guests.NewStore(t)}
	cfg.Blobs, cfg.CacheDir, cfg.CompileCommand, cfg.MaxMemory = b.store, guests.CompileCache(t), []string{compiler, child}, budget
	cfg.Logger = slog.New(slog.NewTextHandler(io.Discard, nil)) //nolint:sloglint // it formats, as a real one does
	var err error
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
