package main

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/orla-edge/orla/internal/guests"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/runtime"
)

func TestExample(t *testing.T) {
	t.Run("natively", func(t *testing.T) { check(t, newHandler("moin", slog.New(slog.DiscardHandler))) })
	t.Run("as a guest", func(t *testing.T) {
		store := guests.NewStore(t)
		ctx := context.WithoutCancel(t.Context())
		e, err := runtime.New(ctx, runtime.Config{Blobs: store, CacheDir: guests.CompileCache(t)})
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close(ctx)
		p, err := e.Load(ctx, "go-handler", &orlav1.Function{
			Name: "api", Module: store.Put(t, guests.Go(t, "examples/go-handler")), Env: map[string]string{"GREETING": "moin"},
		})
		if err != nil {
			t.Fatal(err)
		}
		check(t, p.Handler("/*", ""))
	})
}

func check(t *testing.T, h http.Handler) {
	t.Helper()
	srv := httptest.NewServer(h)
	defer srv.Close()
	for _, c := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"GET", "/hello/world", "", 200, "moin, world\n"},
		{"POST", "/sum", "[1, 2, 3.5]", 200, `{"sum":6.5}` + "\n"},
		{"POST", "/sum", "one", 400, "want a JSON array"},
		{"GET", "/count", "", 200, "data: 1\n\ndata: 2\n\ndata: 3\n\n"},
		{"POST", "/upper", "hello", 200, "HELLO"},
		{"GET", "/", "", 200, "try /hello/NAME"},
		{"DELETE", "/sum", "", 405, "Method Not Allowed"},
	} {
		req, _ := http.NewRequestWithContext(t.Context(), c.method, srv.URL+c.path, strings.NewReader(c.body))
		resp, err := srv.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != c.status || !strings.HasPrefix(string(b), c.want) {
			t.Errorf("%s %s: %d %q, want %d %q", c.method, c.path, resp.StatusCode, b, c.status, c.want)
		}
	}
}
