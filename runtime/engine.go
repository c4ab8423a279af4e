package runtime

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"sync"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"github.com/orla-edge/orla/modules"
	"github.com/orla-edge/orla/runtime/httpwasm"
)

// wasi is the module from which wasip1 guests import.
const wasi = wasi_snapshot_preview1.ModuleName

// Engine compiles modules and owns what they need. It is safe for concurrent use.
//
// There is one wazero Runtime in it, and there should be one Engine in a process:
// type ids break across Runtimes that share a compilation cache (wazero #2511).
type Engine struct {
	cfg     Config
	rt      wazero.Runtime
	cache   wazero.CompilationCache
	offered map[string]map[string]api.FunctionDefinition // by module and name
	obs     *observer

	mu    sync.Mutex // guards codes, code.refs and closed
	codes map[modules.Digest]*code
	// closed refuses new code once Close has been called.
	closed bool
}

// New returns an Engine. The caller closes it.
func New(ctx context.Context, cfg Config) (*Engine, error) {
	cfg = cfg.withDefaults()
	obs, err := newObserver(cfg)
	if err != nil {
		return nil, err
	}
	e := &Engine{cfg: cfg, obs: obs, codes: make(map[modules.Digest]*code)}
	if cfg.CacheDir == "" {
		e.cache = wazero.NewCompilationCache()
	} else if e.cache, err = wazero.NewCompilationCacheWithDir(cfg.CacheDir); err != nil {
		return nil, fmt.Errorf("open compilation cache %q: %w", cfg.CacheDir, err)
	}
	e.rt = wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfig().
		WithCoreFeatures(api.CoreFeaturesV2).
		WithCloseOnContextDone(true).
		WithCompilationCache(e.cache))
	if err := e.offer(ctx); err != nil {
		return nil, errors.Join(err, e.Close(ctx))
	}
	return e, nil
}

// offer instantiates the host modules and notes what they export.
func (e *Engine) offer(ctx context.Context) error {
	w, err := wasi_snapshot_preview1.Instantiate(ctx, e.rt)
	if err != nil {
		return fmt.Errorf("instantiate %s: %w", wasi, err)
	}
	_ = w // closed with the runtime
	if err := httpwasm.Instantiate(ctx, e.rt); err != nil {
		return fmt.Errorf("instantiate %s: %w", httpwasm.Module, err)
	}
	e.offered = make(map[string]map[string]api.FunctionDefinition)
	for _, name := range []string{wasi, httpwasm.Module} {
		e.offered[name] = maps.Clone(e.rt.Module(name).ExportedFunctionDefinitions())
	}
	return nil
}

// Close frees everything. No request may be in a handler, and no handler may be
// called afterwards.
func (e *Engine) Close(ctx context.Context) error {
	e.mu.Lock()
	e.closed = true
	e.mu.Unlock()
	return errors.Join(e.rt.Close(ctx), e.cache.Close(ctx))
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
