package oci_test

import (
	"bytes"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.uber.org/goleak"

	"github.com/orla-edge/orla/internal/storetest"
	"github.com/orla-edge/orla/modules"
	"github.com/orla-edge/orla/modules/oci"
	"github.com/orla-edge/orla/modules/peer"
)

var (
	_ peer.Store  = (*oci.Store)(nil)
	_ peer.Keeper = (*oci.Store)(nil)
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// open returns a store in a new registry, which is served over TLS through wrap.
func open(t *testing.T, wrap func(http.Handler) http.Handler) (*oci.Store, *httptest.Server) {
	t.Helper()
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	server := httptest.NewTLSServer(wrap(registry.New(registry.Logger(log.New(io.Discard, "", 0)))))
	t.Cleanup(server.Close)
	s, err := oci.New(oci.Config{Repository: server.Listener.Addr().String() + "/team/blobs", Transport: server.Client().Transport})
	if err != nil {
		t.Fatal(err)
	}
	return s, server
}

func plain(h http.Handler) http.Handler { return h }

// ranges makes a registry that says that it knows range requests.
func ranges(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Accept-Ranges", "bytes")
		h.ServeHTTP(w, r)
	})
}

func TestStore(t *testing.T) {
	for name, wrap := range map[string]func(http.Handler) http.Handler{"plain": plain, "with ranges": ranges} {
		t.Run(name, func(t *testing.T) {
			s, _ := open(t, wrap)
			storetest.Run(t, s)
		})
	}
}

func TestKeepNamesEveryBlobInAManifest(t *testing.T) {
	const n = 1501 // more than one manifest has
	var pushed int
	s, server := open(t, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/") {
				pushed++
			}
			h.ServeHTTP(w, r)
		})
	})
	blobs := map[modules.Digest]int64{}
	for i := range n {
		b := storetest.Blob(i, 32)
		blobs[modules.Sum(b)] = 32
		if err := s.Put(t.Context(), modules.Sum(b), 32, bytes.NewReader(b)); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := s.Keep(t.Context(), blobs); err != nil {
			t.Fatal(err)
		}
	}
	if pushed != 2 {
		t.Errorf("%d manifests were pushed, want 2: the second Keep has nothing to add", pushed)
	}
	named := map[string]int64{}
	for _, tag := range tags(t, server) {
		var m ocispec.Manifest
		get(t, server, "/v2/team/blobs/manifests/"+tag, &m)
		for _, l := range m.Layers {
			named[string(l.Digest)] = l.Size
		}
	}
	for d, size := range blobs {
		if named[d.String()] != size {
			t.Errorf("no manifest names %s with %d bytes", d, size)
		}
	}
}

func tags(t *testing.T, server *httptest.Server) []string {
	t.Helper()
	var list struct{ Tags []string }
	get(t, server, "/v2/team/blobs/tags/list", &list)
	if len(list.Tags) != 2 || slices.ContainsFunc(list.Tags, func(s string) bool { return !strings.HasPrefix(s, "orla-") }) {
		t.Errorf("tags %v, want 2 that begin with orla-", list.Tags)
	}
	return list.Tags
}

func get(t *testing.T, server *httptest.Server, path string, into any) {
	t.Helper()
	resp, err := server.Client().Get(server.URL + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		t.Fatal(err)
	}
}

func TestRefusals(t *testing.T) {
	s, _ := open(t, func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) })
	})
	if err := s.Put(t.Context(), modules.Sum([]byte("x")), 1, strings.NewReader("x")); err == nil || !strings.Contains(err.Error(), "DOCKER_CONFIG") {
		t.Errorf("Put = %v, want a hint at DOCKER_CONFIG", err)
	}
	if err := s.Keep(t.Context(), map[modules.Digest]int64{{}: 1}); err == nil || !strings.Contains(err.Error(), s.String()) {
		t.Errorf("Keep = %v, want the store's name", err)
	}
	for _, bad := range []string{"", "registry.example", "registry.example/a:tag", "registry.example/UPPER"} {
		if _, err := oci.New(oci.Config{Repository: bad}); err == nil {
			t.Errorf("New(%q) = nil", bad)
		}
	}
}
