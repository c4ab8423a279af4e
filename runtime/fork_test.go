package runtime

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/orla-edge/orla/internal/guests"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

// loadForTest returns a program in an engine of its own.
func loadForTest(t testing.TB, wasm []byte, f *orlav1.Function) *Program {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	store := guests.NewStore(t)
	e, err := New(ctx, Config{Blobs: store, CacheDir: guests.CompileCache(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	f.Name, f.Module = "fn", store.Put(t, wasm)
	p, err := e.Load(ctx, "app", f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return p
}

// TestCommandGoesOnFromItsRequest: a CGI program in Go is not begun anew for each request,
// and sees nothing of the others all the same.
func TestCommandGoesOnFromItsRequest(t *testing.T) {
	p := loadForTest(t, guests.GoCommand(t, "internal/guests/gocgi"), &orlav1.Function{Env: map[string]string{"GREETING": "hello"}})
	if l := p.now.Load(); !l.snap.forked {
		t.Fatal("it is begun anew for each request")
	}
	info, err := p.engine.Inspect(t.Context(), guests.GoCommand(t, "internal/guests/gocgi"))
	if err != nil || !info.Forked || info.Instance == 0 || info.Reset != 0 {
		t.Errorf("Inspect: %+v, %v, want a fork", info, err)
	}
	h := p.Handler("/*", "")
	var wg sync.WaitGroup
	for client := range 4 {
		wg.Go(func() {
			for n := range 20 {
				path, status := "/a", http.StatusOK
				switch n % 5 {
				case 2:
					path, status = "/panic", http.StatusBadGateway
				case 3:
					path = "/grow"
				}
				body := fmt.Sprintf("%d", 1000*client+n)
				w := httptest.NewRecorder()
				h.ServeHTTP(w, httptest.NewRequest("POST", path, strings.NewReader(body)))
				if path == "/grow" {
					body = "xxxx"
				}
				want := fmt.Sprintf("n=1 POST %s %q hello", path, body)
				if got := w.Body.String(); w.Code != status || status == http.StatusOK && got != want {
					t.Errorf("answer %d %q, want %d %q", w.Code, got, status, want)
				}
			}
		})
	}
	wg.Wait()
	if s := p.Stats(); s.Idle == 0 || s.Idle > 4 || s.Busy != 0 {
		t.Errorf("%+v, want some instances that wait for their next request", s)
	}
}

// TestCommandThatIsQuickIsBegunAnew: for a program that asks for its request at once,
// keeping it there is not worth it.
func TestCommandThatIsQuickIsBegunAnew(t *testing.T) {
	p := loadForTest(t, guests.C(t, "internal/guests/c/cgi.c"), &orlav1.Function{})
	if l := p.now.Load(); l.snap.forked {
		t.Error("it is kept where it asks for its request")
	}
}

// TestCommandThatPrintsFirstIsBegunAnew: what it prints before it asks for its request
// belongs to the answer of each.
func TestCommandThatPrintsFirstIsBegunAnew(t *testing.T) {
	for flag, forked := range map[string]bool{"-DEAGER": false, "-DPATIENT": true} {
		p := loadForTest(t, guests.C(t, "internal/guests/c/slow.c", flag), &orlav1.Function{})
		if got := p.now.Load().snap.forked; got != forked {
			t.Errorf("%s: kept where it asks for its request: %v, want %v", flag, got, forked)
		}
		for _, method := range []string{"GET", "PUT"} {
			w := httptest.NewRecorder()
			p.Handler("/*", "").ServeHTTP(w, httptest.NewRequest(method, "/", nil))
			if w.Code != http.StatusOK || w.Body.String() != method {
				t.Errorf("%s: answer %d %q, want %q", flag, w.Code, w.Body, method)
			}
		}
	}
}
