package dispatch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/orla-edge/orla/modules"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/proxy"
	"github.com/orla-edge/orla/release"
	"github.com/orla-edge/orla/router"
	"github.com/orla-edge/orla/runtime"
	"github.com/orla-edge/orla/site"
)

// Blobs is where a release's contents are read from.
type Blobs interface {
	Read(d modules.Digest, limit int64) ([]byte, error)
	Open(d modules.Digest) (*os.File, error)
}

// Release is an app's release with everything prepared to serve it. It counts
// one reference for each who owns it (the table, a trial that may end, who has
// built or kept it) and one for each request inside; the last one out frees it.
type Release struct {
	Name     string
	Number   uint64
	Digest   modules.Digest
	Manifest *orlav1.Manifest

	hosts    map[string]*host            // by host pattern
	programs map[string]*runtime.Program // by function
	https    policy
	asks     bool // routes depend on the client's certificate
	free     func()

	// Each request writes to both: they are neighbours so that it needs one
	// cache line.
	refs   atomic.Int64
	counts counts
}

// host is what a release serves under one of its host patterns.
type host struct {
	split   *split // if not nil, several releases share the pattern, and nothing below is set
	release *Release
	tree    *router.Tree
	routes  []*route // by the tree's index
}

// owner returns the name of the releases that answer for h.
func (h *host) owner() string {
	if h.split != nil {
		return h.split.hosts[0].release.Name
	}
	return h.release.Name
}

// Spec names the release to build.
type Spec struct {
	Number   uint64
	Digest   modules.Digest
	Since    time.Time // when it was made live: Last-Modified of the site's files
	Manifest *orlav1.Manifest
}

// Build prepares a release: modules are compiled, the site's table is made,
// upstreams are set up. Pass it to [Dispatcher.Swap], [Dispatcher.Try] or
// [Dispatcher.Discard].
// The error is a [release.Problems] where a person can mend the cause.
func (d *Dispatcher) Build(ctx context.Context, s Spec) (_ *Release, err error) {
	// What the release runs in the background lives as long as the release.
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	b := builder{d: d, spec: s, background: background}
	b.own(stop)
	defer func() {
		if err != nil {
			b.freeAll()
		}
	}()
	if err := b.functions(ctx); err != nil {
		return nil, err
	}
	if err := b.site(); err != nil {
		return nil, err
	}
	r := &Release{Name: s.Manifest.GetName(), Number: s.Number, Digest: s.Digest, Manifest: s.Manifest, programs: b.programs}
	if r.https, err = newPolicy(s.Manifest.GetTls()); err != nil {
		return nil, err
	}
	r.asks = asks(s.Manifest)
	if err := b.hosts(r); err != nil {
		return nil, err
	}
	r.refs.Store(1)
	r.free = func() { d.background.Go(b.freeAll) }
	return r, nil
}

// Discard gives a release back that was built or kept and not swapped in.
func (d *Dispatcher) Discard(r *Release) { r.leave() }

