package runtime

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
	"google.golang.org/protobuf/proto"

	"github.com/orla-edge/orla/modules"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/runtime/host"
	"github.com/orla-edge/orla/telemetry"
)

// forever is later than any instance was used.
var forever = time.Unix(1<<40, 0)

// Program is one function of a release, ready to answer. It is safe for concurrent
// use.
//
// A program that nobody calls is put out of memory, and brought back from the cache of
// compiled code by the next request.
type Program struct {
	engine *Engine
	room   *room // of the app
	app    string
	name   string
	module modules.Digest
	abi    orlav1.Abi
	key    string // of its snapshot
	argv   []string
	env    []string // "NAME=value"
	limits limits
	// guestConfig is what get_config of http-wasm returns.
	guestConfig string
	kv          host.KV  // nil: the node has none
	stores      []string // of it that the function may use
	files       *tree    // nil if there are none
	gate        *gate
	circuit     circuit
	logRate     *rate.Limiter
	logger      *slog.Logger
	obs         *measures

	now  atomic.Pointer[loaded] // nil while out of memory
	used atomic.Int64           // when, in Unix nanoseconds

	mu     sync.Mutex // serialises loading, and guards the two below
	timer  *time.Timer
	closed bool
}

// Grants is what a function gets beside what its release says.
type Grants struct {
	// Secrets are variables of the environment whose values are not in the release.
	Secrets map[string]string
	// KV is the app's key-value store. Nil means that every call of it answers that it
	// cannot be reached.
	KV host.KV
}

// Load is [Engine.LoadWith] without grants.
func (e *Engine) Load(ctx context.Context, app string, f *orlav1.Function) (*Program, error) {
	return e.LoadWith(ctx, app, f, Grants{})
}

// LoadWith prepares a function of an app: it checks the module, the files and the limits,
// rewrites and compiles the code, and runs the initialisation once. Faults that the author
// can mend are [*FunctionError]s. Programs of the same module share its code. The caller
// closes the Program.
func (e *Engine) LoadWith(ctx context.Context, app string, f *orlav1.Function, g Grants) (*Program, error) {
	p := &Program{engine: e, app: app, name: f.GetName(), kv: g.KV, stores: f.GetKv()}
	began := time.Now()
	if err := p.configure(f, g.Secrets); err != nil {
		return nil, of(p.name, err)
	}
	p.room = e.enter(app)
	l, err := p.load(ctx)
	if err == nil {
		p.abi = l.snap.code.value.abi
		err = p.check(l)
	}
	if err != nil {
		return nil, of(p.name, errors.Join(err, p.Close(ctx)))
	}
	p.obs = newMeasures(e.obs, app, f, p.abi)
	e.obs.prepare.Record(ctx, time.Since(began).Seconds(), p.obs.labels)
	e.mu.Lock()
	e.programs[p] = struct{}{}
	e.mu.Unlock()
	e.crowd(ctx)
	return p, nil
}

// configure reads what f says.
func (p *Program) configure(f *orlav1.Function, secrets map[string]string) (err error) {
	e := p.engine
	if p.limits, err = limitsOf(f, e.cfg); err != nil {
		return err
	}
	env, err := environment(f, secrets)
	if err != nil {
		return err
	}
	for _, v := range env {
		p.env = append(p.env, v.name+"="+v.value)
	}
	p.argv, p.guestConfig = arguments(f), configJSON(env)
	if p.module, err = modules.ParseDigest(f.GetModule()); err != nil {
		return moduleError("%v", err)
	}
	if len(f.GetFiles()) > 0 {
		if p.files, err = newTree(f.GetFiles(), e.cfg.Blobs); err != nil {
			return err
		}
	}
	p.key = snapshotKey(p.app, f, secrets, p.limits)
	p.gate = newGate(p.limits.concurrency, e.cfg.MaxWait)
	p.logRate = rate.NewLimiter(rate.Limit(p.limits.logRate), p.limits.logRate)
	p.logger = e.cfg.Logger.With(telemetry.KeyApp, p.app, telemetry.KeyFunction, p.name)
	return nil
}

// snapshotKey is equal for functions of an app that initialise to the same state. Of
// secrets it has a hash: their values stay out of what is passed around.
func snapshotKey(app string, f *orlav1.Function, secrets map[string]string, l limits) string {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(&orlav1.Function{
		Name: f.GetName(), Module: f.GetModule(), Source: f.GetSource(), Env: f.GetEnv(), Args: f.GetArgs(), Files: f.GetFiles(),
		MemoryBytes: int64(l.memory), Limits: &orlav1.Limits{StackBytes: l.stack, TableElements: l.elements},
	})
	if err != nil {
		return "" // messages of plain fields always marshal
	}
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(secrets)) {
		_, _ = fmt.Fprintf(h, "%d %s %d %s", len(name), name, len(secrets[name]), secrets[name]) // a hash takes all
	}
	return app + "\x00" + string(h.Sum(nil)) + string(b)
}

