//go:build linux

package e2e

import (
	"crypto/rand"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestDiskFull deploys more than the node's disk holds: the deploy is refused
// with the reason, what is live is served on, and with space again it succeeds.
func TestDiskFull(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("a disk of its own needs root to mount it; run CI as root")
		}
		t.Skip("a disk of its own needs root to mount it")
	}
	data := t.TempDir()
	if err := syscall.Mount("tmpfs", data, "tmpfs", 0, "size=24m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(data, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	n := start(t, data, "--tls", "off")
	t.Cleanup(n.kill) // before the disk goes
	dir := t.TempDir()
	writeTree(t, dir, map[string]string{"orla.toml": "name = \"full\"\n[site]\ndir = \"public\"\n", "public/index.html": "small"})
	if err := n.deploy(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	noise := make([]byte, 40<<20)
	_, _ = rand.Read(noise) // never fails
	big := filepath.Join(dir, "public", "big.bin")
	if err := os.WriteFile(big, noise, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := n.orla("deploy", dir)
	if err == nil || !strings.Contains(out, "space") {
		t.Errorf("deploy on a full disk: %v, printed %q, want a failure that says so", err, out)
	}
	c := &http.Client{}
	defer c.CloseIdleConnections()
	if status, body, err := get(c, n.http+"/"); err != nil || status != 200 || body != "small" {
		t.Errorf("after the refused deploy GET / = %d %q %v", status, body, err)
	}
	if err := os.WriteFile(big, noise[:1<<20], 0o600); err != nil {
		t.Fatal(err)
	}
	if err := n.deploy(t.Context(), dir); err != nil {
		t.Errorf("deploy with space again: %v\n%s", err, n.log)
	}
}
