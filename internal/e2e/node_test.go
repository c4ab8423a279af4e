//go:build linux

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/orla-edge/orla/app"
	"github.com/orla-edge/orla/client"
	"github.com/orla-edge/orla/internal/process"
)

// binary is the path of the orla binary that TestMain built.
var binary string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "orla-e2e-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		if binary, err = process.Orla(context.Background(), dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}())
}

var (
	httpURL  = regexp.MustCompile(`http://[0-9.:]+`)
	httpsURL = regexp.MustCompile(`https://[0-9.:]+`)
)

// node is a running `orla serve`.
type node struct {
	t    testing.TB
	data string
	args []string
	cmd  *exec.Cmd
	log  *logBuffer
	done chan error

	http, https, admin string // base URLs
}

// start runs a node on free ports with its data in dir, and waits until it
// serves.
func start(t testing.TB, dir string, args ...string) *node {
	t.Helper()
	n := &node{t: t, data: dir, args: args}
	n.start()
	t.Cleanup(n.kill)
	return n
}

func (n *node) start() {
	n.t.Helper()
	args := append([]string{"serve", "--data", n.data, "--node", "n1", "--http", "127.0.0.1:0", "--https", "127.0.0.1:0", "--admin", "127.0.0.1:0"}, n.args...)
	n.launch(exec.Command(binary, args...))
}

// launch starts a process that is to become the node, and waits until it serves.
func (n *node) launch(cmd *exec.Cmd) {
	n.t.Helper()
	n.log, n.cmd = &logBuffer{}, cmd
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	// A pipe of our own, for one of os/exec would keep Wait waiting for successors.
	r, w, err := os.Pipe()
	if err != nil {
		n.t.Fatal(err)
	}
	n.cmd.Stdout, n.cmd.Stderr = w, w
	if err := n.cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	w.Close()
	go func(log *logBuffer) {
		defer r.Close()
		_, _ = io.Copy(log, r) // to the end of the last that writes
	}(n.log)
	n.done = make(chan error, 1)
	go func(c *exec.Cmd, done chan error) { done <- c.Wait() }(n.cmd, n.done)
	n.await()
}

// await waits for the line that says that the node serves, and reads the URLs.
func (n *node) await() {
	n.t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for time.Now().Before(deadline) {
		if line := n.log.line(`msg="node serves"`); line != "" {
			public, _, _ := strings.Cut(line, "admin=")
			n.http, n.https = httpURL.FindString(public), httpsURL.FindString(public)
			b, err := os.ReadFile(filepath.Join(n.data, "admin.addr"))
			if err != nil {
				n.t.Fatal(err)
			}
			n.admin = strings.TrimSpace(string(b))
			return
		}
		select {
		case err := <-n.done:
			n.done <- err
			n.t.Fatalf("orla serve ended: %v\n%s", err, n.log)
		case <-time.After(2 * time.Millisecond):
		}
	}
	n.t.Fatalf("orla serve did not get ready\n%s", n.log)
}

// kill ends the node at once, as a power cut does to a process.
func (n *node) kill() {
	if n.cmd.ProcessState != nil {
		return
	}
	_ = n.cmd.Process.Kill()
	<-n.done
	n.done <- errors.New("killed")
}

// stop ends the node in an orderly way and returns what it exited with.
func (n *node) stop() error {
	_ = n.cmd.Process.Signal(syscall.SIGTERM)
	err := <-n.done
	n.done <- err
	return err
}

func (n *node) client() *client.Client {
	n.t.Helper()
	c, err := client.Find(client.Options{DataDir: n.data, Getenv: func(string) string { return "" }})
	if err != nil {
		n.t.Fatal(err)
	}
	return c
}

// orla runs a command against the node and returns what it printed.
func (n *node) orla(args ...string) (string, error) {
	cmd := exec.Command(binary, args...)
	cmd.Env = append(os.Environ(), "ORLA_DATA="+n.data, "ORLA_ADMIN=", "ORLA_TOKEN=")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// deploy packs and deploys a directory.
func (n *node) deploy(ctx context.Context, dir string) error {
	p, err := app.Pack(ctx, app.Options{Path: dir})
	if err != nil {
		return err
	}
	_, err = n.client().Deploy(ctx, p, client.DeployOptions{}, nil)
	return err
}

// logBuffer gathers a process's output.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logBuffer) line(part string) string {
	for line := range strings.Lines(l.String()) {
		if strings.Contains(line, part) && strings.HasSuffix(line, "\n") {
			return line
		}
	}
	return ""
}

// writeTree writes files below dir.
func writeTree(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func get(c *http.Client, url string) (int, string, error) {
	res, err := c.Get(url)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return res.StatusCode, string(b), err
}
