// Package example runs the apps of examples/ in tests: it packs one as orla deploy
// does, loads its functions and serves them on a port.
package example

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/orla-edge/orla/app"
	"github.com/orla-edge/orla/internal/guests"
	"github.com/orla-edge/orla/runtime"
)

// Serve builds the app in dir, packs it and serves its only function, as on the routes
// "/*". It returns the base URL.
func Serve(t testing.TB, dir string, build bool) string {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	var out bytes.Buffer
	pkg, err := app.Pack(ctx, app.Options{Path: dir, Build: build, Stdout: &out, Stderr: &out})
	if err != nil {
		t.Fatalf("pack: %v\n%s", err, &out)
	}
	if n := len(pkg.Manifest.GetFunctions()); n != 1 {
		t.Fatalf("the app has %d functions, want 1", n)
	}
	store := guests.NewStore(t)
	put(t, store, pkg)
	f := pkg.Manifest.GetFunctions()[0]
	e, err := runtime.New(ctx, runtime.Config{Blobs: store, CacheDir: guests.CompileCache(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { close(ctx, t, e) })
	p, err := e.Load(ctx, pkg.Manifest.GetName(), f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { close(ctx, t, p) })
	srv := httptest.NewServer(p.Handler("/*", ""))
	t.Cleanup(srv.Close)
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	return srv.URL
}

func close(ctx context.Context, t testing.TB, c interface{ Close(context.Context) error }) {
	t.Helper()
	if err := c.Close(ctx); err != nil {
		t.Error(err)
	}
}

// put stores what the package names, and compiles its modules ahead.
func put(t testing.TB, store *guests.Store, pkg *app.Package) {
	t.Helper()
	for _, b := range pkg.Blobs {
		r, _, err := pkg.Open(b.Digest)
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		if got := store.Put(t, content); got != b.Digest.String() {
			t.Fatalf("%s has digest %s, want %s", b.Path, got, b.Digest)
		}
		if strings.HasSuffix(b.Path, ".wasm") {
			guests.Warm(t, content)
		}
	}
}

// Case is a request and the answer that it should have.
type Case struct {
	Method, Path, Body string
	Status             int
	// Want is what the answer's body contains.
	Want string
}

// Check sends the requests.
func Check(t testing.TB, url string, cases []Case) {
	t.Helper()
	for _, c := range cases {
		req, err := http.NewRequestWithContext(t.Context(), c.Method, url+c.Path, strings.NewReader(c.Body))
		if err != nil {
			t.Fatal(err)
		}
		if c.Body != "" {
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		if e := resp.Body.Close(); err != nil || e != nil {
			t.Errorf("%s %s: %v, %v", c.Method, c.Path, err, e)
		}
		if resp.StatusCode != c.Status || !strings.Contains(string(b), c.Want) {
			t.Errorf("%s %s: %d %q, want %d with %q", c.Method, c.Path, resp.StatusCode, b, c.Status, c.Want)
		}
	}
}
