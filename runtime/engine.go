package runtime

import (
	"context"
	"errors"
	"fmt"
	"maps"
	goruntime "runtime"
	"runtime/debug"
	"sync"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/orla-edge/orla/runtime/compile"
	"github.com/orla-edge/orla/runtime/httpwasm"
	"github.com/orla-edge/orla/runtime/memory"
	"github.com/orla-edge/orla/telemetry"
)

// Engine prepares modules and owns what they need. It is safe for concurrent use.
//
// There is one wazero Runtime in it, and there should be one Engine in a process:
// type ids break across Runtimes that share a compilation cache (wazero #2511).
type Engine struct {
	cfg      Config
	rt       wazero.Runtime
	compiler *compile.Compiler
	offered  map[string]map[string]api.FunctionDefinition // by module and name
	obs      *observer

	codes     *shared[codeKey, *code]
	snapshots *shared[string, *snapshot]
	queue     *queue
	budget    memory.Budget // of all linear memories, in bytes
	instances memory.Budget

	mu       sync.Mutex // guards the two below, and room.programs
	programs map[*Program]struct{}
	rooms    map[string]*room // by app
}

// New returns an Engine. The caller closes it.
func New(ctx context.Context, cfg Config) (*Engine, error) {
	cfg = cfg.withDefaults()
	e := &Engine{
		cfg:      cfg,
		codes:    newShared[codeKey](freeCode),
		queue:    newQueue(max(1, goruntime.GOMAXPROCS(0)-1)),
		programs: make(map[*Program]struct{}),
		rooms:    make(map[string]*room),
	}
	e.snapshots = newShared[string](e.freeSnapshot)
	e.budget.Max, e.instances.Max = cfg.MaxMemory, int64(cfg.MaxInstances)
	var err error
	if e.obs, err = newObserver(cfg, e); err != nil {
		return nil, err
	}
	e.compiler, err = compile.New(compile.Config{Dir: cfg.CacheDir, Command: cfg.CompileCommand, Logger: cfg.Logger})
	if err != nil {
		return nil, fmt.Errorf("open compilation cache %q: %w", cfg.CacheDir, err)
	}
	e.rt = wazero.NewRuntimeWithConfig(ctx, compile.RuntimeConfig().WithCompilationCache(e.compiler.Cache()))
	if err := e.offer(ctx); err != nil {
		return nil, errors.Join(err, e.Close(ctx))
	}
	return e, nil
}

// offer instantiates the host modules and notes what they export.
func (e *Engine) offer(ctx context.Context) error {
	for _, m := range []struct {
		name        string
		instantiate func(context.Context, wazero.Runtime) error
	}{{wasi, instantiateWASI}, {httpwasm.Module, httpwasm.Instantiate}, {kvModule, instantiateKV}, {hostModule, instantiateVisit}} {
		if err := m.instantiate(ctx, e.rt); err != nil {
			return fmt.Errorf("instantiate %s: %w", m.name, err)
		}
	}
	e.offered = make(map[string]map[string]api.FunctionDefinition)
	for _, name := range []string{wasi, httpwasm.Module, kvModule} {
		e.offered[name] = maps.Clone(e.rt.Module(name).ExportedFunctionDefinitions())
	}
	return nil
}

// Clean bounds the cache of compiled code: by its size, and by how long its entries
// have not been used.
func (e *Engine) Clean(ctx context.Context) error { return e.compiler.Clean(ctx) }

// Close frees everything. No request may be in a handler, and no handler may be
// called afterwards.
func (e *Engine) Close(ctx context.Context) error {
	e.codes.close()
	e.snapshots.close()
	e.obs.stop()
	return errors.Join(e.rt.Close(ctx), e.compiler.Cache().Close(ctx))
}

func (e *Engine) all() []*Program {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := make([]*Program, 0, len(e.programs))
	for p := range e.programs {
		all = append(all, p)
	}
	return all
}

// report logs what went wrong while something was freed: nobody waits for it.
func (e *Engine) report(ctx context.Context, err error) {
	if err != nil {
		e.cfg.Logger.ErrorContext(ctx, "freeing an instance failed", telemetry.KeyError, err)
	}
}

// protect turns a panic of the engine into an error.
func protect(what string, f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%s: engine panicked: %v\n%s", what, p, debug.Stack())
		}
	}()
	return f()
}
