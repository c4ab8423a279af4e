package runtime

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/tetratelabs/wazero"

	"github.com/orla-edge/orla/modules"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/runtime/host"
	"github.com/orla-edge/orla/runtime/httpwasm"
	"github.com/orla-edge/orla/runtime/wasm"
	"github.com/orla-edge/orla/telemetry"
)

// Program is one function of a release, ready to answer. It is safe for concurrent
// use.
type Program struct {
	engine *Engine
	code   *code
	name   string
	limits limits
	config wazero.ModuleConfig // environment and arguments
	// guestConfig is what get_config of http-wasm returns.
	guestConfig string
	files       *tree // nil if there are none
	gate        *gate
	logger      *slog.Logger
	obs         *measures

	once sync.Once // guards Close
	err  error     // of Close
}

// Load prepares a function of an app: it reads, compiles and checks the module, the
// files and the limits, and runs the initialisation of an http-wasm handler once.
// Faults that the author can mend are [*FunctionError]s. A second program of the same
// module shares its code. The caller closes the Program.
func (e *Engine) Load(ctx context.Context, app string, f *orlav1.Function) (*Program, error) {
	p := &Program{engine: e, name: f.GetName()}
	if err := p.load(ctx, app, f); err != nil {
		return nil, of(f.GetName(), errors.Join(err, p.Close(ctx)))
	}
	return p, nil
}

func (p *Program) load(ctx context.Context, app string, f *orlav1.Function) (err error) {
	e := p.engine
	if p.limits, err = limitsOf(f, e.cfg); err != nil {
		return err
	}
	env, err := environment(f)
	if err != nil {
		return err
	}
	p.config, p.guestConfig = configure(f, env), configJSON(env)
	digest, err := modules.ParseDigest(f.GetModule())
	if err != nil {
		return moduleError("%v", err)
	}
	began := time.Now()
	p.code, err = e.acquire(ctx, digest, func() ([]byte, error) { return e.cfg.Blobs.Read(digest, MaxModule) })
	if err != nil {
		return err
	}
	if p.code.err != nil {
		return p.code.err
	}
	if m := p.code.decl.Memory; m != nil && uint64(m.Min)*wasm.PageSize > p.limits.memory {
		return &FunctionError{Field: "memory", Problem: tooLittle(uint64(m.Min)*wasm.PageSize, p.limits.memory)}
	}
	if len(f.GetFiles()) > 0 {
		if p.files, err = newTree(f.GetFiles(), e.cfg.Blobs); err != nil {
			return err
		}
	}
	p.gate = newGate(p.limits.concurrency, e.cfg.MaxWait)
	p.logger = e.cfg.Logger.With(telemetry.KeyApp, app, telemetry.KeyFunction, p.name)
	p.obs = newMeasures(e.obs, app, f, p.code.abi)
	e.obs.prepare.Record(ctx, time.Since(began).Seconds(), p.obs.labels)
	return p.probe(ctx)
}

// ABI returns the interface that the module was found to speak.
func (p *Program) ABI() orlav1.Abi { return p.code.abi }

// Close gives the program's code back. No request may be in a handler of it, and none
// may come. It is idempotent.
func (p *Program) Close(ctx context.Context) error {
	p.once.Do(func() {
		if p.code != nil {
			p.err = p.engine.release(context.WithoutCancel(ctx), p.code)
		}
	})
	return p.err
}

// probe initialises one instance, so that a handler that cannot start is found at
// deploy. A CGI program has no part that could be run without a request.
func (p *Program) probe(ctx context.Context) error {
	if p.code.abi != orlav1.Abi_ABI_HTTP_WASM {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, p.limits.timeout, errDeadline)
	defer cancel()
	log := host.NewLog(ctx, p.logger)
	out, errs := log.Stream("stdout"), log.Stream("stderr")
	defer errs.Flush()
	defer out.Flush()
	last := &tail{}
	i, err := p.instantiate(ctx, p.config.WithStdout(out).WithStderr(tee{last, errs}))
	if err != nil {
		return moduleError("it cannot be instantiated: %v", err)
	}
	err = i.initialise((&httpwasm.Call{Log: log, Config: p.guestConfig}).Context(ctx))
	if closing := i.close(context.WithoutCancel(ctx)); err == nil && closing != nil {
		return closing
	}
	if err == nil {
		return nil
	}
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, errDeadline) {
		return cause // the caller's, not the module's
	}
	return moduleError("its initialisation fails: %s", initProblem(ctx, err, last.String()))
}

// instantiate makes an instance for one request, with the program's files.
func (p *Program) instantiate(ctx context.Context, cfg wazero.ModuleConfig) (*instance, error) {
	cfg = sandbox(ctx, cfg)
	if p.files != nil {
		cfg = cfg.WithFSConfig(wazero.NewFSConfig().WithFSMount(p.files.mount(), "/"))
	}
	return p.engine.instantiate(ctx, p.code, cfg, p.limits.memory)
}
