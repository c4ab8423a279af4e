package runtime

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tetratelabs/wazero"

	"github.com/orla-edge/orla/modules"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/runtime/compile"
	"github.com/orla-edge/orla/runtime/memory"
	"github.com/orla-edge/orla/runtime/wasm"
)

// codeKey tells codes apart.
type codeKey = modules.Digest

// code is a compiled module, shared by all snapshots of one digest.
type code struct {
	size     int
	decl     *wasm.Module
	prepared *wasm.Prepared // its Code is nil: the compiled module has it
	rewrote  int            // bytes of the prepared module
	abi      orlav1.Abi
	mod      wazero.CompiledModule
	// preparing and compiling took so long; the latter may have been loading from the cache.
	preparing, compiling time.Duration
}

// build checks, rewrites and compiles the module b. Where that fails, code holds what
// could be found out. The tenant has one compilation at a time.
func (e *Engine) build(ctx context.Context, tenant string, b []byte) (*code, error) {
	c := &code{size: len(b)}
	var err error
	if c.decl, err = declared(b); err != nil {
		return c, err
	}
	if err := e.checkImports(c.decl); err != nil {
		return c, err
	}
	began := time.Now()
	if c.prepared, err = wasm.Prepare(b, wasm.Rules{Taint: taints, Fork: forks}); err != nil {
		return c, prepareError(err, c.decl)
	}
	rewritten := c.prepared.Code
	c.prepared.Code, c.rewrote = nil, len(rewritten)
	c.preparing = time.Since(began)
	began = time.Now()
	c.mod, err = e.compiler.Load(ctx, e.rt, tenant, rewritten)
	c.compiling = time.Since(began)
	if err != nil {
		return c, compileError(err, c.decl)
	}
	if c.abi, err = e.check(c); err == nil {
		err = e.first(ctx, c)
	}
	if err != nil {
		return c, errors.Join(err, c.mod.Close(ctx))
	}
	return c, nil
}

// acquire returns the code of digest d. The caller releases it.
func (e *Engine) acquire(ctx context.Context, tenant string, d modules.Digest) (*lease[codeKey, *code], error) {
	return e.codes.acquire(ctx, d, func(ctx context.Context) (*code, error) {
		b, err := e.cfg.Blobs.Read(d, MaxModule)
		switch {
		case errors.Is(err, modules.ErrTooLarge):
			return nil, tooLarge()
		case errors.Is(err, modules.ErrNotFound):
			return nil, moduleError("its content %s is not in the node's store; deploy again", d)
		case err != nil:
			return nil, fmt.Errorf("read module %s: %w", d, err)
		}
		return e.build(ctx, tenant, b)
	})
}

func freeCode(ctx context.Context, c *code) error { return c.mod.Close(ctx) }

// first makes one instance before several may be made at a time (wazero #2520), and
// shows whether the module can be instantiated at all. It takes no memory from other
// guests: how much a function may have is not known yet, and no page is touched but
// those of the module's data.
func (e *Engine) first(ctx context.Context, c *code) error {
	i, err := e.instantiate(ctx, c, nil, &Program{limits: limits{memory: MaxMemory}, room: newRoom(new(memory.Budget), new(memory.Budget))})
	if full(err) {
		return err
	}
	if err != nil {
		return moduleError("it cannot be instantiated: %v", err)
	}
	return e.discard(ctx, i)
}

// taints tells which calls of the system interface leave an instance with other files
// than it began with: closing or renumbering those that it was given, which are
// standard input, output and error, and the root of its files.
func taints(module, name string) uint64 {
	const given, always = 4, 1 << 32
	switch {
	case module != wasi:
	case name == "fd_close":
		return given
	case name == "fd_renumber":
		return always
	}
	return 0
}

// compileError turns what the compiler says into words for the author.
func compileError(err error, m *wasm.Module) error {
	var limit *compile.LimitError
	switch {
	case errors.As(err, &limit):
		return moduleError("needs more %s to compile than the %s that there is; build it with optimisation, strip it, or split large functions", limit.What, limit.Limit)
	case errors.Is(err, compile.ErrInvalid):
		return invalid(err, m)
	}
	return fmt.Errorf("compile module: %w", err)
}
