// Package peers starts other servers of small functions, each with a handler that
// answers "hello", for benchmarks to set Orla beside. It knows nothing of how they are
// measured. Its script install fetches them; no test needs them.
package peers

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/orla-edge/orla/internal/guests"
)

// patience is how long a server may take to say where it listens.
const patience = 20 * time.Second

// Workerd starts workerd with a handler in JavaScript and returns its URL. It serves
// until the test ends. All requests share an isolate: what one request leaves, the next
// finds.
func Workerd(t testing.TB) (url string) {
	t.Helper()
	arch := map[string]string{"amd64": "64", "arm64": "arm64"}[runtime.GOARCH]
	cmd := child(t, fmt.Sprintf("node_modules/@cloudflare/workerd-%s-%s/bin/workerd", runtime.GOOS, arch),
		"serve", "workerd/hello.capnp", "--control-fd=3")
	return listen(t, cmd, func(w *os.File) { cmd.ExtraFiles = []*os.File{w} }, `"event":"listen".*"port":(\d+)`)
}

// Wasmtime starts "wasmtime serve" with a wasi:http component and returns its URL. It
// serves until the test ends. Each request gets an instance of its own.
func Wasmtime(t testing.TB) (url string) {
	t.Helper()
	cmd := child(t, "python/wasmtime_cli/wasmtime", "serve", "--addr=127.0.0.1:0", "wasmtime/hello.wat")
	return listen(t, cmd, func(w *os.File) { cmd.Stdout, cmd.Stderr = w, w }, `Serving HTTP on http://127\.0\.0\.1:(\d+)`)
}

func dir(t testing.TB) string {
	t.Helper()
	return filepath.Join(guests.Root(t), "internal", "peers")
}

// child returns a command that runs in this folder, and is ended with the test. Where
// peers are not installed the benchmark is skipped: it says nothing of Orla.
func child(t testing.TB, name string, args ...string) *exec.Cmd {
	t.Helper()
	bin := filepath.Join(dir(t), filepath.FromSlash(name))
	if _, err := os.Stat(bin); err != nil {
		t.Skipf("peers: %v; run internal/peers/install", err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	cmd := exec.CommandContext(ctx, bin, args...)
	cmd.Dir = dir(t)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second // then it is killed
	t.Cleanup(func() {
		cancel()
		var exit *exec.ExitError
		if err := cmd.Wait(); err != nil && !errors.As(err, &exit) && !errors.Is(err, context.Canceled) {
			t.Errorf("peers: %s: %v", bin, err)
		}
	})
	return cmd
}

// listen starts cmd, whose output connect leads into a pipe, and returns the URL with
// the port that pattern finds there.
func listen(t testing.TB, cmd *exec.Cmd, connect func(*os.File), pattern string) string {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	connect(w)
	err = cmd.Start()
	if e := w.Close(); err != nil || e != nil {
		t.Fatal(errors.Join(err, e))
	}
	if err := r.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	port, said := regexp.MustCompile(pattern), ""
	for lines := bufio.NewScanner(r); lines.Scan(); said += lines.Text() + "\n" {
		if m := port.FindStringSubmatch(lines.Text()); m != nil {
			if err := r.SetReadDeadline(time.Time{}); err != nil {
				t.Fatal(err)
			}
			go func() { _, _ = io.Copy(io.Discard, r) }() // ends with the child, or with r
			return "http://127.0.0.1:" + m[1]
		}
	}
	t.Fatalf("peers: %s does not say where it listens: %s", cmd, said)
	return ""
}
