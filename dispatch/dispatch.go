// Package dispatch is the live table: which release answers which host, behind
// one atomic pointer. A release is built beside the table with everything that
// is slow, then swapped in; the one that it replaces is drained and freed by the
// last request that leaves it. Several releases of an app can share its clients.
// Dispatch does not know where releases come from.
package dispatch

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/proxy"
	"github.com/orla-edge/orla/router"
	"github.com/orla-edge/orla/runtime"
	"github.com/orla-edge/orla/site"
	"github.com/orla-edge/orla/telemetry"
)

// Config is what releases are built from. Every field without a stated zero is
// required.
type Config struct {
	// Node is the node's name, for the Orla-Node header.
	Node string
	// Blobs holds the files, modules and manifests of releases.
	Blobs Blobs
	// Engine runs functions.
	Engine *runtime.Engine
	// Grants returns what a function of an app gets beside what its release says. Nil means
	// nothing. The error is a [release.Problem] where a person can mend the cause.
	Grants func(ctx context.Context, app string, f *orlav1.Function) (runtime.Grants, error)
	// Cache holds the contents of small site files. Nil means none.
	Cache *site.Cache
	// Upstreams holds the connections to app servers. Nil means that each
	// proxy route keeps its own.
	Upstreams *proxy.Pool
	// HTTPSPort is the port of the HTTPS listener, to which requests over plain HTTP
	// are redirected where RedirectHTTPS or their release says so. Zero means that
	// there is none, and that nothing is redirected.
	HTTPSPort int
	// RedirectHTTPS decides it for the hosts of releases that say nothing about it;
	// host is canonical, and neither local nor an address. It must be fast. Nil means
	// never.
	RedirectHTTPS func(host string) bool
	// Debug reports whether token may see the headers that Orla-Debug asks for.
	// Nil means that no token may.
	Debug func(token string) bool
	// Wait blocks until the node serves at least this revision. Nil means that
	// Orla-Min-Revision is ignored.
	Wait func(ctx context.Context, revision uint64) error
	// Logger takes what goes wrong. Nil means no log.
	Logger *slog.Logger
	// Tracer makes the spans of requests to app servers, Propagator tells
	// these of them. Nil means none, and W3C Trace Context.
	Tracer     trace.TracerProvider
	Propagator propagation.TextMapPropagator
}

// Dispatcher is an http.Handler whose releases can be replaced while it serves.
// All methods may be called concurrently.
type Dispatcher struct {
	cfg   Config
	table atomic.Pointer[table]

	mu    sync.Mutex // guards names and makes one change of the table at a time
	names map[string]*tenancy

	// background counts the goroutines that releases own: health checks and
	// the freeing of what was drained.
	background sync.WaitGroup
}

// table is one immutable version of what the node serves.
type table struct {
	revision uint64
	hosts    router.Hosts[*host]
}

// New returns a dispatcher that answers 404 until the first Swap.
func New(cfg Config) *Dispatcher {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	d := &Dispatcher{cfg: cfg, names: map[string]*tenancy{}}
	d.table.Store(&table{})
	return d
}

// Revision returns the register's revision that the table shows.
func (d *Dispatcher) Revision() uint64 { return d.table.Load().revision }

// Serves reports whether some release answers for host, a canonical host name.
func (d *Dispatcher) Serves(host string) bool {
	_, _, ok := d.table.Load().hosts.Lookup(host)
	return ok
}

// Close takes every release off the table and waits until the last request has
// left and all is freed. Stop the listeners first.
func (d *Dispatcher) Close() {
	d.mu.Lock()
	c := d.changeLocked()
	for _, name := range slices.Collect(maps.Keys(d.names)) {
		c.drop(name)
	}
	c.publish()
	d.mu.Unlock()
	d.background.Wait()
}

// ServeHTTP implements http.Handler.
func (d *Dispatcher) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	debug, ok := d.control(w, r)
	if !ok {
		return
	}
	name := router.CleanHost(r.Host)
	h, lot := d.enter(name, r.Header)
	if h == nil {
		unknownHost(w)
		return
	}
	info := telemetry.RequestFrom(r.Context())
	info.App, info.Release = h.release.Name, h.release.Number
	v := visit{release: h.release, r: r, info: info}
	defer v.end()
	if debug {
		w.Header().Set(headerRelease, strconv.FormatUint(h.release.Number, 10))
	}
	if !d.before(w, r, name, h.release) {
		if c := h.release.changes(lot, name, r.TLS != nil); c != nil {
			rw := &headerWriter{ResponseWriter: w, changes: c}
			defer rw.finish()
			w = rw
		}
		h.serve(w, r, 0)
	}
	v.whole = true
}

// changes returns what every answer of the release to a client gets; nil if nothing.
// It comes after what routes, upstreams and functions have set.
func (r *Release) changes(l lot, name string, secure bool) *changes {
	var c *changes
	if l.drawn {
		c = l.response(secure)
	}
	if secure && r.https.hsts != "" && public(name) {
		c = cmp.Or(c, new(changes))
		c.set = append(c.set, field{fieldHSTS, r.https.hsts})
	}
	return c
}

// enter finds the host of a canonical name, by lot where several releases share it,
// and counts the request into its release. It returns nil for a host that nobody
// serves.
func (d *Dispatcher) enter(name string, header http.Header) (*host, lot) {
	var l lot
	for {
		h, _, ok := d.table.Load().hosts.Lookup(name)
		if !ok {
			return nil, lot{}
		}
		if h.split != nil {
			if !l.drawn {
				l = draw(header)
			}
			h = h.split.choose(l.number)
		}
		// A release that was drained between the look-up and here is not in
		// the table any more: look again.
		if h.release.enter() {
			return h, l
		}
	}
}
