package dev

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"connectrpc.com/connect"

	"github.com/orla-edge/orla/client"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

const (
	// stopWait is how long a node may finish its requests before it is killed.
	stopWait = 5 * time.Second
	// startWait is how long a node may take until it serves.
	startWait = 60 * time.Second
	// maxLine is the longest line of a node's log that is read whole, in bytes.
	maxLine = 256 << 10
)

// node is a running `orla serve`.
type node struct {
	member
	pid   int
	ended chan struct{} // closed when the process is gone
	err   error         // why; valid after ended
	last  string        // the last line that was no record; valid after ended
}

// start runs all nodes until life ends; parts is done when they are gone. It returns
// when they serve, or ctx ends.
func start(ctx, life context.Context, parts *sync.WaitGroup, plan []member, cfg Config, out *printer) ([]*node, error) {
	var nodes []*node
	for _, m := range plan {
		n, err := startNode(life, parts, m, cfg, out)
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, n)
	}
	ctx, cancel := context.WithTimeout(ctx, startWait)
	defer cancel()
	for _, n := range nodes {
		if err := n.ready(ctx); err != nil {
			return nil, err
		}
	}
	if len(nodes) > 1 {
		return nodes, together(ctx, nodes)
	}
	return nodes, nil
}

// together waits until the first node knows of all: a change is proven on those that it
// knows of.
func together(ctx context.Context, nodes []*node) error {
	c, err := nodes[0].client()
	if err != nil {
		return err
	}
	defer c.Close()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		res, err := c.Control().ListNodes(ctx, connect.NewRequest(&orlav1.ListNodesRequest{}))
		serving := 0
		if err == nil {
			for _, n := range res.Msg.GetNodes() {
				if n.GetState() == "serving" {
					serving++
				}
			}
		}
		if serving == len(nodes) {
			return nil
		}
		for _, n := range nodes {
			if !n.alive() {
				return fmt.Errorf("node %s has ended: %s", n.name, n.reason())
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the nodes do not find each other: after %s node %s knows of %d of %d", startWait, nodes[0].name, serving, len(nodes))
		case <-tick.C:
		}
	}
}

func startNode(ctx context.Context, parts *sync.WaitGroup, m member, cfg Config, out *printer) (*node, error) {
	// An old address would be taken for the new node's.
	if err := os.Remove(filepath.Join(m.data, adminAddrFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("start node %s: %w", m.name, err)
	}
	cmd := exec.CommandContext(ctx, cfg.Command[0], slices.Concat(cfg.Command[1:], m.args)...)
	cmd.Args[0] = os.Args[0] // the name that a person knows
	cmd.Env = environment(os.Environ())
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopWait
	apart(cmd)
	r, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, w
	n := &node{member: m, ended: make(chan struct{})}
	started, read := make(chan error, 2), make(chan struct{})
	parts.Go(func() {
		defer close(read)
		n.last = readLines(r, func(line []byte) bool { return out.record(m.name, line) })
	})
	parts.Go(func() {
		// The process dies with the thread that started it.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		if err == nil {
			n.pid = cmd.Process.Pid
			started <- nil
			n.err = cmd.Wait()
		}
		_ = w.Close() // never fails
		<-read
		close(n.ended)
		started <- err
	})
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start node %s: %w", m.name, err)
	}
	return n, nil
}

// adminAddrFile is where a node notes its API's address, in its data directory.
const adminAddrFile = "admin.addr"

// environment leaves out what would set a node up otherwise than dev does.
func environment(all []string) []string {
	var kept []string
	for _, v := range all {
		if !strings.HasPrefix(v, "ORLA_") && !strings.HasPrefix(v, "PORT=") {
			kept = append(kept, v)
		}
	}
	return kept
}

// readLines calls record with each line and returns the last that it said was none.
// The rest of a line that is too long is left out.
func readLines(r io.Reader, record func([]byte) bool) (last string) {
	in := bufio.NewReaderSize(r, maxLine)
	for {
		line, long, err := in.ReadLine()
		if err != nil {
			return last
		}
		if !record(line) {
			last = string(line)
		}
		for long && err == nil {
			_, long, err = in.ReadLine()
		}
	}
}

// ready waits until the node serves.
func (n *node) ready(ctx context.Context) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if ready(ctx, n.data) {
			return nil
		}
		select {
		case <-n.ended:
			return fmt.Errorf("node %s ended before it served: %s", n.name, n.reason())
		case <-ctx.Done():
			return fmt.Errorf("node %s does not serve after %s; pass --verbose to see its log", n.name, startWait)
		case <-tick.C:
		}
	}
}

func ready(ctx context.Context, data string) bool {
	address, err := os.ReadFile(filepath.Join(data, adminAddrFile))
	if err != nil {
		return false
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSpace(string(address))+"/readyz", http.NoBody)
	if err != nil {
		return false
	}
	transport := &http.Transport{DisableKeepAlives: true}
	res, err := transport.RoundTrip(req)
	if err != nil {
		return false
	}
	_ = res.Body.Close() // nothing is read
	return res.StatusCode == http.StatusOK
}

// alive reports whether the node's process is there.
func (n *node) alive() bool {
	select {
	case <-n.ended:
		return false
	default:
		return true
	}
}

// reason tells why a node has ended.
func (n *node) reason() string {
	text := "it has stopped by itself"
	if n.err != nil {
		text = n.err.Error()
	}
	if n.last != "" {
		text += ": " + plain(strings.TrimPrefix(n.last, "orla: "))
	}
	return text
}

// client returns the API of the node, whatever the environment says of another.
func (n *node) client() (*client.Client, error) {
	return client.Find(client.Options{DataDir: n.data, Getenv: func(string) string { return "" }})
}
