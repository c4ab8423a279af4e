package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	// What the demo is made of: a change there is one that Go's test cache sees.
	_ "github.com/orla-edge/orla/client"
	"github.com/orla-edge/orla/internal/process"
	_ "github.com/orla-edge/orla/node"
)

// TestDemo runs `make demo` as a person would, does what it says, and stops it
// with Ctrl-C.
func TestDemo(t *testing.T) {
	readAll(t) // as above
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	orla, err := process.Orla(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}

	demo := exec.CommandContext(t.Context(), "./demo.sh")
	demo.Env = append(os.Environ(), "ORLA="+orla, "DATA="+data, "HTTP=127.0.0.1:0", "HTTPS=127.0.0.1:0", "ADMIN=127.0.0.1:0")
	demo.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // as a terminal's foreground job
	demo.Cancel = func() error { return syscall.Kill(-demo.Process.Pid, syscall.SIGTERM) }
	demo.WaitDelay = 30 * time.Second
	out, err := demo.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	demo.Stderr = demo.Stdout
	if err := demo.Start(); err != nil {
		t.Fatal(err)
	}
	text := readUntil(t, out, "Ctrl-C stops the node")

	web, secure := found(t, text, `http://[^/ ]+`), found(t, text, `https://[^/ ]+`)
	root, err := os.ReadFile(filepath.Join(data, "certs", "root.pem"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(root)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	for _, want := range []struct {
		method, url, body string
		status            int
		text              string
	}{
		{"GET", web + "/", "", 200, "Hello from the edge"},
		{"GET", secure + "/about", "", 200, "About this app"},
		{"GET", web + "/nothing", "", 404, "There is no such page"},
		{"GET", web + "/api/hello?name=Ada", "", 200, `"greeting":"Olá, Ada!"`},
		{"POST", secure + "/api/shout", "is this the edge?", 200, "IS THIS THE EDGE?"},
		{"GET", secure + "/version", "", 200, "hello 1"},
	} {
		req, err := http.NewRequestWithContext(t.Context(), want.method, want.url, strings.NewReader(want.body))
		if err != nil {
			t.Fatal(err)
		}
		res, err := client.Do(req)
		if err != nil {
			t.Errorf("%s %s: %v", want.method, want.url, err)
			continue
		}
		b, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != want.status || !strings.Contains(string(b), want.text) {
			t.Errorf("%s %s = %d %q, %v, want %d with %q", want.method, want.url, res.StatusCode, b, err, want.status, want.text)
		}
	}

	if err := syscall.Kill(-demo.Process.Pid, syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	rest, _ := io.ReadAll(out)
	if err := demo.Wait(); err != nil {
		t.Errorf("the demo ends with %v, want an orderly end:\n%s", err, rest)
	}
	if _, err := os.Stat(data); !os.IsNotExist(err) {
		t.Errorf("the demo leaves %s behind (%v)", data, err)
	}
}

// readUntil returns what r says up to the line with text.
func readUntil(t *testing.T, r io.Reader, text string) string {
	t.Helper()
	var all strings.Builder
	lines := bufio.NewReader(r)
	for !strings.Contains(all.String(), text) {
		line, err := lines.ReadString('\n')
		all.WriteString(line)
		if err != nil {
			t.Fatalf("the demo ended before it said %q:\n%s", text, all.String())
		}
	}
	return all.String()
}

// readAll reads the example's files.
func readAll(t *testing.T) {
	t.Helper()
	err := fs.WalkDir(os.DirFS("."), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(name, ".wasm") {
			return err
		}
		_, err = os.ReadFile(name)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func found(t *testing.T, text, pattern string) string {
	t.Helper()
	m := regexp.MustCompile(pattern).FindString(text)
	if m == "" {
		t.Fatalf("the demo prints no %s:\n%s", pattern, text)
	}
	return m
}
