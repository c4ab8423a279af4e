package compile_test

import (
	"os"
	"testing"
	"time"

	"github.com/orla-edge/orla/internal/guests"
	"github.com/orla-edge/orla/runtime/compile"
)

// BenchmarkLoad compares compiling in a child with compiling in process, and both with
// what a node does with code that it has compiled before.
func BenchmarkLoad(b *testing.B) {
	modules := []struct {
		name string
		wasm []byte
	}{
		{"tiny", answer(1)},
		{"C", guests.C(b, "internal/guests/c/handler.c", "-mexec-model=reactor")},
		{"Go", guests.Go(b, "internal/guests/handler")},
	}
	for _, m := range modules {
		for _, how := range []struct {
			name    string
			command []string
			cached  bool
		}{{"child", child(b, "compile"), false}, {"in-process", nil, false}, {"cached", nil, true}} {
			b.Run(m.name+"/"+how.name, func(b *testing.B) {
				l := newLab(b, compile.Config{Dir: b.TempDir(), Command: how.command, Timeout: time.Minute})
				if how.cached {
					if err := l.Compile(b.Context(), "tenant", m.wasm); err != nil {
						b.Fatal(err)
					}
				}
				for b.Loop() {
					loaded, err := l.Load(b.Context(), l.rt, "tenant", m.wasm)
					if err != nil {
						b.Fatal(err)
					}
					b.StopTimer()
					if info, err := os.Stat(compile.Code(l.Compiler, m.wasm)); err == nil {
						b.ReportMetric(float64(info.Size()), "code-B")
					}
					b.ReportMetric(float64(len(m.wasm)), "wasm-B")
					loaded.Close(b.Context())
					if !how.cached {
						os.Remove(compile.Index(l.Compiler, m.wasm))
					}
					b.StartTimer()
				}
			})
		}
	}
}
