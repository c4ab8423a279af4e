// Package node assembles a node: what starts in which order, and what stops in
// which. It has no logic of its own beyond that order.
package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/orla-edge/orla/certs"
	"github.com/orla-edge/orla/cluster"
	"github.com/orla-edge/orla/control"
	"github.com/orla-edge/orla/dispatch"
	"github.com/orla-edge/orla/identity"
	"github.com/orla-edge/orla/modules"
	"github.com/orla-edge/orla/modules/peer"
	"github.com/orla-edge/orla/node/handover"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/proxy"
	"github.com/orla-edge/orla/runtime"
	"github.com/orla-edge/orla/server"
	"github.com/orla-edge/orla/site"
	"github.com/orla-edge/orla/telemetry"
)

// TLS modes.
const (
	TLSInternal = "internal" // certificates of the node's own CA
	TLSACME     = "acme"     // ordered from ACME servers, one node for all
	TLSOff      = "off"      // no HTTPS listener
)

// Config is what a person decides about a node.
type Config struct {
	// HTTP and HTTPS are the public addresses: ":8080". "off" or an empty string means none.
	HTTP, HTTPS string
	// Admin is the address of the API, the health checks and the metrics.
	Admin string
	// Data is the directory that the node keeps everything in.
	Data string
	// Name of the node in logs, metrics and reports. Empty means the host's name.
	Name string
	// TLS is one of the modes above. Empty means TLSInternal.
	TLS string
	// ACME says where certificates are ordered; for TLSACME.
	ACME ACME
	// LogFormat is "text" or "json"; empty means text.
	LogFormat string
	LogLevel  slog.Leveler // nil means Info
	// Output takes the log. Nil means standard error.
	Output io.Writer
	// Version of the binary.
	Version string
	// CompileCommand is the command line of the child that compiles modules, within
	// limits: this program's own. Empty means in this process, without limits.
	CompileCommand []string
	// FunctionMemory bounds the bytes of the memories of all functions' instances
	// together. Zero means half of what the machine, or the control group, has.
	FunctionMemory int64
	// FunctionInstances bounds the instances of all functions together. Zero means
	// 20,000.
	FunctionInstances int
	// Cluster says how the node finds others; zero: it is alone.
	Cluster Cluster
	// ReadyWhen is ReadyServing or ReadyCurrent; empty means ReadyServing.
	ReadyWhen string
	// DrainDelay is how long a stopping node still accepts connections after
	// /readyz has turned false, for load balancers to notice. Zero means none.
	DrainDelay time.Duration
	// DrainTimeout bounds the wait for requests that run when the node is
	// stopped. Zero means 30 seconds.
	DrainTimeout time.Duration
	// Upgrade is how another process takes over from this one, and this one from
	// its predecessor.
	Upgrade Upgrade
	// Ready is called once the node serves, with its URLs. Nil is fine.
	Ready func(urls []string)
}

// siteCacheBytes is the memory for the contents of small site files.
const siteCacheBytes = 64 << 20

// firstStateWait is how long the public listeners wait for the first routes. A
// node that has none by then serves all the same, so that its health can be seen.
const firstStateWait = 10 * time.Second

// Node is a node that can be run once.
type Node struct {
	cfg       Config
	telemetry *telemetry.Telemetry
	log       *slog.Logger

	member    member
	listeners listeners
	fetcher   *peer.Fetcher
	blobs     *modules.Dir
	engine    *runtime.Engine
	upstreams *proxy.Pool
	dispatch  *dispatch.Dispatcher
	register  *cluster.Cluster
	certs     *certs.Manager // nil with TLSOff
	control   *control.Service

	hosts chan struct{} // holds a token when the hosts that are served have changed
	first chan struct{} // closed when the first state has been applied
	once  sync.Once
	phase atomic.Int32

	before    []string    // apps that the predecessor refused
	upgrading atomic.Bool // another process is taking over
	handed    atomic.Bool // it has
	pid       *os.File    // the note of this process; nil until it serves

	mu      sync.Mutex     // guards what follows
	public  *server.Server // nil until it serves
	drained bool           // out of rotation
}

// Phases of a node's life, as /readyz tells them.
const (
	starting int32 = iota
	serving
	draining
)

// Run serves until ctx ends, then drains and stops. It returns nil after an
// orderly stop, and after another process has taken over.
func Run(ctx context.Context, cfg Config) error { return newNode(cfg).live(ctx) }

func newNode(cfg Config) *Node {
	return &Node{cfg: cfg, hosts: make(chan struct{}, 1), first: make(chan struct{})}
}

func (n *Node) live(ctx context.Context) (err error) {
	defer func() {
		n.fail(err)
		err = errors.Join(err, n.close())
	}()
	if err := n.open(ctx); err != nil {
		return err
	}
	return n.run(ctx)
}

