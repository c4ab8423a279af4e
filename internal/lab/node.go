//go:build linux

package lab

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/orla-edge/orla/client"
	"github.com/orla-edge/orla/internal/process"
)

// Node is one `orla serve`. Its methods are for the test's own goroutine, unless they
// say otherwise.
type Node struct {
	t         testing.TB
	binary    string
	args      []string
	ahead     time.Duration
	isHub     bool
	namespace string // empty: the machine's own

	// Name is --node, Data is --data.
	Name, Data string

	host, http, https, admin, hub, peer string // addresses

	process *process.Process // nil before the first start

	mu         sync.Mutex // guards what follows
	up         bool       // it should answer
	generation int        // counts the changes of up
}

// URL is where the node serves. It may be called concurrently.
func (n *Node) URL() string { return "http://" + n.http }

// HTTPS is the address where the node serves HTTPS, as [Options] has set it. It may be
// called concurrently.
func (n *Node) HTTPS() string { return n.https }

// Admin is the URL of the node's API and health checks. It may be called concurrently.
func (n *Node) Admin() string { return "http://" + n.admin }

// Hub reports whether the node keeps the register.
func (n *Node) Hub() bool { return n.isHub }

// PID is the process's.
func (n *Node) PID() int { return n.process.PID() }

// Log is what the process has printed since it was started.
func (n *Node) Log() string { return n.process.Log() }

// State tells whether the node should answer, and since which change of that. It may be
// called concurrently.
func (n *Node) State() (generation int, up bool) { return n.state() }

func (n *Node) state() (generation int, up bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.generation, n.up
}

func (n *Node) setUp(up bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.up = up
	n.generation++
}

// start starts the process; await waits until it serves.
func (n *Node) start() {
	n.t.Helper()
	words := append([]string{n.binary}, n.args...)
	if n.namespace != "" {
		words = append([]string{"ip", "netns", "exec", n.namespace}, words...)
	}
	cmd := exec.Command(words[0], words[1:]...) //nolint:noctx // Kill ends it
	cmd.Env = environment()
	var err error
	if n.process, err = process.Start(cmd, process.Options{Ahead: n.ahead, Program: n.binary}); err != nil {
		n.t.Fatalf("start node %s: %v", n.Name, err)
	}
}

// environment leaves out what would set a node up otherwise than the lab does.
func environment() []string {
	var env []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "ORLA_") && !strings.HasPrefix(v, "PORT=") {
			env = append(env, v)
		}
	}
	return env
}

func (n *Node) await() {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), Patience)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if status, _, err := get(ctx, n.Admin()+"/readyz"); err == nil && status == http.StatusOK {
			n.setUp(true)
			return
		}
		select {
		case <-n.process.Exited():
			n.t.Fatalf("node %s has ended: %v\n%s", n.Name, n.process.Err(), n.Log())
		case <-ctx.Done():
			n.t.Fatalf("node %s does not serve after %s\n%s", n.Name, Patience, n.Log())
		case <-tick.C:
		}
	}
}

// end kills the process if it is still there, paused or not.
func (n *Node) end() {
	if n.process == nil {
		return
	}
	n.setUp(false)
	n.process.Kill()
}

// Kill ends the node at once, by SIGKILL.
func (n *Node) Kill() {
	n.t.Helper()
	n.end()
}

// Stop ends the node in an orderly way and returns what it exited with.
func (n *Node) Stop() error {
	n.t.Helper()
	n.setUp(false)
	if err := n.process.Signal(syscall.SIGTERM); err != nil {
		n.t.Fatalf("stop node %s: %v", n.Name, err)
	}
	select {
	case <-n.process.Exited():
	case <-time.After(Patience):
		n.t.Fatalf("node %s does not stop\n%s", n.Name, n.Log())
	}
	return n.process.Err()
}

// Start starts a node again that was killed or stopped, and returns when it serves.
func (n *Node) Start() {
	n.t.Helper()
	n.start()
	n.await()
}

// SetClock sets how far the node's clock is ahead when it is started again, in whole
// seconds.
func (n *Node) SetClock(ahead time.Duration) { n.ahead = ahead }

// StartAll starts nodes again that wait for each other.
func (l *Lab) StartAll(nodes ...*Node) {
	l.t.Helper()
	for _, n := range nodes {
		n.start()
	}
	for _, n := range nodes {
		n.await()
	}
}

// Pause stops the node's threads, by SIGSTOP, until [Node.Resume].
func (n *Node) Pause() {
	n.t.Helper()
	n.setUp(false)
	if err := n.process.Signal(syscall.SIGSTOP); err != nil {
		n.t.Fatalf("pause node %s: %v", n.Name, err)
	}
}

// Resume ends a pause and returns when the node serves again.
func (n *Node) Resume() {
	n.t.Helper()
	if err := n.process.Signal(syscall.SIGCONT); err != nil {
		n.t.Fatalf("resume node %s: %v", n.Name, err)
	}
	n.await()
}

// Client returns the node's API, with its admin's token.
func (n *Node) Client() *client.Client {
	n.t.Helper()
	c, err := client.Find(client.Options{DataDir: n.Data, Getenv: func(string) string { return "" }})
	if err != nil {
		n.t.Fatal(err)
	}
	return c
}

// Orla runs a command of orla against the node and returns what it printed.
func (n *Node) Orla(args ...string) (string, error) {
	cmd := exec.CommandContext(n.t.Context(), n.binary, args...)
	cmd.Env = append(environment(), "ORLA_DATA="+n.Data)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// requestTimeout is how long an answer may take.
const requestTimeout = 10 * time.Second

// get fetches by a connection of its own.
func get(ctx context.Context, url string) (status int, body string, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return 0, "", err
	}
	res, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		return 0, "", err
	}
	b, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	return res.StatusCode, string(b), errors.Join(err, res.Body.Close())
}

// fillName is the file that fills a node's disk.
const fillName = "lab-fill"

// FillDisk leaves no space on the node's disk, until [Node.FreeDisk].
func (n *Node) FillDisk() {
	n.t.Helper()
	f, err := os.Create(filepath.Join(n.Data, fillName))
	if err != nil {
		n.t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // what it holds does not matter
	for size := 1 << 20; size > 0; {
		if _, err = f.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
	if !errors.Is(err, syscall.ENOSPC) {
		n.t.Fatalf("fill the disk of node %s: %v, want ENOSPC", n.Name, err)
	}
}

// FreeDisk takes back what FillDisk did.
func (n *Node) FreeDisk() {
	n.t.Helper()
	if err := os.Remove(filepath.Join(n.Data, fillName)); err != nil {
		n.t.Fatal(err)
	}
}

func mountDisk(t testing.TB, dir string, size int64) {
	t.Helper()
	need(t, os.Geteuid() == 0, "root to mount a disk of its own for a node")
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+strconv.FormatInt(size, 10)); err != nil {
		t.Fatalf("mount a disk: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}
