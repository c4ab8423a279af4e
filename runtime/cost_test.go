package runtime

import (
	"context"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/orla-edge/orla/internal/guests"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

// BenchmarkInstance makes an instance from the image, which takes make-ns, and frees it.
// The other figures are of the same program: how long it took to prepare, to load
// compiled code from the cache and to initialise, what the image holds, and how much of
// it a request writes to, which is copied back after each.
func BenchmarkInstance(b *testing.B) {
	for _, g := range guests.Hellos(b) {
		b.Run(g.Language, func(b *testing.B) {
			ctx := context.WithoutCancel(b.Context())
			store := guests.NewStore(b)
			e, err := New(ctx, Config{Blobs: store, CacheDir: guests.CompileCache(b)})
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() {
				if err := e.Close(ctx); err != nil {
					b.Error(err)
				}
			})
			p, err := e.Load(ctx, "app", &orlav1.Function{Name: "fn", Module: store.Put(b, g.Wasm)})
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() {
				if err := p.Close(ctx); err != nil {
					b.Error(err)
				}
			})
			price(b, p, p.now.Load())
		})
	}
}

func price(b *testing.B, p *Program, l *loaded) {
	ctx := context.WithoutCancel(b.Context())
	var making time.Duration
	for b.Loop() {
		began := time.Now()
		i, err := l.make(ctx, p)
		if err != nil {
			b.Fatal(err)
		}
		making += time.Since(began)
		if err := l.discard(ctx, i); err != nil {
			b.Fatal(err)
		}
	}
	p.Handler("/*", "").ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
	if i := l.take(); i != nil {
		b.ReportMetric(float64(i.mem.Private())/1024, "written-KiB")
		l.keep(i)
	}
	c := l.snap.code.value
	b.ReportMetric(float64(making)/float64(b.N), "make-ns")
	b.ReportMetric(float64(c.preparing)/1e6, "prepare-ms")
	b.ReportMetric(float64(c.compiling)/1e6, "load-ms")
	b.ReportMetric(float64(l.snap.took)/1e6, "init-ms")
	b.ReportMetric(float64(l.snap.image.Resident())/1024, "image-KiB")
}
