package runtime

import (
	"context"
	"errors"
	"fmt"
	"time"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/runtime/host"
	"github.com/orla-edge/orla/runtime/httpwasm"
	"github.com/orla-edge/orla/runtime/memory"
)

// snapshot is a module's state after its initialisation, from which instances are made.
// It is immutable, and shared by programs of the same module and environment.
type snapshot struct {
	code *lease[codeKey, *code]
	// image is nil where why says that no instance can be made from it: every request
	// initialises one of its own.
	image   *memory.Image
	globals []uint64
	why     string
	took    time.Duration // to initialise
	memory  uint64        // bytes after initialisation
	forked  bool          // instances wait where they fetch their request
}

// initTimeout is the least time that an initialisation may take.
const initTimeout = 10 * time.Second

// takeSnapshot initialises one instance and keeps what it has become.
func (p *Program) takeSnapshot(ctx context.Context, c *lease[codeKey, *code]) (*snapshot, error) {
	s := &snapshot{code: c}
	began := time.Now()
	i, err := p.initialised(ctx, c.value)
	if err != nil {
		return nil, err
	}
	s.took, s.memory = time.Since(began), i.mem.Size()
	if s.why = i.irreproducible(c.value); s.why == "" {
		s.globals = i.values()
		if s.image, err = memory.NewImage(i.mem.Bytes()); err != nil {
			s.why = err.Error()
		}
	}
	err = p.engine.discard(ctx, i)
	if err == nil && s.image != nil && c.value.abi == orlav1.Abi_ABI_CGI {
		err = p.tryFork(ctx, s)
	}
	if err != nil && s.image != nil {
		s.image.Close()
	}
	return s, err
}

// tryFork finds out whether it is worth to keep instances where they fetch their request.
func (p *Program) tryFork(ctx context.Context, s *snapshot) error {
	i, err := p.fromImage(ctx, s)
	if err != nil {
		return err
	}
	long, err := i.startFork(ctx, p)
	s.forked = err == nil && long
	return p.engine.discard(ctx, i)
}

// fromImage makes an instance from the snapshot.
func (p *Program) fromImage(ctx context.Context, s *snapshot) (*instance, error) {
	i, err := p.engine.instantiate(ctx, s.code.value, s.image, p)
	if err != nil {
		return nil, err
	}
	for n, g := range i.globals {
		g.Set(s.globals[n])
	}
	if s.forked {
		if _, err := i.startFork(ctx, p); err != nil {
			return nil, errors.Join(err, p.engine.discard(ctx, i))
		}
	}
	return i, nil
}

// irreproducible says why instances cannot be made from what i has become.
func (i *instance) irreproducible(c *code) string {
	switch {
	case memory.Best() == memory.None:
		return "this system has no way to reset a memory"
	case c.prepared.Unsaved != "":
		return "it has " + c.prepared.Unsaved
	case i.taint != nil && i.taint.Get() != 0:
		return "its initialisation changes a table, drops a segment or closes a file that it was given"
	case i.files != nil && i.files.open.Load() != 0:
		return "its initialisation leaves files open"
	}
	return ""
}

// initialised returns an instance made without an image, after its initialisation.
func (p *Program) initialised(ctx context.Context, c *code) (_ *instance, err error) {
	i, err := p.engine.instantiate(ctx, c, nil, p)
	if err != nil {
		if full(err) {
			return nil, err
		}
		return nil, moduleError("it cannot be instantiated: %v", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.engine.discard(ctx, i))
		}
	}()
	limits := p.limits
	limits.timeout = max(limits.timeout, initTimeout)
	limits.cpu = max(limits.cpu, initTimeout)
	r, stop := p.newRun(ctx, &limits)
	defer stop()
	log := host.NewLog(ctx, p.logger)
	out, errs, last := log.Stream("stdout"), log.Stream("stderr"), &tail{}
	defer errs.Flush()
	defer out.Flush()
	r.stdout, r.stderr = out, tee{last, errs}
	i.enter(r)
	defer func() { i.run = nil }()
	call := &httpwasm.Call{Log: log, Config: p.guestConfig}
	if err := r.initialise(call.Context(r), c); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return nil, cause // the caller's, not the module's
		}
		return nil, moduleError("its initialisation fails: %s", initProblem(err, last.String()))
	}
	return i, nil
}

// initialise runs what was the start section, and what a reactor's toolchain wants run
// before its exports are called: _initialize, or _start of a handler that was built as a
// command.
func (r *run) initialise(ctx context.Context, c *code) error {
	names := []string{}
	if c.prepared.Start != "" {
		names = append(names, c.prepared.Start)
	}
	if c.abi == orlav1.Abi_ABI_HTTP_WASM {
		if r.inst.mod.ExportedFunction("_initialize") != nil {
			names = append(names, "_initialize")
		} else {
			names = append(names, "_start")
		}
	}
	for _, name := range names {
		f := r.inst.mod.ExportedFunction(name)
		if f == nil {
			continue
		}
		if err := r.call(ctx, f, nil); err != nil {
			if name == c.prepared.Start {
				name = "the start function"
			}
			return fmt.Errorf("call %s: %w", name, err)
		}
	}
	return nil
}

// freeSnapshot gives back what takeSnapshot has made.
func (e *Engine) freeSnapshot(ctx context.Context, s *snapshot) error {
	if s.image != nil {
		s.image.Close()
	}
	return e.codes.release(ctx, s.code)
}
