//go:build linux

package acmetest

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/orla-edge/orla/internal/lab"
)

// TestScan looks at a node with a CA of its own as strangers do. It takes minutes, and
// programs of Debian's: make scan-tls.
func TestScan(t *testing.T) {
	if os.Getenv("ORLA_SCAN_TLS") == "" {
		t.Skip("it takes minutes, and a browser: make scan-tls")
	}
	l := lab.New(t, lab.Options{HTTPPort: lab.FreePort(t), HTTPSPort: lab.FreePort(t), Args: []string{"--tls", "internal"}})
	n := l.Nodes[0]
	err := l.Deploy(t.Context(), map[string]string{
		"orla.toml": "name = \"scan\"\nhosts = [\"localhost\"]\n[site]\n", "public/index.html": greeting,
	})
	if err != nil {
		t.Fatal(err)
	}
	addr := strings.Replace(n.HTTPS(), "127.0.0.1", "localhost", 1)
	root := filepath.Join(n.Data, "certs", "root.pem")
	t.Run("sslscan", func(t *testing.T) { sslscan(t, addr) })
	t.Run("chromium", func(t *testing.T) { chromium(t, addr, root) })
	// A leaf of the node's own CA lives for a week, and says that there is nobody to ask
	// whether it was revoked (RFC 9608). testssl, up to 3.3dev of June 2026, looks at
	// neither: it finds fault with every certificate without CRL and OCSP.
	t.Run("testssl", func(t *testing.T) { testssl(t, addr, root, "cert_revocation") })
}

const greeting = "hello from this node"

// sslscan checks which versions of TLS there are.
func sslscan(t *testing.T, addr string) {
	t.Helper()
	out := run(t, nil, "sslscan", "--xml=-", addr)
	var scan struct {
		Protocols []struct {
			Type    string `xml:"type,attr"`
			Version string `xml:"version,attr"`
			Enabled string `xml:"enabled,attr"`
		} `xml:"ssltest>protocol"`
	}
	if err := xml.Unmarshal(out, &scan); err != nil {
		t.Fatalf("read what sslscan says: %v\n%s", err, out)
	}
	var enabled []string
	for _, p := range scan.Protocols {
		if p.Enabled == "1" {
			enabled = append(enabled, p.Type+p.Version)
		}
	}
	if slices.Sort(enabled); !slices.Equal(enabled, []string{"tls1.2", "tls1.3"}) {
		t.Errorf("enabled are %q of %v, want TLS 1.2 and 1.3", enabled, scan.Protocols)
	}
}

// testssl checks that nothing is found worse than LOW, but what is excused.
func testssl(t *testing.T, addr, root string, excused ...string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "out.json")
	env := []string{"DAYS2WARN1=3", "DAYS2WARN2=2"} // before a certificate ends, not 60 and 30
	out := run(t, env, "testssl", "--quiet", "--color", "0", "--warnings", "batch", "--jsonfile", file, "--add-ca="+root, addr)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("read what testssl says: %v\n%s", err, out)
	}
	var findings []struct{ ID, Severity, Finding string }
	if err := json.Unmarshal(text, &findings); err != nil {
		t.Fatalf("read what testssl says: %v\n%s", err, text)
	}
	for _, f := range findings {
		line := fmt.Sprintf("%s %s: %s", f.Severity, f.ID, f.Finding)
		switch f.Severity {
		case "OK", "INFO":
		case "LOW", "WARN": // a warning is about testssl itself
			t.Log(line)
		default:
			if slices.Contains(excused, f.ID) {
				t.Log("excused: " + line)
			} else {
				t.Error(line)
			}
		}
	}
	if len(findings) < 100 {
		t.Errorf("only %d findings: the scan was not complete\n%s", len(findings), out)
	}
}

// chromium checks that the browser takes the node for what it is once it has the root,
// and not before.
func chromium(t *testing.T, addr, root string) {
	t.Helper()
	for _, trusts := range []bool{false, true} {
		home := t.TempDir()
		db := filepath.Join(home, ".pki", "nssdb")
		if err := os.MkdirAll(db, 0o700); err != nil {
			t.Fatal(err)
		}
		run(t, nil, "certutil", "-d", "sql:"+db, "-N", "--empty-password")
		if trusts {
			run(t, nil, "certutil", "-d", "sql:"+db, "-A", "-t", "C,,", "-n", "orla", "-i", root)
		}
		page := run(t, []string{"HOME=" + home}, "chromium", "--headless", "--no-sandbox", "--disable-gpu",
			"--user-data-dir="+filepath.Join(home, "profile"), "--dump-dom", "https://"+addr+"/")
		if got := strings.Contains(string(page), greeting); got != trusts {
			t.Errorf("with the root imported %t, the page is shown %t\n%s", trusts, got, page)
		}
	}
}

// run runs a program and returns what it prints on its standard output.
func run(t *testing.T, env []string, name string, args ...string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), env...)
	var diagnostics strings.Builder
	cmd.Stderr = &diagnostics
	out, err := cmd.Output()
	if err != nil && name != "testssl" { // whose exit code counts findings
		t.Fatalf("%s: %v\n%s%s", name, err, out, diagnostics.String())
	}
	return out
}
