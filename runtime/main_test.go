package runtime_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/orla-edge/orla/internal/guests"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/runtime"
	"github.com/orla-edge/orla/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bench is an engine with a store and a log to look at.
type bench struct {
	*runtime.Engine
	store *guests.Store
	log   *logBuffer
}

func newBench(t testing.TB, cfg runtime.Config) *bench {
	t.Helper()
	b := &bench{store: guests.NewStore(t), log: new(logBuffer)}
	cfg.Blobs, cfg.CacheDir = b.store, guests.CompileCache(t)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.NewTextHandler(b.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	e, err := runtime.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	b.Engine = e
	return b
}

// load prepares a function whose module is wasm.
func (b *bench) load(t testing.TB, wasm []byte, f *orlav1.Function) *runtime.Program {
	t.Helper()
	p, err := b.tryLoad(t, wasm, f)
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

func (b *bench) tryLoad(t testing.TB, wasm []byte, f *orlav1.Function) (*runtime.Program, error) {
	t.Helper()
	f = proto.Clone(f).(*orlav1.Function)
	f.Name, f.Module = "fn", b.store.Put(t, wasm)
	return b.Load(t.Context(), "app", f)
}

func cgiGuest(t testing.TB) []byte { return guests.C(t, "internal/guests/c/cgi.c") }

func handlerGuest(t testing.TB) []byte {
	return guests.C(t, "internal/guests/c/handler.c", "-mexec-model=reactor")
}

// serve puts a function on a real server whose requests carry a record with id "r1".
// The record of the last finished request can be had from the returned function.
func serve(t testing.TB, h http.Handler) (url string, last func() *telemetry.Request) {
	t.Helper()
	done := make(chan *telemetry.Request, 1000)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := &telemetry.Request{ID: "r1"}
		defer func() { done <- rec }()
		h.ServeHTTP(w, r.WithContext(telemetry.WithRequest(r.Context(), rec)))
	}))
	srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	t.Cleanup(srv.Close)
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	return srv.URL, func() *telemetry.Request { return <-done }
}

// answer is a response, read whole; without a Response if the connection was cut
// before there was any.
type answer struct {
	*http.Response
	body string
	err  error // of reading
}

func do(t testing.TB, method, url string, body io.Reader) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	return send(t, req)
}

func get(t testing.TB, url string) answer {
	t.Helper()
	return do(t, http.MethodGet, url, nil)
}

func send(t testing.TB, req *http.Request) answer {
	t.Helper()
	req.Close = true // the server's Close waits for no idle connection
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if errors.Is(err, io.EOF) {
		return answer{err: err}
	}
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return answer{Response: resp, body: string(b), err: err}
}

// logBuffer collects a log of several goroutines.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// lines returns the log's lines that contain all of words.
func (l *logBuffer) lines(words ...string) []string {
	var found []string
line:
	for line := range strings.Lines(l.String()) {
		for _, w := range words {
			if !strings.Contains(line, w) {
				continue line
			}
		}
		found = append(found, line)
	}
	return found
}
