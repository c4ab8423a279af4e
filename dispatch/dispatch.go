// Package dispatch is the live table: which release answers which host, behind
// one atomic pointer. A release is built beside the table with everything that
// is slow, then swapped in; the one that it replaces is drained and freed by the
// last request that leaves it. Dispatch does not know where releases come from.
package dispatch

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/orla-edge/orla/proxy"
	"github.com/orla-edge/orla/router"
	"github.com/orla-edge/orla/runtime"
	"github.com/orla-edge/orla/site"
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
	// Cache holds the contents of small site files. Nil means none.
	Cache *site.Cache
	// Upstreams holds the connections to app servers. Nil means that each
	// proxy route keeps its own.
	Upstreams *proxy.Pool
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

	mu       sync.Mutex // guards releases and makes one swap at a time
	releases map[string]*Release

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
	d := &Dispatcher{cfg: cfg, releases: map[string]*Release{}}
	d.table.Store(&table{})
	return d
}

// Revision returns the register's revision that the table shows.
func (d *Dispatcher) Revision() uint64 { return d.table.Load().revision }

// Swap makes a new version of the table: each release in put replaces the one
// of the same name, those named in remove go, all at once. The dispatcher owns
// the releases from here on. A release that claims a host of another one is
// refused and closed; the error names it, the others are swapped all the same.
func (d *Dispatcher) Swap(revision uint64, put []*Release, remove []string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	hosts := d.table.Load().hosts
	var retired []*Release
	drop := func(name string) {
		if old := d.releases[name]; old != nil {
			for pattern := range old.hosts {
				hosts = hosts.Without(pattern)
			}
			retired = append(retired, old)
			delete(d.releases, name)
		}
	}
	for _, name := range remove {
		drop(name)
	}
	for _, r := range put {
		drop(r.Name)
	}
	var refused []string
	for _, r := range put {
		if pattern, owner := taken(hosts, r); owner != "" {
			refused = append(refused, fmt.Sprintf("%s: host %q belongs to %s", r.Name, pattern, owner))
			retired = append(retired, r)
			continue
		}
		for pattern, h := range r.hosts {
			hosts = hosts.With(pattern, h)
		}
		d.releases[r.Name] = r
	}
	d.table.Store(&table{revision: revision, hosts: hosts})
	for _, r := range retired {
		r.leave() // the table's own reference
	}
	if refused != nil {
		slices.Sort(refused)
		return fmt.Errorf("dispatch: swap refused: %q", refused)
	}
	return nil
}

// taken returns the first host of r that another release has in hosts.
func taken(hosts router.Hosts[*host], r *Release) (pattern, owner string) {
	for pattern := range r.hosts {
		if h, ok := hosts.Get(pattern); ok {
			return pattern, h.release.Name
		}
	}
	return "", ""
}

// Live returns the releases now served, ordered by name.
func (d *Dispatcher) Live() []*Release {
	d.mu.Lock()
	defer d.mu.Unlock()
	live := make([]*Release, 0, len(d.releases))
	for _, r := range d.releases {
		live = append(live, r)
	}
	slices.SortFunc(live, func(a, b *Release) int { return compareName(a, b) })
	return live
}

// Get returns the live release of name; nil if there is none.
func (d *Dispatcher) Get(name string) *Release {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.releases[name]
}

// Serves reports whether some release answers for host, a canonical host name.
func (d *Dispatcher) Serves(host string) bool {
	_, _, ok := d.table.Load().hosts.Lookup(host)
	return ok
}

// Close takes every release off the table and waits until the last request has
// left and all is freed. Stop the listeners first.
func (d *Dispatcher) Close() {
	d.mu.Lock()
	names := make([]string, 0, len(d.releases))
	for name := range d.releases {
		names = append(names, name)
	}
	revision := d.table.Load().revision
	d.mu.Unlock()
	_ = d.Swap(revision, nil, names) // refuses only what is put
	d.background.Wait()
}

// ServeHTTP implements http.Handler.
func (d *Dispatcher) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !d.control(w, r) {
		return
	}
	h := d.enter(r)
	if h == nil {
		unknownHost(w)
		return
	}
	defer h.release.leave()
	h.serve(w, r, 0)
}

// enter finds the host of r and counts the request into its release. It returns
// nil for a host that nobody serves.
func (d *Dispatcher) enter(r *http.Request) *host {
	name := router.CleanHost(r.Host)
	for {
		h, _, ok := d.table.Load().hosts.Lookup(name)
		if !ok {
			return nil
		}
		// A release that was drained between the look-up and here is not in
		// the table any more: look again.
		if h.release.enter() {
			return h
		}
	}
}
