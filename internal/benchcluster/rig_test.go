package benchcluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/orla-edge/orla/cluster"
	"github.com/orla-edge/orla/control"
	"github.com/orla-edge/orla/dispatch"
	"github.com/orla-edge/orla/identity"
	"github.com/orla-edge/orla/internal/ports"
	"github.com/orla-edge/orla/modules"
	"github.com/orla-edge/orla/modules/peer"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/proto/orla/v1/orlav1connect"
	"github.com/orla-edge/orla/runtime"
	"github.com/orla-edge/orla/site"
	"github.com/orla-edge/orla/telemetry"
)

const (
	// patience bounds each wait for something that has to come.
	patience = 60 * time.Second
	// hubs is how many nodes of a cluster keep its register.
	hubs   = 3
	secret = "orla_bench_admin"
)

// rig is a cluster in this process: each node has its own NATS server, register, control
// service and table; those of the hubs talk over TCP and mutual TLS, as the edges' do.
// Functions, listeners for the public and telemetry are left out.
type rig struct {
	tb     testing.TB
	disk   string // of the hubs
	memory string // of the edges, which in a cluster do not share a disk
	secret identity.Secret
	seeds  []string
	engine *runtime.Engine
	hear   func(node int, u cluster.Update) // called when apply has returned

	nodes []*node // the hubs first
}

// node is a member of a rig.
type node struct {
	name     string
	register *cluster.Cluster
	control  *control.Service
	table    *dispatch.Dispatcher
	blobs    *modules.Dir
	api      *httptest.Server // nil at edges
	peers    *http.Server     // nil in rigs without content
	peer     string           // its URL
	stop     func() error
	started  time.Time
	first    chan struct{} // closed when apply has returned for the first time
}

// newRig starts so many nodes, of which three are hubs, or the only one, and returns when
// all follow the register and the hubs know of all.
func newRig(tb testing.TB, count int, hear func(node int, u cluster.Update)) *rig {
	tb.Helper()
	r := prepare(tb, min(hubs, count), hear)
	for range min(hubs, count) {
		r.add(filepath.Join(r.disk, fmt.Sprint("h", len(r.nodes))))
	}
	r.await()
	for len(r.nodes) < count {
		r.add(filepath.Join(r.memory, fmt.Sprint("e", len(r.nodes))))
	}
	r.await()
	return r
}

// prepare makes a rig without nodes.
func prepare(tb testing.TB, seeds int, hear func(int, cluster.Update)) *rig {
	tb.Helper()
	r := &rig{tb: tb, disk: tb.TempDir(), memory: memoryDir(tb), secret: identity.New(), hear: hear}
	for range seeds {
		r.seeds = append(r.seeds, ports.Address(tb))
	}
	blobs, err := modules.OpenDir(filepath.Join(r.disk, "none"))
	must(tb, err)
	r.engine, err = runtime.New(tb.Context(), runtime.Config{Blobs: blobs})
	must(tb, err)
	tb.Cleanup(func() {
		r.close()
		must(tb, errors.Join(r.engine.Close(context.WithoutCancel(tb.Context())), blobs.Close()))
	})
	return r
}

// topology is that of the next node.
func (r *rig) topology() (cluster.Topology, identity.Role) {
	i := len(r.nodes)
	t := cluster.Topology{Name: "bench", Secret: r.secret}
	if i >= len(r.seeds) {
		t.Secret = r.secret.Edge()
		for k := range r.seeds {
			t.Join = append(t.Join, r.seeds[(i+k)%len(r.seeds)])
		}
		return t, identity.Edge
	}
	t.Listen = r.seeds[i]
	if len(r.seeds) > 1 {
		t.Join = r.seeds
	}
	return t, identity.Hub
}

// add starts a node on a folder.
func (r *rig) add(dir string) *node {
	r.tb.Helper()
	t, role := r.topology()
	n := &node{name: fmt.Sprintf("n%03d", len(r.nodes)), first: make(chan struct{})}
	var err error
	quiet := slog.New(slog.DiscardHandler)
	n.blobs, err = modules.OpenDir(filepath.Join(dir, "blobs"))
	must(r.tb, err)
	n.register, err = cluster.New(cluster.Config{
		Dir: dir, Node: n.name, Topology: t, Timeout: patience, Beat: func() []byte { return n.control.Beat() },
	})
	must(r.tb, err)
	n.table = dispatch.New(dispatch.Config{Node: n.name, Blobs: n.blobs, Engine: r.engine})
	id, err := t.Secret.Node(n.name, role)
	must(r.tb, err)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(r.tb, err)
	n.peer = "https://" + ln.Addr().String()
	client := peer.NewClient(id.Client(identity.Edge), 16)
	var audit *cluster.Audit
	if role == identity.Hub {
		audit = cluster.NewAudit(n.register)
	}
	n.control = control.New(control.Config{
		Node: n.name, Version: "bench", URLs: []string{"http://localhost:8080"}, AdminToken: secret, Register: n.register,
		Blobs: n.blobs, Dispatcher: n.table, Compressor: site.NewCompressor(n.blobs), Peer: n.peer,
		Fetcher: peer.New(peer.Config{Blobs: n.blobs, Client: client, Parallel: 16, Peers: func() []string { return n.control.Peers() }}),
		Tail:    telemetry.NewTail(telemetry.TailConfig{}), Logger: quiet,
		Audit: audit, AuditFile: filepath.Join(dir, "audit.log"),
	})
	n.peers = peer.NewServer(peer.NewHandler(n.blobs, peer.Limits{}), id.Server(identity.Hub, identity.Edge), quiet)
	go func() { _ = n.peers.ServeTLS(ln, "", "") }() // until it is closed
	if role == identity.Hub {
		mux := http.NewServeMux()
		mux.Handle(n.control.Handler())
		n.api = httptest.NewServer(mux)
	}
	r.run(n, len(r.nodes))
	r.nodes = append(r.nodes, n)
	return n
}

