package node

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/orla-edge/orla/app"
	"github.com/orla-edge/orla/client"
	"github.com/orla-edge/orla/internal/leaks"
)

func TestMain(m *testing.M) { leaks.Main(m) }

// run starts a node in this process and stops it when the test ends. It returns
// the public base URLs, HTTP first.
func run(t testing.TB, cfg Config) []string {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	ready := make(chan []string, 1)
	if cfg.Output == nil {
		cfg.Output = io.Discard
	}
	cfg.Name, cfg.HTTP, cfg.HTTPS, cfg.Admin = "n1", "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	cfg.Ready = func(urls []string) { ready <- urls }
	done := make(chan error, 1)
	go func() { done <- Run(ctx, cfg) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	select {
	case urls := <-ready:
		return urls
	case err := <-done:
		done <- nil
		t.Fatalf("Run ended before the node was ready: %v", err)
		return nil
	}
}

// deploy packs the files and makes them live on the node of that data directory.
func deploy(t testing.TB, data string, files map[string]string) {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p, err := app.Pack(context.Background(), app.Options{Path: dir})
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.Find(client.Options{DataDir: data})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Deploy(context.Background(), p, client.DeployOptions{}, nil); err != nil {
		t.Fatal(err)
	}
}

func get(t testing.TB, c *http.Client, url string) (status int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

// trusting returns a client that trusts the node's own CA.
func trusting(t testing.TB, data string) *http.Client {
	t.Helper()
	pem, err := os.ReadFile(filepath.Join(data, "certs", "root.pem"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		t.Fatal("the root is not a certificate")
	}
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

var siteFiles = map[string]string{
	"orla.toml":          "name = \"demo\"\n[site]\ndir = \"public\"\n",
	"public/index.html":  "<h1>one</h1>",
	"public/about.html":  "<h1>about</h1>",
	"public/css/app.css": strings.Repeat("a { color: red }\n", 100),
}

func TestServesOverBothListeners(t *testing.T) {
	data := t.TempDir()
	urls := run(t, Config{Data: data})
	deploy(t, data, siteFiles)
	c := trusting(t, data)
	for _, base := range urls {
		if status, body := get(t, c, base+"/"); status != 200 || body != "<h1>one</h1>" {
			t.Errorf("GET %s/ = %d %q", base, status, body)
		}
	}
}

// TestRestartServes stops a node and starts another on its data.
func TestRestartServes(t *testing.T) {
	data := t.TempDir()
	t.Run("before", func(t *testing.T) {
		run(t, Config{Data: data, TLS: TLSOff})
		deploy(t, data, siteFiles)
	})
	t.Run("after", func(t *testing.T) {
		urls := run(t, Config{Data: data, TLS: TLSOff})
		if status, body := get(t, trustingNobody(t), urls[0]+"/about"); status != 200 || body != "<h1>about</h1>" {
			t.Errorf("GET /about after a restart = %d %q", status, body)
		}
	})
}

// TestServesWithoutRegister starts a node whose NATS store is a file: it can't
// be opened, and the last good state is served all the same.
func TestServesWithoutRegister(t *testing.T) {
	data := t.TempDir()
	t.Run("before", func(t *testing.T) {
		run(t, Config{Data: data, TLS: TLSOff})
		deploy(t, data, siteFiles)
	})
	if err := os.RemoveAll(filepath.Join(data, "nats")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(data, "nats"), []byte("not a directory"), 0o600); err != nil {
		t.Fatal(err)
	}
	urls := run(t, Config{Data: data, TLS: TLSOff})
	c := trustingNobody(t)
	if status, body := get(t, c, urls[0]+"/"); status != 200 || body != "<h1>one</h1>" {
		t.Errorf("GET / without a register = %d %q", status, body)
	}
	addr, err := os.ReadFile(filepath.Join(data, adminAddrFile))
	if err != nil {
		t.Fatal(err)
	}
	admin := strings.TrimSpace(string(addr))
	if status, body := get(t, c, admin+"/readyz"); status != 200 || !strings.Contains(body, "register") {
		t.Errorf("/readyz without a register = %d %q, want 200 and why changes can't be made", status, body)
	}
	if _, body := get(t, c, admin+"/healthz"); !strings.Contains(body, "degraded") {
		t.Errorf("/healthz without a register = %q, want degraded", body)
	}
}

func TestAddressInUse(t *testing.T) {
	taken, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	addr := taken.Addr().String()
	for flag, cfg := range map[string]Config{
		"--http":  {HTTP: addr, HTTPS: "127.0.0.1:0", Admin: "127.0.0.1:0"},
		"--https": {HTTP: "127.0.0.1:0", HTTPS: addr, Admin: "127.0.0.1:0"},
		"--admin": {HTTP: "127.0.0.1:0", HTTPS: "127.0.0.1:0", Admin: addr},
	} {
		cfg.Data, cfg.Output = t.TempDir(), io.Discard
		err := Run(t.Context(), cfg)
		if err == nil || !strings.Contains(err.Error(), flag+" "+addr) || !strings.Contains(err.Error(), "pass "+flag) {
			t.Errorf("%s on a taken port: %v, want an error that names the flag", flag, err)
		}
	}
}

func TestSecondNodeOnTheSameData(t *testing.T) {
	data := t.TempDir()
	run(t, Config{Data: data, TLS: TLSOff})
	err := Run(t.Context(), Config{Output: io.Discard, Data: data, TLS: TLSOff, HTTP: "127.0.0.1:0", Admin: "127.0.0.1:0"})
	if err == nil || !strings.Contains(err.Error(), data) || !strings.Contains(err.Error(), "--data") {
		t.Errorf("a second node on the same data: %v, want an error that names the directory and --data", err)
	}
}

func trustingNobody(t testing.TB) *http.Client {
	t.Helper()
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// TestDebugHeaders asks a node for its revision over the public listener.
func TestDebugHeaders(t *testing.T) {
	data := t.TempDir()
	urls := run(t, Config{Data: data, TLS: TLSOff})
	deploy(t, data, siteFiles)
	secret, err := os.ReadFile(filepath.Join(data, adminTokenFile))
	if err != nil {
		t.Fatal(err)
	}
	for token, want := range map[string]string{strings.TrimSpace(string(secret)): "n1", "orla_guess": ""} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, urls[0]+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Orla-Debug", "1")
		req.Header.Set("Orla-Token", token)
		res, err := trustingNobody(t).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if got := res.Header.Get("Orla-Node"); got != want || (want == "") != (res.Header.Get("Orla-Revision") == "") {
			t.Errorf("Orla-Node %q, Orla-Revision %q; want the node's name %q", got, res.Header.Get("Orla-Revision"), want)
		}
	}
}

// TestCleanCode: what an earlier version has compiled is gone soon after the start.
func TestCleanCode(t *testing.T) {
	data := t.TempDir()
	old := filepath.Join(data, "cache", "wasm", "p0-0123456789abcdef")
	if err := os.MkdirAll(old, 0o700); err != nil {
		t.Fatal(err)
	}
	ago := time.Now().Add(-72 * time.Hour)
	if err := os.Chtimes(old, ago, ago); err != nil {
		t.Fatal(err)
	}
	run(t, Config{Data: data, TLS: TLSOff})
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for range tick.C { // until it is gone, or the test's own deadline
		if _, err := os.Stat(old); errors.Is(err, fs.ErrNotExist) {
			return
		}
	}
}