// open makes every part; it starts nothing that serves. What it has made when it
// fails is freed by close.
func (n *Node) open(ctx context.Context) (err error) {
	if n.cfg.Name, err = nodeName(n.cfg.Name); err != nil {
		return err
	}
	if n.telemetry, err = telemetry.New(ctx, telemetry.Config{
		Node: n.cfg.Name, Version: n.cfg.Version, Output: n.cfg.Output, Format: n.cfg.LogFormat, Level: n.cfg.LogLevel,
	}); err != nil {
		return err
	}
	n.log = n.telemetry.Logger()
	if err := makeData(n.cfg.Data); err != nil {
		return err
	}
	if n.member, err = n.cfg.Cluster.member(n.cfg.Name); err != nil {
		return err
	}
	if n.blobs, err = modules.OpenDir(filepath.Join(n.cfg.Data, "blobs")); err != nil {
		return fmt.Errorf("open blob store: %w", err)
	}
	if n.engine, err = runtime.New(ctx, runtime.Config{
		CacheDir: filepath.Join(n.cfg.Data, "cache", "wasm"), Blobs: n.blobs, Logger: n.log,
		Tracer: n.telemetry.TracerProvider(), Meter: n.telemetry.MeterProvider(),
		CompileCommand: n.cfg.CompileCommand, MaxMemory: n.cfg.FunctionMemory, MaxInstances: n.cfg.FunctionInstances,
	}); err != nil {
		return err
	}
	if n.upstreams, err = proxy.NewPool(proxy.PoolConfig{
		Logger: n.log, MeterProvider: n.telemetry.MeterProvider(),
	}); err != nil {
		return err
	}
	// What several processes may have open comes before what only one may.
	if err := n.takeDirectory(ctx); err != nil {
		return err
	}
	if n.register, err = cluster.New(cluster.Config{
		Dir: n.cfg.Data, Node: n.cfg.Name, Logger: n.log, Meter: n.telemetry.MeterProvider(),
		Topology: n.member.topology, Beat: func() []byte { return n.control.Beat() },
	}); err != nil {
		return err
	}
	if err := n.listen(ctx); err != nil {
		return err
	}
	n.dispatch = dispatch.New(dispatch.Config{
		Node: n.cfg.Name, Blobs: n.blobs, Engine: n.engine, Cache: site.NewCache(siteCacheBytes), Upstreams: n.upstreams,
		HTTPSPort: n.listeners.httpsPort(), RedirectHTTPS: n.redirectsHTTPS(),
		Debug: func(token string) bool { return n.control.ValidToken(token) }, Wait: n.register.Wait,
		Grants: func(ctx context.Context, app string, f *orlav1.Function) (runtime.Grants, error) {
			return n.control.Grants(ctx, app, f)
		},
		Logger: n.log, Tracer: n.telemetry.TracerProvider(), Propagator: n.telemetry.Propagator(),
	})
	return n.openControl(ctx)
}

func (n *Node) openControl(ctx context.Context) error {
	var err error
	if n.fetcher, err = n.newFetcher(); err != nil {
		return err
	}
	secret, err := adminToken(n.cfg.Data)
	if err != nil {
		return err
	}
	key, old, err := secretsKey(n.cfg.Data, n.member.topology)
	if err != nil {
		return err
	}
	kv := cluster.NewKV(n.register, cluster.KVConfig{})
	if n.cfg.TLS != TLSOff {
		cfg, err := n.certsConfig(key, old, kv)
		if err != nil {
			return err
		}
		if n.certs, err = certs.New(ctx, cfg); err != nil {
			return err
		}
		if err := n.measureCerts(); err != nil {
			return err
		}
	}
	var audit *cluster.Audit
	if n.member.topology.Role() == identity.Hub {
		audit = cluster.NewAudit(n.register)
	}
	n.control = control.New(control.Config{
		Node: n.cfg.Name, Version: n.cfg.Version, URLs: n.urls(ctx), AdminToken: secret,
		Register: n.register, Blobs: n.blobs, Fetcher: n.fetcher, Peer: n.peerURL(ctx), Phase: n.phaseName, Drain: n.setDrained, Dispatcher: n.dispatch, Compressor: site.NewCompressor(n.blobs),
		KV: kv, Certificates: n.certificates(), Backups: filepath.Join(n.cfg.Data, "backup"), SecretKey: key, OldSecretKey: old,
		Tail: n.telemetry.Tail(), Changed: n.hostsChanged, Logger: n.log, Meter: n.telemetry.MeterProvider(), Audit: audit, AuditFile: filepath.Join(n.cfg.Data, "audit.log"), Offline: filepath.Join(n.cfg.Data, offlineFile),
	})
	return writeAdminAddr(n.cfg.Data, n.listeners.adminURL())
}

// hostsChanged has certificates made ready before the first handshake asks, beside the
// changes that go on.
func (n *Node) hostsChanged() {
	select {
	case n.hosts <- struct{}{}:
	default:
	}
}

