package wasm_test

import (
	"testing"
	"time"

	"github.com/tetratelabs/wazero/api"

	"github.com/orla-edge/orla/runtime/wasm"
)

func BenchmarkPrepare(b *testing.B) {
	m := goWork(b)
	b.SetBytes(int64(len(m)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := wasm.Prepare(m, wasm.Rules{}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkInstrumented reports what a prepared module takes over what it takes as it
// is, as the ratio of the fastest runs: ours/plain. units/ns is the fuel that a
// nanosecond burns.
func BenchmarkInstrumented(b *testing.B) {
	kinds := []struct {
		name    string
		n, of   uint64
		goGuest bool
	}{
		{"C/sha256", 6, 0, false},
		{"C/text", 20, 1, false},
		{"C/sort", 1, 2, false},
		{"C/fib", 24, 3, false},
		{"C/loop", 400_000, 4, false},
		{"C/dispatch", 100, 5, false},
		{"Go/sha256", 5, 0, true},
		{"Go/json", 8, 1, true},
		{"Go/sort", 1, 2, true},
		{"Go/fib", 21, 3, true},
		{"Go/loop", 400_000, 4, true},
	}
	for _, goGuest := range []bool{false, true} {
		m := cWork(b)
		if goGuest {
			m = goWork(b)
		}
		plain, prepared, e := both(b, m)
		e.slice = 500_000
		for _, k := range kinds {
			if k.goGuest == goGuest {
				b.Run(k.name, func(b *testing.B) { ratio(b, plain, prepared, k.of, k.n) })
			}
		}
	}
}

func ratio(b *testing.B, plain, prepared api.Module, kind, n uint64) {
	fs := [2]api.Function{plain.ExportedFunction("run"), prepared.ExportedFunction("run")}
	best := [2]time.Duration{1 << 62, 1 << 62}
	fuel := global(prepared, wasm.FuelGlobal)
	var spent int64
	for b.Loop() {
		for i, f := range fs {
			fuel.Set(1 << 50)
			start := time.Now()
			if _, err := f.Call(b.Context(), kind, n); err != nil {
				b.Fatal(err)
			}
			best[i] = min(best[i], time.Since(start))
			spent = 1<<50 - int64(fuel.Get())
		}
	}
	b.ReportMetric(float64(best[1])/float64(best[0]), "ours/plain")
	b.ReportMetric(float64(best[0].Microseconds()), "plain-µs")
	b.ReportMetric(float64(spent)/float64(best[1].Nanoseconds()), "units/ns")
	b.ReportMetric(0, "ns/op")
}
