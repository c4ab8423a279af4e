package runtime

import (
	"context"
	"errors"
	"time"

	"github.com/orla-edge/orla/modules"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/runtime/memory"
	"github.com/orla-edge/orla/runtime/wasm"
)

// Info is what can be told of a module without a request.
type Info struct {
	Digest modules.Digest
	// Size is that of the file in bytes, Prepared that of what is compiled.
	Size, Prepared int
	ABI            orlav1.Abi
	// Module is what the file declares; nil if it could not be read.
	Module *wasm.Module
	// Prepare is the time to check and rewrite the module, Compile to compile it, or to
	// load compiled code that the cache or a live program has.
	Prepare, Compile time.Duration
	// Init is the time to make an instance without an image and run its initialisation.
	Init time.Duration
	// Memory is the size in bytes of the linear memory after initialisation.
	Memory int64
	// Irreproducible says why instances cannot be made from an image of that memory, and
	// are initialised for each request; empty if they can.
	Irreproducible string
	// Instance is the time to make an instance from the image, Reset to make one clean
	// that is used again, after a request that did nothing; zero if Irreproducible.
	Instance, Reset time.Duration
	// Forked reports whether instances are kept where the program fetches its request,
	// because it computes for long before it does; Reset is not known then.
	Forked bool
	// Method is how the memory that a request has written to is found: "PAGEMAP_SCAN".
	Method string
}

// Inspect compiles a module and makes instances of it. Where the module cannot be run,
// Info holds what could be found out, and the error, a [*FunctionError], says why.
func (e *Engine) Inspect(ctx context.Context, b []byte) (info Info, err error) {
	info = Info{Digest: modules.Sum(b), Size: len(b), Method: string(memory.Best())}
	var found *code
	c, err := e.codes.acquire(ctx, info.Digest, func(ctx context.Context) (*code, error) {
		found, err = e.build(ctx, "", b)
		return found, err
	})
	if c != nil {
		found = c.value
	}
	if found != nil {
		info.Module, info.ABI, info.Prepared = found.decl, found.abi, found.rewrote
		info.Prepare, info.Compile = found.preparing, found.compiling
	}
	if err != nil {
		return info, err
	}
	f := &orlav1.Function{Name: "module", MemoryBytes: MaxMemory, Module: info.Digest.String()}
	p := &Program{engine: e, room: newRoom(&e.budget, &e.instances), name: f.GetName(), abi: found.abi}
	if err := p.configure(f, nil); err != nil {
		return info, errors.Join(err, e.codes.release(ctx, c))
	}
	s, err := p.takeSnapshot(ctx, c)
	if err != nil {
		return info, errors.Join(err, e.codes.release(ctx, c))
	}
	defer func() { err = errors.Join(err, e.freeSnapshot(ctx, s)) }()
	info.Forked = s.forked
	info.Init, info.Memory, info.Irreproducible = s.took, int64(s.memory), s.why
	if s.image == nil {
		return info, nil
	}
	return info, p.price(ctx, s, &info)
}

// price measures what a clean instance costs.
func (p *Program) price(ctx context.Context, s *snapshot, info *Info) error {
	l := &loaded{engine: p.engine, snap: s}
	const times = 5
	for n := range times {
		began := time.Now()
		i, err := l.make(ctx, p)
		if err != nil {
			return err
		}
		took := time.Since(began)
		var cleaned time.Duration
		if !s.forked {
			cleaned, err = p.clean(ctx, i, s)
		}
		if err = errors.Join(err, l.discard(ctx, i)); err != nil {
			return err
		}
		if n == 0 || took < info.Instance {
			info.Instance = took
		}
		if n == 0 || cleaned < info.Reset {
			info.Reset = cleaned
		}
	}
	return nil
}

// clean makes an instance clean that has written nothing, and tells how long that took.
func (p *Program) clean(ctx context.Context, i *instance, s *snapshot) (time.Duration, error) {
	r, stop := p.newRun(ctx, &p.limits)
	defer stop()
	i.enter(r)
	r.meter.faulted = true
	began := time.Now()
	err := i.reset(s.globals)
	return time.Since(began), err
}

// mode says how an instance of the program becomes clean.
func (p *Program) mode(s *snapshot) string {
	switch {
	case p.limits.pooled:
		return "pooled"
	case p.limits.fresh, s != nil && s.image == nil:
		return "fresh"
	}
	return string(memory.Best())
}
