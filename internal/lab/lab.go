//go:build linux

package lab

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/orla-edge/orla/app"
	"github.com/orla-edge/orla/client"
	"github.com/orla-edge/orla/identity"
	"github.com/orla-edge/orla/internal/ports"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

// Options tells what a lab consists of. The zero value is one node that is alone.
type Options struct {
	// Hubs are the nodes that keep the register: 0, 1, 3 or 5. Zero means that the only
	// node is no cluster.
	Hubs int
	// Edges only dial out.
	Edges int
	// Network gives each node a network namespace of its own, which [Lab.Partition]
	// needs. It takes root.
	Network bool
	// Disk is the size in bytes of a disk of its own for each node's data, which
	// [Node.FillDisk] needs. It takes root; zero means none.
	Disk int64
	// Clocks are how far each node's clock is ahead, in whole seconds, by the number from 0 on.
	// Nodes without one have the machine's.
	Clocks []time.Duration
	// HTTPPort and HTTPSPort are every node's, each node at an address of its own: the
	// first at 127.0.0.1, the second at 127.0.0.2, and so on. Zero means any port of
	// 127.0.0.1 for HTTP, and no HTTPS.
	HTTPPort, HTTPSPort int
	// Args are further flags of every node.
	Args []string
}

// Patience bounds each wait of a lab for something that has to come.
const Patience = 60 * time.Second

// Lab is a number of nodes. Its methods are for the test's own goroutine.
type Lab struct {
	t   testing.TB
	net *network // nil: all nodes are on the loopback

	// Nodes are the hubs, then the edges: n1, n2 …
	Nodes []*Node
}

// New starts the nodes and returns when all of them serve, and know of each other: see
// [Lab.AwaitMembers]. They are gone when the test ends, and so is all that was made for
// them.
func New(t testing.TB, o Options) *Lab {
	t.Helper()
	l := &Lab{t: t}
	count := max(o.Hubs+o.Edges, 1)
	if o.Network {
		l.net = newNetwork(t, count)
	}
	binary := os.Getenv(binaryEnv)
	if binary == "" {
		t.Fatal("lab: TestMain has to call lab.Main")
	}
	secret := identity.New()
	dir := t.TempDir()
	for i := range count {
		l.Nodes = append(l.Nodes, l.newNode(o, i, binary, filepath.Join(dir, fmt.Sprintf("n%d", i+1))))
	}
	for i, n := range l.Nodes {
		if o.Hubs > 0 {
			l.join(n, i < o.Hubs, o.Hubs, secret)
		}
		n.args = append(n.args, o.Args...)
	}
	for _, n := range l.Nodes { // hubs wait for each other
		n.start()
	}
	for _, n := range l.Nodes {
		n.await()
	}
	l.AwaitMembers(l.Nodes...)
	return l
}

// AwaitMembers waits until each hub among the nodes knows that all of them serve: a
// change is proven on the nodes that are known.
func (l *Lab) AwaitMembers(nodes ...*Node) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), Patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for _, n := range nodes {
		if !n.isHub {
			continue
		}
		c := n.Client()
		defer c.Close()
		for {
			missing, err := absent(ctx, c, nodes)
			if err == nil && len(missing) == 0 {
				break
			}
			select {
			case <-ctx.Done():
				l.t.Fatalf("node %s does not know of %q after %s (%v)\n%s", n.Name, missing, Patience, err, n.Log())
			case <-tick.C:
			}
		}
	}
}

// absent returns the nodes that do not serve, as far as c knows.
func absent(ctx context.Context, c *client.Client, nodes []*Node) (missing []string, err error) {
	res, err := c.Control().ListNodes(ctx, connect.NewRequest(&orlav1.ListNodesRequest{}))
	if err != nil {
		return nil, err
	}
	serving := make(map[string]bool)
	for _, line := range res.Msg.GetNodes() {
		serving[line.GetNode()] = line.GetState() == "serving"
	}
	for _, n := range nodes {
		if !serving[n.Name] {
			missing = append(missing, n.Name)
		}
	}
	return missing, nil
}

