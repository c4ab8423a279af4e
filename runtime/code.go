package runtime

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tetratelabs/wazero"

	"github.com/orla-edge/orla/modules"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/runtime/wasm"
)

// ErrClosed is returned once the Engine has been closed.
var ErrClosed = errors.New("runtime: engine is closed")

// code is a compiled module, shared by all programs of one digest.
type code struct {
	digest modules.Digest
	refs   int // guarded by Engine.mu

	ready chan struct{} // closed once all below is set
	err   error
	size  int
	decl  *wasm.Module
	abi   orlav1.Abi
	mod   wazero.CompiledModule
	took  time.Duration // to compile, or to load from the cache
}

// acquire returns the code of digest d, compiling what fetch returns if nobody holds
// it. The caller releases it, also code whose err is set.
func (e *Engine) acquire(ctx context.Context, d modules.Digest, fetch func() ([]byte, error)) (*code, error) {
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return nil, ErrClosed
	}
	c := e.codes[d]
	first := c == nil
	if first {
		c = &code{digest: d, ready: make(chan struct{})}
		e.codes[d] = c
	}
	c.refs++
	e.mu.Unlock()

	if first {
		c.err = e.build(context.WithoutCancel(ctx), c, fetch)
		if c.err != nil {
			e.forget(c) // the next one tries again
		}
		close(c.ready)
		return c, nil
	}
	select {
	case <-c.ready:
		return c, nil
	case <-ctx.Done():
		return nil, errors.Join(context.Cause(ctx), e.release(context.WithoutCancel(ctx), c))
	}
}

// forget lets later calls of acquire begin anew.
func (e *Engine) forget(c *code) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.codes[c.digest] == c {
		delete(e.codes, c.digest)
	}
}

// release gives c back; the last one frees it.
func (e *Engine) release(ctx context.Context, c *code) error {
	e.mu.Lock()
	c.refs--
	last := c.refs == 0
	if last && e.codes[c.digest] == c {
		delete(e.codes, c.digest)
	}
	e.mu.Unlock()
	if !last || c.mod == nil {
		return nil
	}
	return c.mod.Close(ctx)
}

// build fetches, checks and compiles.
func (e *Engine) build(ctx context.Context, c *code, fetch func() ([]byte, error)) error {
	b, err := fetch()
	switch {
	case errors.Is(err, modules.ErrTooLarge):
		return tooLarge()
	case errors.Is(err, modules.ErrNotFound):
		return moduleError("its content %s is not in the node's store; deploy again", c.digest)
	case err != nil:
		return fmt.Errorf("read module %s: %w", c.digest, err)
	}
	c.size = len(b)
	if c.decl, err = declared(b); err != nil {
		return err
	}
	began := time.Now()
	err = protect("compile", func() error {
		c.mod, err = e.rt.CompileModule(ctx, b)
		return err
	})
	c.took = time.Since(began)
	if err != nil {
		return compileError(err, c.decl)
	}
	if c.abi, err = e.check(c); err != nil {
		return err
	}
	return e.first(ctx, c)
}

// first makes one instance before several may be made at a time (wazero #2520), and
// shows whether the module can be instantiated at all.
func (e *Engine) first(ctx context.Context, c *code) error {
	i, err := e.instantiate(ctx, c, wazero.NewModuleConfig(), uint64(MaxMemory))
	if err != nil {
		return moduleError("it cannot be instantiated: %v", err)
	}
	return i.close(ctx)
}