// enter counts a request in; it reports false when the release is gone already.
func (r *Release) enter() bool {
	for {
		n := r.refs.Load()
		if n == 0 {
			return false
		}
		if r.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// leave counts a request, or an owner, out.
func (r *Release) leave() {
	if r.refs.Add(-1) == 0 {
		r.free() // returns at once: no request pays for the release's end
	}
}

// builder gathers the parts of one release and what frees them.
type builder struct {
	d          *Dispatcher
	spec       Spec
	background context.Context //nolint:containedctx // the lifetime of the release that is being built
	programs   map[string]*runtime.Program
	files      http.Handler
	frees      []func()
}

// own has f called, last first, when the release ends.
func (b *builder) own(f func()) { b.frees = append(b.frees, f) }

func (b *builder) freeAll() {
	for _, free := range slices.Backward(b.frees) {
		free()
	}
}

func (b *builder) functions(ctx context.Context) error {
	b.programs = map[string]*runtime.Program{}
	var problems release.Problems
	for _, f := range b.spec.Manifest.GetFunctions() {
		p, err := b.d.load(ctx, b.spec.Manifest.GetName(), f)
		if ctx.Err() != nil {
			return fmt.Errorf("load function %q: %w", f.GetName(), context.Cause(ctx))
		}
		if err != nil {
			problems = append(problems, functionProblem(f, err))
			continue
		}
		b.programs[f.GetName()] = p
		b.own(func() { b.d.close(context.WithoutCancel(ctx), b.spec.Manifest.GetName(), f.GetName(), p) })
	}
	if problems != nil {
		return problems
	}
	return nil
}

// load prepares a function with what it is granted.
func (d *Dispatcher) load(ctx context.Context, app string, f *orlav1.Function) (*runtime.Program, error) {
	var g runtime.Grants
	if d.cfg.Grants != nil {
		var err error
		if g, err = d.cfg.Grants(ctx, app, f); err != nil {
			return nil, err
		}
	}
	return d.cfg.Engine.LoadWith(ctx, app, f, g)
}

// functionProblem says where in the manifest the cause of a Load error is.
func functionProblem(f *orlav1.Function, err error) release.Problem {
	p := release.Problem{Field: "functions." + f.GetName() + ".module", Message: err.Error()}
	if fe, ok := errors.AsType[*runtime.FunctionError](err); ok {
		p.Field, p.Message = "functions."+f.GetName()+"."+fe.Field, fe.Problem
	}
	return p
}

func (b *builder) site() error {
	if b.spec.Manifest.GetSite() == nil {
		return nil
	}
	s, err := site.New(site.Config{
		Site: b.spec.Manifest.GetSite(), Modified: b.spec.Since,
		Blobs: b.d.cfg.Blobs, Cache: b.d.cfg.Cache, Logger: b.d.cfg.Logger,
	})
	if err != nil {
		return release.Problems{{Field: "site", Message: err.Error()}}
	}
	b.files = s
	return nil
}

// hosts makes the route handlers and hangs them into the tree of each host.
func (b *builder) hosts(r *Release) error {
	m := b.spec.Manifest
	compiled := make([]*route, len(m.GetRoutes()))
	problems := b.middleware()
	if problems != nil {
		return problems
	}
	for i, spec := range m.GetRoutes() {
		rt, err := b.route(spec)
		if err != nil {
			problems = append(problems, release.Problem{Field: fmt.Sprintf("routes[%d]", i), Message: err.Error()})
			continue
		}
		compiled[i] = rt
	}
	if problems != nil {
		return problems
	}
	trees, err := release.Trees(m)
	if err != nil {
		return fmt.Errorf("build routes of %q: %w", m.GetName(), err)
	}
	r.hosts = make(map[string]*host, len(m.GetHosts()))
	for _, pattern := range m.GetHosts() {
		tree, index := trees.Tree(pattern)
		routes := make([]*route, len(index))
		for i, at := range index {
			routes[i] = compiled[at]
		}
		r.hosts[pattern] = &host{release: r, tree: tree, routes: routes}
	}
	return nil
}

// route turns a manifest's route into its handler.
func (b *builder) route(spec *orlav1.Route) (*route, error) {
	pattern, err := router.ParsePattern(cmp.Or(spec.GetMatch().GetPath(), "/*"))
	if err != nil {
		return nil, err
	}
	rt := &route{spec: spec, pattern: pattern.String(), response: newChanges(spec.GetHeaders()), request: newChanges(spec.GetRequestHeaders())}
	if to := spec.GetRewrite(); to != "" {
		t, err := router.ParseTemplate(to, pattern.Names())
		if err != nil {
			return nil, err
		}
		rt.rewrite = &t
	}
	rt.front = b.front(rt, pattern)
	switch target := spec.GetTarget().(type) {
	case *orlav1.Route_Function:
		p := b.programs[target.Function]
		if p == nil {
			return nil, fmt.Errorf("function %q is not in this release", target.Function)
		}
		rt.handle = plain(p.Handler(rt.pattern, pattern.LiteralPrefix()))
	case *orlav1.Route_Site:
		if b.files == nil {
			return nil, errors.New("the release has no site")
		}
		rt.handle = plain(b.files)
	case *orlav1.Route_Proxy:
		rt.handle, err = b.proxy(target.Proxy)
	case *orlav1.Route_Redirect:
		rt.handle, err = redirect(target.Redirect, pattern)
	case *orlav1.Route_Respond:
		rt.handle = respond(target.Respond)
	default:
		if rt.rewrite == nil {
			return nil, errors.New("the route has no target")
		}
	}
	return rt, err
}

func (b *builder) proxy(spec *orlav1.Proxy) (handler, error) {
	p, err := proxy.New(proxy.Config{
		Proxy: spec, Pool: b.d.cfg.Upstreams, Logger: b.d.cfg.Logger.With("app", b.spec.Manifest.GetName()),
		TracerProvider: b.d.cfg.Tracer, Propagator: b.d.cfg.Propagator,
	})
	if err != nil {
		return nil, fmt.Errorf("set up proxy to %s: %w", strings.Join(spec.GetTo(), ", "), err)
	}
	b.own(p.Close)
	b.d.background.Go(func() {
		if err := p.Run(b.background); err != nil && b.background.Err() == nil {
			b.d.cfg.Logger.Error("health checks ended", "app", b.spec.Manifest.GetName(), "error", err)
		}
	})
	return plain(p), nil
}

// Probe compiles a function's module and returns its ABI. The compiled code is
// kept for a Build that follows until done is called. The error is a
// [release.Problems] where a person can mend the cause.
func (d *Dispatcher) Probe(ctx context.Context, app string, f *orlav1.Function) (abi orlav1.Abi, done func(), err error) {
	p, err := d.load(ctx, app, f)
	if ctx.Err() != nil && err != nil {
		return orlav1.Abi_ABI_UNSPECIFIED, nil, fmt.Errorf("load function %q: %w", f.GetName(), context.Cause(ctx))
	}
	if err != nil {
		return orlav1.Abi_ABI_UNSPECIFIED, nil, release.Problems{functionProblem(f, err)}
	}
	return p.ABI(), func() { d.close(context.WithoutCancel(ctx), app, f.GetName(), p) }, nil
}

func (d *Dispatcher) close(ctx context.Context, app, function string, p *runtime.Program) {
	if err := p.Close(ctx); err != nil {
		d.cfg.Logger.Warn("close function", "app", app, "function", function, "error", err)
	}
}
