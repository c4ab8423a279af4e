package guests_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"testing"

	"go.uber.org/goleak"

	"github.com/orla-edge/orla/internal/guests"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/runtime"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestLeaks shows that each leaking guest builds, that it leaks where it can, and that
// it says so; and that it says nothing where it can't.
func TestLeaks(t *testing.T) {
	store := guests.NewStore(t)
	ctx := context.WithoutCancel(t.Context())
	e, err := runtime.New(ctx, runtime.Config{Blobs: store, CacheDir: guests.CompileCache(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	secrets := []string{"first", "the second", ""}
	for _, tt := range []struct {
		isolation orlav1.Isolation
		want      []string
	}{
		{orlav1.Isolation_ISOLATION_POOLED, []string{"n=1 seen=0", "n=2 seen=5", "n=3 seen=15"}},
		{orlav1.Isolation_ISOLATION_REQUEST, []string{"n=1 seen=0", "n=1 seen=0", "n=1 seen=0"}},
		{orlav1.Isolation_ISOLATION_FRESH, []string{"n=1 seen=0", "n=1 seen=0", "n=1 seen=0"}},
	} {
		for _, leak := range guests.Leaks(t) {
			t.Run(fmt.Sprint(leak.Language, " ", tt.isolation), func(t *testing.T) {
				p, err := e.Load(ctx, "app", &orlav1.Function{Name: "fn", Module: store.Put(t, leak.Wasm), Isolation: tt.isolation})
				if err != nil {
					t.Fatal(err)
				}
				defer func() {
					if err := p.Close(ctx); err != nil {
						t.Error(err)
					}
				}()
				h := p.Handler("/*", "")
				for i, secret := range secrets {
					r := httptest.NewRequestWithContext(t.Context(), "GET", "/", nil)
					r.Header.Set("X-Secret", secret)
					w := httptest.NewRecorder()
					h.ServeHTTP(w, r)
					if got := w.Body.String(); w.Code != 200 || got != tt.want[i] {
						t.Errorf("request %d: %d %q, want %q", i+1, w.Code, got, tt.want[i])
					}
				}
			})
		}
	}
}
