package runtime_test

import (
	"cmp"
	"net/http/httptest"
	"syscall"
	"testing"

	"github.com/orla-edge/orla/internal/guests"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/runtime"
)

func goCGI(t testing.TB) []byte { return guests.GoCommand(t, "internal/guests/gocgi") }

func goGuest(t testing.TB) []byte { return guests.Go(t, "internal/guests/handler") }

// cpu returns the CPU time that the process has used in nanoseconds: on a shared
// machine it tells more than the wall's.
func cpu() int64 {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

func BenchmarkHandler(b *testing.B) {
	for _, c := range []struct {
		name, path string
		wasm       func(testing.TB) []byte
		isolation  orlav1.Isolation
	}{
		{"Go", "/long-header", goGuest, 0},
		{"Go pooled", "/long-header", goGuest, orlav1.Isolation_ISOLATION_POOLED},
		{"Go fresh", "/long-header", goGuest, orlav1.Isolation_ISOLATION_FRESH},
		{"C", "", handlerGuest, 0},
		{"CGI in C", "", cgiGuest, 0},
		{"CGI in Go", "", goCGI, 0},
		{"CGI in Go fresh", "", goCGI, orlav1.Isolation_ISOLATION_FRESH},
	} {
		b.Run(c.name, func(b *testing.B) {
			h := newBench(b, runtime.Config{}).load(b, c.wasm(b), &orlav1.Function{Isolation: c.isolation}).Handler("/*", "")
			req := httptest.NewRequest("GET", cmp.Or(c.path, "/hello"), nil)
			began := cpu()
			defer func() { b.ReportMetric(float64(cpu()-began)/float64(b.N), "cpu-ns/op") }()
			for b.Loop() {
				w := httptest.NewRecorder()
				h.ServeHTTP(w, req)
				if w.Code != 200 {
					b.Fatal(w.Code, w.Body)
				}
			}
		})
	}
}