// run starts the register, then, when there is something to serve, the
// listeners; at the end they stop in the opposite order.
func (n *Node) run(ctx context.Context) error {
	below, stopBelow := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stopBelow(nil)
	var parts sync.WaitGroup
	defer parts.Wait()
	defer stopBelow(nil) // before the wait: defers run last in, first out
	defer n.control.Stop()
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	start := func(ctx context.Context, what string, f func(context.Context) error) {
		parts.Go(func() {
			if err := f(ctx); err != nil && ctx.Err() == nil {
				fail(fmt.Errorf("%s: %w", what, err))
			}
		})
	}
	start(below, "register", func(ctx context.Context) error { return n.register.Run(ctx, n.apply) })
	defer n.runCerts(ctx, func() { fail(nil) })()
	start(below, "hosts' certificates", n.manageHosts)
	start(below, "cluster", n.control.Run)
	start(below, "orders of certificates", n.hearOrders)
	start(below, "collect blobs", n.collect)
	start(below, "clean compiled code", n.cleanCode)
	admin, err := n.adminServer()
	if err != nil {
		return err
	}
	api, stopAPI := context.WithCancel(below)
	defer stopAPI()
	start(api, "signs of life", n.reportAlive)
	listen := func() {
		start(api, "admin listener", admin.Run)
		if n.listeners.peer != nil {
			start(api, "peer listener", n.servePeers)
		}
	}
	// A successor shares the sockets with its predecessor, which has the answers
	// until this node does.
	if n.predecessor() == nil {
		listen()
	}
	if err := n.awaitFirst(ctx); err != nil {
		return err
	}
	public, err := n.publicServer()
	if err != nil {
		return err
	}
	if n.predecessor() != nil {
		listen()
	}
	if err := n.announce(); err != nil {
		return err
	}
	start(ctx, "upgrades", func(ctx context.Context) error {
		return n.upgrades(ctx, func() { stopAPI(); fail(nil) })
	})
	context.AfterFunc(ctx, n.leave)
	err = public.Run(ctx) // until ctx ends and all is drained
	return cmp.Or(failure(ctx), err)
}

// failure is what ctx ended with other than because it was to end.
func failure(ctx context.Context) error {
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// leave is what happens first when the node is to stop.
func (n *Node) leave() {
	n.phase.Store(draining)
	if !n.handed.Load() {
		n.tell(handover.StateStopping)
	}
	n.log.Info("node drains")
}

// apply is the register's callback.
func (n *Node) apply(ctx context.Context, u cluster.Update) error {
	err := errors.Join(n.applyCerts(u), n.control.Apply(ctx, u)) // a release's host finds its certificate
	n.once.Do(func() { close(n.first) })
	return err
}

// awaitFirst waits for the first routes. A successor does not serve without: its
// predecessor does.
func (n *Node) awaitFirst(ctx context.Context) error {
	limit := time.After(firstStateWait)
	if n.predecessor() != nil {
		limit = nil
	}
	select {
	case <-n.first:
	case <-ctx.Done():
		if n.predecessor() != nil {
			return context.Cause(ctx)
		}
	case <-limit:
		n.log.Warn("no routes yet", "waited", firstStateWait.String())
	}
	return n.checkSuccession()
}

func (n *Node) publicServer() (*server.Server, error) {
	cfg := server.Config{
		HTTP: n.listeners.http, HTTPS: n.listeners.https, Handler: n.publicHandler(), Logger: n.log, Node: n.cfg.Name,
		Tracer: n.telemetry.TracerProvider(), Meter: n.telemetry.MeterProvider(), Propagator: n.telemetry.Propagator(),
		DrainDelay: n.cfg.DrainDelay, DrainTimeout: cmp.Or(n.cfg.DrainTimeout, 30*time.Second), Shared: n.shared,
	}
	if n.certs != nil {
		cfg.TLS = n.certs.TLSConfig()
	}
	s, err := server.New(cfg)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.public = s
	s.SetDraining(n.drained)
	return s, nil
}

// close frees what open made, last first.
func (n *Node) close() error {
	var errs []error
	if n.dispatch != nil {
		n.dispatch.Close()
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if n.upstreams != nil {
		errs = append(errs, n.upstreams.Close())
	}
	if n.certs != nil {
		errs = append(errs, n.certs.Close())
	}
	if n.engine != nil {
		errs = append(errs, n.engine.Close(ctx))
	}
	if n.register != nil {
		errs = append(errs, n.register.Close())
	}
	if n.blobs != nil {
		errs = append(errs, n.blobs.Close())
	}
	n.listeners.close()
	errs = append(errs, n.cfg.Upgrade.Inherited.Close())
	if n.pid != nil {
		errs = append(errs, removePid(n.cfg.Data, n.pid))
	}
	if n.telemetry != nil {
		errs = append(errs, n.telemetry.Shutdown(ctx))
	}
	return errors.Join(errs...)
}

// listeners are a node's open sockets.
type listeners struct {
	http, https []net.Listener
	admin       net.Listener
	peer        net.Listener // nil: none
}

func (l listeners) close() {
	for _, ln := range append(append([]net.Listener{l.admin, l.peer}, l.http...), l.https...) {
		if ln != nil {
			_ = ln.Close() // closed already after a drain
		}
	}
}
