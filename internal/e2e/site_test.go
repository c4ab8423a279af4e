//go:build linux

package e2e

import (
	"bytes"
	"crypto/sha256"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/orla-edge/orla/app"
	"github.com/orla-edge/orla/client"
	"github.com/orla-edge/orla/internal/guests"
	"github.com/orla-edge/orla/site"
)

// TestRealSite deploys a real site of thousands of files, compares a crawl with
// the folder byte for byte, and deploys it again with one file changed.
func TestRealSite(t *testing.T) {
	dir := t.TempDir()
	public := filepath.Join(dir, "public")
	if err := os.CopyFS(public, os.DirFS(filepath.Join(guests.NodeModules(t), "monaco-editor"))); err != nil {
		t.Fatal(err)
	}
	writeTree(t, dir, map[string]string{"orla.toml": "name = \"monaco\"\n[site]\ndir = \"public\"\nhtml = \"none\"\n"})
	n := start(t, t.TempDir(), "--tls", "off")

	uploads := func() (blobs int64) {
		p, err := app.Pack(t.Context(), app.Options{Path: dir})
		if err != nil {
			t.Fatal(err)
		}
		_, err = n.client().Deploy(t.Context(), p, client.DeployOptions{}, func(e client.Event) {
			if e.Step == client.StepUpload {
				blobs = max(blobs, int64(e.Total))
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		return blobs
	}
	first := uploads()
	files, size := crawl(t, n.http, public)
	t.Logf("%d files, %d MiB, %d blobs uploaded", files, size>>20, first)
	if files < 1000 {
		t.Errorf("%d files are not thousands", files)
	}

	changed := filepath.Join(public, "README.md")
	if err := os.WriteFile(changed, []byte("changed\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if again := uploads(); again != 1 {
		t.Errorf("after one changed file %d blobs were uploaded, want 1", again)
	}
	crawl(t, n.http, public)
}

// crawl asks for every file of a folder and compares it with what is served.
func crawl(t *testing.T, base, dir string) (files int, size int64) {
	t.Helper()
	c := &http.Client{Transport: &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 8}}
	defer c.CloseIdleConnections()
	paths := make(chan string)
	var crawlers sync.WaitGroup
	for range 4 {
		crawlers.Go(func() {
			for path := range paths {
				compare(t, c, base, dir, path)
			}
		})
	}
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !site.Served("/"+path) {
			return err
		}
		info, err := d.Info()
		if err == nil {
			files, size = files+1, size+info.Size()
			paths <- path
		}
		return err
	})
	close(paths)
	crawlers.Wait()
	if err != nil {
		t.Fatal(err)
	}
	return files, size
}

func compare(t *testing.T, c *http.Client, base, dir, path string) {
	want, err := os.ReadFile(filepath.Join(dir, path))
	if err != nil {
		t.Error(err)
		return
	}
	status, body, err := get(c, base+(&url.URL{Path: "/" + path}).EscapedPath())
	if err != nil || status != 200 || !bytes.Equal([]byte(body), want) {
		t.Errorf("GET /%s = %d, %d bytes (%x), %v; want %d bytes (%x)", path, status, len(body), sha256.Sum256([]byte(body)), err, len(want), sha256.Sum256(want))
	}
}

// TestPython deploys CPython with a script and asks it.
func TestPython(t *testing.T) {
	n := start(t, t.TempDir(), "--tls", "off")
	dir := t.TempDir()
	writeTree(t, dir, map[string]string{
		"orla.toml":   "name = \"py\"\n[functions.py]\nmodule = \"python.wasm\"\nroutes = [\"/*\"]\nargs = [\"/app.py\"]\nfiles = \"py\"\nmemory = \"128MiB\"\ntimeout = \"30s\"\n",
		"py/app.py":   "import os, sys\nprint('Content-Type: text/plain')\nprint()\nprint(sys.version_info[0], os.environ['REQUEST_METHOD'], os.environ['QUERY_STRING'], sys.stdin.read())\n",
		"python.wasm": string(guests.Python(t)),
	})
	if err := n.deploy(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	res, err := http.Post(n.http+"/?a=1", "text/plain", strings.NewReader("body"))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(res.Body); err != nil || res.StatusCode != 200 || strings.TrimSpace(b.String()) != "3 POST a=1 body" {
		t.Errorf("CPython answered %d %q, %v\n%s", res.StatusCode, b.String(), err, n.log)
	}
	if out, err := n.orla("logs", "py"); err != nil || !strings.Contains(out, "POST") {
		t.Errorf("orla logs py: %v\n%s", err, out)
	}
}
