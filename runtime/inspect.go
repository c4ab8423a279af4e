package runtime

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/tetratelabs/wazero"

	"github.com/orla-edge/orla/modules"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/runtime/wasm"
)

// Info is what can be told of a module without a request.
type Info struct {
	Digest modules.Digest
	// Size is that of the file in bytes.
	Size int
	ABI  orlav1.Abi
	// Module is what the file declares; nil if it could not be read.
	Module *wasm.Module
	// Compile is the time to compile, or to load compiled code that the cache or a live
	// program has.
	Compile time.Duration
	// Init is the time to make an instance and run its initialisation, without a cache:
	// what a request pays first.
	Init time.Duration
	// Memory is the size in bytes of the linear memory after initialisation.
	Memory int64
}

// Inspect compiles a module and makes one instance of it. Where the module cannot be
// run, Info holds what could be found out, and the error, a [*FunctionError], says why.
func (e *Engine) Inspect(ctx context.Context, b []byte) (info Info, err error) {
	info = Info{Digest: modules.Sum(b), Size: len(b)}
	c, err := e.acquire(ctx, info.Digest, func() ([]byte, error) { return b, nil })
	if err != nil {
		return info, err
	}
	defer func() { err = errors.Join(err, e.release(ctx, c)) }()
	info.Module, info.ABI, info.Compile = c.decl, c.abi, c.took
	if c.err != nil {
		return info, c.err
	}
	ctx, cancel := context.WithTimeout(ctx, e.cfg.Timeout)
	defer cancel()
	began := time.Now()
	i, err := e.instantiate(ctx, c, sandbox(ctx, wazero.NewModuleConfig()).WithStdout(io.Discard).WithStderr(io.Discard), MaxMemory)
	if err != nil {
		return info, moduleError("it cannot be instantiated: %v", err)
	}
	defer func() { err = errors.Join(err, i.close(ctx)) }()
	if c.abi == orlav1.Abi_ABI_HTTP_WASM {
		if err := i.initialise(ctx); err != nil {
			return info, moduleError("its initialisation fails: %v", err)
		}
	}
	info.Init = time.Since(began)
	if m := i.mod.Memory(); m != nil {
		info.Memory = int64(m.Size())
	}
	return info, nil
}