// newNode prepares a node that is alone.
func (l *Lab) newNode(o Options, i int, binary, dir string) *Node {
	l.t.Helper()
	n := &Node{t: l.t, Name: fmt.Sprintf("n%d", i+1), Data: filepath.Join(dir, "data"), binary: binary}
	if err := os.MkdirAll(n.Data, 0o700); err != nil {
		l.t.Fatal(err)
	}
	if o.Disk > 0 {
		mountDisk(l.t, n.Data, o.Disk)
	}
	if i < len(o.Clocks) {
		n.ahead = o.Clocks[i]
	}
	n.host = "127.0.0.1"
	if l.net != nil {
		n.host, n.namespace = l.net.address(i), l.net.namespace(i)
	}
	n.http, n.https = n.addr(l, 8080), "off"
	n.admin, n.hub, n.peer = n.addr(l, 7070), n.addr(l, 6222), n.addr(l, 7071)
	n.args = []string{"serve", "--node", n.Name, "--data", n.Data, "--admin", n.admin}
	own := fmt.Sprintf("127.0.0.%d", i+1)
	if o.HTTPPort != 0 {
		n.http = net.JoinHostPort(own, strconv.Itoa(o.HTTPPort))
	}
	if o.HTTPSPort == 0 {
		n.args = append(n.args, "--tls", "off")
	} else {
		n.https = net.JoinHostPort(own, strconv.Itoa(o.HTTPSPort))
	}
	n.args = append(n.args, "--http", n.http, "--https", n.https)
	l.t.Cleanup(n.end)
	return n
}

// join makes the node part of the cluster.
func (l *Lab) join(n *Node, hub bool, hubs int, secret identity.Secret) {
	l.t.Helper()
	var seeds []string
	for _, h := range l.Nodes[:hubs] {
		seeds = append(seeds, h.hub)
	}
	file := filepath.Join(filepath.Dir(n.Data), "secret")
	n.args = append(n.args, "--cluster", "lab", "--cluster-secret-file", file, "--peer", n.peer)
	if hubs > 1 || !hub {
		n.args = append(n.args, "--join", strings.Join(seeds, ","))
	}
	if hub {
		n.isHub = true
		n.args = append(n.args, "--cluster-listen", n.hub)
	} else {
		secret = secret.Edge()
	}
	if err := os.WriteFile(file, []byte(secret.Reveal()+"\n"), 0o600); err != nil {
		l.t.Fatal(err)
	}
}

// addr returns an address for one of the node's listeners: port, where the node has the
// addresses for itself; else some that are free.
func (n *Node) addr(l *Lab, port int) string {
	n.t.Helper()
	if l.net == nil {
		return ports.Address(n.t)
	}
	return net.JoinHostPort(n.host, strconv.Itoa(port))
}

// FreePort returns a port that nobody listens on at the addresses of nodes, for
// [Options].
func FreePort(t testing.TB) int {
	t.Helper()
	for range 100 {
		_, text, _ := net.SplitHostPort(ports.Address(t))
		taken := false
		for i := range 9 {
			ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", net.JoinHostPort(fmt.Sprintf("127.0.0.%d", i+1), text))
			if err != nil {
				taken = true
				break
			}
			defer ln.Close() //nolint:errcheck // nobody has connected
		}
		if port, err := strconv.Atoi(text); err == nil && !taken {
			return port
		}
	}
	t.Fatal("lab: no port is free")
	return 0
}

// Deploy packs the files and makes them live by way of the first node that is up.
func (l *Lab) Deploy(ctx context.Context, files map[string]string) error {
	l.t.Helper()
	dir := l.t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			return err
		}
	}
	for _, n := range l.Nodes {
		if _, up := n.state(); up {
			return n.Deploy(ctx, dir)
		}
	}
	return fmt.Errorf("no node is up")
}

// Deploy packs the app in dir and makes it live by way of the node.
func (n *Node) Deploy(ctx context.Context, dir string) error {
	n.t.Helper()
	pkg, err := app.Pack(ctx, app.Options{Path: dir})
	if err != nil {
		return err
	}
	c := n.Client()
	defer c.Close()
	_, err = c.Deploy(ctx, pkg, client.DeployOptions{}, nil)
	return err
}

// Await waits until each of the nodes answers a GET of path so that ok returns nil.
func (l *Lab) Await(path string, nodes []*Node, ok func(status int, body string) error) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), Patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for _, n := range nodes {
		for {
			status, body, err := get(ctx, n.URL()+path)
			if err == nil {
				err = ok(status, body)
			}
			if err == nil {
				break
			}
			select {
			case <-ctx.Done():
				l.t.Fatalf("node %s, GET %s: after %s still %v\n%s", n.Name, path, Patience, err, n.Log())
			case <-tick.C:
			}
		}
	}
}