// run has the node follow the register until n.stop is called.
func (r *rig) run(n *node, i int) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.tb.Context()))
	var parts sync.WaitGroup
	var failed error
	var once sync.Once
	n.started = time.Now()
	parts.Go(func() {
		failed = n.register.Run(ctx, func(ctx context.Context, u cluster.Update) error {
			err := n.control.Apply(ctx, u)
			if r.hear != nil {
				r.hear(i, u)
			}
			once.Do(func() { close(n.first) })
			return err
		})
	})
	parts.Go(func() { _ = n.control.Run(ctx) }) // returns nil
	n.stop = sync.OnceValue(func() error {
		n.control.Stop()
		if n.api != nil {
			n.api.Close()
		}
		cancel()
		parts.Wait()
		n.table.Close()
		return errors.Join(failed, n.peers.Close(), n.blobs.Close())
	})
}

// close stops all nodes, the edges first.
func (r *rig) close() {
	for _, n := range slices.Backward(r.nodes) {
		if err := n.stop(); err != nil {
			r.tb.Error(err)
		}
	}
}

// await waits until every node follows the register and the hubs know of all of them.
func (r *rig) await() {
	r.tb.Helper()
	for _, n := range r.nodes {
		until(r.tb, n.name+" follows the register", func() bool { return n.register.Ready() == nil })
	}
	api := r.nodes[0].client()
	until(r.tb, "the first hub knows of all nodes", func() bool {
		res, err := api.ListNodes(r.tb.Context(), connect.NewRequest(&orlav1.ListNodesRequest{}))
		return err == nil && len(res.Msg.GetNodes()) == len(r.nodes)
	})
}

// client returns the node's API, seen by its admin.
func (n *node) client() orlav1connect.ControlServiceClient {
	return orlav1connect.NewControlServiceClient(&http.Client{Transport: bearer{n.api.Client().Transport}}, n.api.URL)
}

type bearer struct{ next http.RoundTripper }

// RoundTrip implements [http.RoundTripper].
func (b bearer) RoundTrip(req *http.Request) (*http.Response, error) {
	req.Header.Set("Authorization", "Bearer "+secret)
	return b.next.RoundTrip(req)
}

// pushed is what is known of a push: until the last of the other nodes was ready, counted
// from the question, and until it served the change, from the call of Commit.
type pushed struct {
	*orlav1.Live
	ready, swapped time.Duration
}

// deploy makes a manifest live and returns what the nodes have made of it.
func deploy(tb testing.TB, api orlav1connect.ControlServiceClient, m *orlav1.Manifest) (p pushed) {
	tb.Helper()
	stream, err := api.Deploy(tb.Context(), connect.NewRequest(&orlav1.DeployRequest{Manifest: m}))
	must(tb, err)
	defer stream.Close()
	for stream.Receive() {
		if l := stream.Msg().GetLive(); l != nil {
			p.Live = l
		}
		n := stream.Msg().GetNode()
		took := time.Duration(n.GetMs() * float64(time.Millisecond))
		switch n.GetState() {
		case orlav1.NodeState_NODE_STATE_READY:
			p.ready = max(p.ready, took)
		case orlav1.NodeState_NODE_STATE_LIVE:
			p.swapped = max(p.swapped, took)
		}
	}
	must(tb, stream.Err())
	if p.GetUnproven() != "" {
		tb.Fatalf("not proven: %s", p.GetUnproven())
	}
	return p
}

// answering is a route set that answers each request for a host with a body.
func answering(name, host, body string) *orlav1.Manifest {
	return &orlav1.Manifest{
		Name: name, Kind: orlav1.Kind_KIND_ROUTES, Hosts: []string{host},
		Routes: []*orlav1.Route{{
			Match:  &orlav1.Match{Path: "/*"},
			Target: &orlav1.Route_Respond{Respond: &orlav1.Respond{Status: http.StatusOK, Body: body}},
		}},
	}
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

func until(tb testing.TB, what string, done func() bool) {
	tb.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-deadline:
			tb.Fatalf("not within %v: %s", patience, what)
		case <-tick.C:
		}
	}
}

// memoryDir is a folder in memory where the system has one.
func memoryDir(tb testing.TB) string {
	tb.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "orla-bench-") //nolint:usetesting // not where the test has its folder
	if err != nil {
		return tb.TempDir()
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}