// check compares what the module needs with what the function may have.
func (p *Program) check(l *loaded) error {
	c := l.snap.code.value
	for _, t := range c.decl.Tables {
		if t.Min > p.limits.elements {
			return &FunctionError{Field: "limits.table", Problem: tooFewElements(t.Min, p.limits.elements)}
		}
	}
	if c.decl.ImportsFrom(kvModule) && len(p.stores) == 0 {
		return &FunctionError{Field: "kv", Problem: fmt.Sprintf(
			"the module imports %s, the key-value store, and is granted no store of it; name those that it uses in the function's table of orla.toml: kv = [\"sessions\"]", kvModule)}
	}
	if p.limits.pooled && p.abi == orlav1.Abi_ABI_CGI {
		return &FunctionError{Field: "isolation", Problem: "a CGI program begins anew with each request and cannot be pooled; remove isolation = \"pooled\", or build an http-wasm handler"}
	}
	return nil
}

// load brings the program into memory, if it is not there, and returns what the caller
// need not drop.
func (p *Program) load(ctx context.Context) (*loaded, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l := p.now.Load(); l != nil {
		return l, nil
	}
	if p.closed {
		return nil, ErrClosed
	}
	e := p.engine
	lease, err := e.snapshots.acquire(ctx, p.key, func(ctx context.Context) (*snapshot, error) {
		c, err := e.acquire(ctx, p.app, p.module)
		if err != nil {
			return nil, err
		}
		if m := c.value.decl.Memory; m != nil && uint64(m.Min)<<16 > p.limits.memory {
			err = &FunctionError{Field: "memory", Problem: tooLittle(uint64(m.Min)<<16, p.limits.memory)}
			return nil, errors.Join(err, e.codes.release(ctx, c))
		}
		s, err := p.takeSnapshot(ctx, c)
		if err != nil {
			return nil, errors.Join(err, e.codes.release(ctx, c))
		}
		return s, nil
	})
	if err != nil {
		return nil, err
	}
	l := &loaded{engine: e, lease: lease, snap: lease.value}
	l.refs.Store(1)
	p.used.Store(time.Now().UnixNano())
	p.now.Store(l)
	p.timer = time.AfterFunc(e.cfg.Idle, p.tidy)
	return l, nil
}

// hold returns the program in memory. The caller drops it.
func (p *Program) hold(ctx context.Context) (*loaded, error) {
	for {
		l := p.now.Load()
		if l == nil {
			var err error
			if l, err = p.load(ctx); err != nil {
				return nil, err
			}
		}
		if l.hold() {
			return l, nil
		}
	}
}

// tidy closes instances that nobody has used for a while, and in the end puts the
// program out of memory.
func (p *Program) tidy() {
	ctx := context.Background()
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.now.Load()
	if p.closed || l == nil {
		return
	}
	idle := p.engine.cfg.Idle
	if time.Since(time.Unix(0, p.used.Load())) > 10*idle {
		p.unloadLocked(ctx)
		return
	}
	p.engine.report(ctx, l.shrink(ctx, time.Now().Add(-idle)))
	p.timer.Reset(idle)
}

// unloadLocked puts the program out of memory, once the requests inside have left.
func (p *Program) unloadLocked(ctx context.Context) {
	if l := p.now.Swap(nil); l != nil {
		p.timer.Stop()
		p.engine.report(ctx, l.drop(ctx))
	}
}

// crowd puts programs out of memory that nobody uses while there are too many in it,
// the least recently used first.
func (e *Engine) crowd(ctx context.Context) {
	var in []*Program
	for _, p := range e.all() {
		if p.now.Load() != nil {
			in = append(in, p)
		}
	}
	slices.SortFunc(in, func(a, b *Program) int { return int(a.used.Load()/1e6 - b.used.Load()/1e6) })
	for _, p := range in[:max(0, len(in)-e.cfg.MaxLoaded)] {
		p.mu.Lock()
		if l := p.now.Load(); l != nil && l.busy.Load() == 0 {
			p.unloadLocked(ctx)
		}
		p.mu.Unlock()
	}
}

// ABI returns the interface that the module was found to speak.
func (p *Program) ABI() orlav1.Abi { return p.abi }

// Close gives back what the program has. No request may be in a handler of it, and none
// may come. It is idempotent.
func (p *Program) Close(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.engine.leave(p)
	p.closed = true
	l := p.now.Swap(nil)
	if l == nil {
		return nil
	}
	p.timer.Stop()
	return l.drop(context.WithoutCancel(ctx))
}

// Stats is how a program is at one time.
type Stats struct {
	// Idle and Busy count its instances, Memory the bytes of their linear memories.
	Idle, Busy int
	Memory     int64
	// Mode says how an instance becomes clean: "PAGEMAP_SCAN", "pooled", "fresh" ….
	Mode string
	// Loaded reports whether the program is in memory.
	Loaded bool
}

// Stats returns how the program is now.
func (p *Program) Stats() Stats {
	l := p.now.Load()
	if l == nil {
		return Stats{Mode: p.mode(nil)}
	}
	return Stats{
		Idle: int(l.kept.Load()), Busy: int(l.busy.Load()), Memory: l.bytes.Load(), Mode: p.mode(l.snap), Loaded: true,
	}
}
