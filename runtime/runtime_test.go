package runtime_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"

	"github.com/orla-edge/orla/internal/guests"
	"github.com/orla-edge/orla/runtime"
)

func TestSmoke(t *testing.T) {
	store := guests.NewStore(t)
	e, err := runtime.New(t.Context(), runtime.Config{Blobs: store, CacheDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close(t.Context())
	p, err := e.Load(t.Context(), "demo", &orlav1.Function{Name: "api", Module: store.Put(t, guests.Go(t, "examples/go-handler")), Source: "api.wasm", Env: map[string]string{"GREETING": "moin"}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close(t.Context())
	srv := httptest.NewServer(p.Handler("/*", ""))
	defer srv.Close()
	resp, err := http.Get(srv.URL + "/hello/bob")
	if err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(resp.Body)
	t.Log(resp.Status, resp.Header, string(b))
	resp, err = http.Post(srv.URL+"/upper", "text/plain", strings.NewReader("hallo"))
	if err != nil {
		t.Fatal(err)
	}
	b, _ = io.ReadAll(resp.Body)
	t.Log(resp.Status, resp.Header, string(b))
}
