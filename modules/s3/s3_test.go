package s3_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"go.uber.org/goleak"

	"github.com/orla-edge/orla/internal/storetest"
	"github.com/orla-edge/orla/modules"
	"github.com/orla-edge/orla/modules/peer"
	"github.com/orla-edge/orla/modules/s3"
)

var _ peer.Store = (*s3.Store)(nil)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bucket serves a bucket over TLS and returns a configuration for it, and what the
// server has.
func bucket(t *testing.T) (s3.Config, *s3mem.Backend) {
	t.Helper()
	for _, name := range []string{"AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_SHARED_CREDENTIALS_FILE"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "key")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	mem := s3mem.New()
	if err := mem.CreateBucket("blobs"); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewTLSServer(gofakes3.New(mem).Server())
	t.Cleanup(server.Close)
	transport := server.Client().Transport
	return s3.Config{Endpoint: server.Listener.Addr().String(), Bucket: "blobs", Transport: transport}, mem
}

func open(t *testing.T, cfg s3.Config) *s3.Store {
	t.Helper()
	s, err := s3.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStore(t *testing.T) {
	for _, prefix := range []string{"", "team/orla"} {
		t.Run(prefix, func(t *testing.T) {
			cfg, _ := bucket(t)
			cfg.Prefix = prefix
			storetest.Run(t, open(t, cfg))
		})
	}
}

func TestKeys(t *testing.T) {
	cfg, mem := bucket(t)
	cfg.Prefix = "team/orla"
	s := open(t, cfg)
	b := []byte("content")
	digest := modules.Sum(b)
	if err := s.Put(t.Context(), digest, int64(len(b)), bytes.NewReader(b)); err != nil {
		t.Fatal(err)
	}
	hex := digest.Hex()
	if _, err := mem.HeadObject("blobs", "team/orla/blobs/sha256/"+hex[:2]+"/"+hex[2:]); err != nil {
		t.Error(err)
	}
	if got := s.String(); got != "s3://blobs/team/orla" {
		t.Errorf("String() = %q", got)
	}
}

func TestParts(t *testing.T) {
	if testing.Short() {
		t.Skip("17 MiB")
	}
	cfg, _ := bucket(t)
	s := open(t, cfg)
	b := storetest.Blob(1, 17<<20) // more than one part has
	other := modules.Sum([]byte("other"))
	if err := s.Put(t.Context(), other, int64(len(b)), bytes.NewReader(b)); err == nil {
		t.Error("Put of wrong parts = nil")
	}
	if ok, err := s.Has(t.Context(), other); ok || err != nil {
		t.Errorf("Has after wrong parts = %t, %v", ok, err)
	}
	if err := s.Put(t.Context(), modules.Sum(b), int64(len(b)), bytes.NewReader(b)); err != nil {
		t.Fatal(err)
	}
	if ok, err := s.Has(t.Context(), modules.Sum(b)); !ok || err != nil {
		t.Errorf("Has = %t, %v", ok, err)
	}
}

func TestRefusals(t *testing.T) {
	forbidden := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	t.Cleanup(forbidden.Close)
	cfg, _ := bucket(t)
	tests := []struct {
		name string
		cfg  s3.Config
		says string
	}{
		{"no bucket", s3.Config{Endpoint: cfg.Endpoint, Bucket: "other", Transport: cfg.Transport}, "no such bucket; create it"},
		{"not allowed", s3.Config{Endpoint: forbidden.Listener.Addr().String(), HTTP: true, Bucket: "blobs", Transport: forbidden.Client().Transport}, "AWS_ACCESS_KEY_ID"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := open(t, tt.cfg).Put(t.Context(), modules.Sum([]byte("x")), 1, strings.NewReader("x"))
			if err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("Put = %v, want %q", err, tt.says)
			}
		})
	}
	if _, err := s3.New(s3.Config{Endpoint: "http://a/b", Bucket: "x"}); err == nil {
		t.Error("New with a URL as endpoint = nil")
	}
}

// What a request is signed with comes from the environment, or else from the file.
func TestCredentials(t *testing.T) {
	file := filepath.Join(t.TempDir(), "credentials")
	content := "[default]\naws_access_key_id = fromfile\naws_secret_access_key = s\n[other]\naws_access_key_id = fromprofile\naws_secret_access_key = s\n"
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	var signed string
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { signed = r.Header.Get("Authorization") }))
	t.Cleanup(server.Close)
	tests := []struct{ name, key, profile, want string }{
		{"environment", "fromenv", "", "Credential=fromenv/"},
		{"file", "", "", "Credential=fromfile/"},
		{"profile", "", "other", "Credential=fromprofile/"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg, _ := bucket(t)
			t.Setenv("AWS_ACCESS_KEY_ID", tt.key)
			t.Setenv("AWS_SECRET_ACCESS_KEY", tt.key)
			cfg.Endpoint, cfg.HTTP, cfg.Transport = server.Listener.Addr().String(), true, server.Client().Transport
			cfg.Credentials, cfg.Profile = file, tt.profile
			open(t, cfg).Has(t.Context(), modules.Digest{})
			if !strings.Contains(signed, tt.want) || !strings.Contains(signed, "us-east-1") {
				t.Errorf("signed by %q, want %q", signed, tt.want)
			}
		})
	}
}
