package wasm_test

import (
	"context"
	"errors"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/orla-edge/orla/runtime/wasm"
)

// errSpent is what the test engine's visit panics with.
var errSpent = errors.New("the budget is spent")

// budget is what the test engine gives to a guest.
type budget struct {
	slice  int64 // fuel a visit
	slices int   // visits for want of fuel; then errSpent
	stack  int64
	calls  int64
}

// plenty never ends a guest before the engine would.
var plenty = budget{slice: 10_000, slices: 1 << 40, stack: 1 << 40, calls: 1 << 40}

// engine does with prepared modules what runtime has to.
type engine struct {
	wazero.Runtime
	budget
	visits int
}

func newEngine(t testing.TB, cfg wazero.RuntimeConfig, b budget) *engine {
	e := &engine{Runtime: wazero.NewRuntimeWithConfig(t.Context(), cfg.WithCoreFeatures(api.CoreFeaturesV2)), budget: b}
	t.Cleanup(func() { e.Close(context.Background()) })
	_, err := e.NewHostModuleBuilder(wasm.HostModule).NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(e.visit), nil, nil).
		Export(wasm.VisitImport).NewFunctionBuilder().WithFunc(func() uint32 { return 0 }).Export(wasm.ForkImport).Instantiate(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func global(m api.Module, name string) api.MutableGlobal {
	return m.ExportedGlobal(name).(api.MutableGlobal)
}

func (e *engine) visit(_ context.Context, m api.Module, _ []uint64) {
	e.visits++
	if int64(global(m, wasm.FuelGlobal).Get()) < 0 {
		if e.slices--; e.slices < 0 {
			panic(errSpent)
		}
		global(m, wasm.FuelGlobal).Set(uint64(e.slice))
		return
	}
	panic(errSpent)
}

// start makes an instance of p as an engine does.
func (e *engine) start(ctx context.Context, p *wasm.Prepared, name string) (api.Module, error) {
	c, err := e.CompileModule(ctx, p.Code)
	if err != nil {
		return nil, err
	}
	m, err := e.InstantiateModule(ctx, c, wazero.NewModuleConfig().WithName(name).WithStartFunctions())
	if err != nil {
		return nil, err
	}
	for g, v := range map[string]int64{
		wasm.FuelGlobal: e.slice, wasm.StackGlobal: e.stack, wasm.CallsGlobal: e.calls, wasm.ElementsGlobal: wasm.MaxTable,
	} {
		global(m, g).Set(uint64(v))
	}
	for _, s := range p.Data {
		if !m.Memory().Write(s.Offset, s.Bytes) {
			return nil, errors.New("data do not fit")
		}
	}
	if p.Start != "" {
		if _, err := m.ExportedFunction(p.Start).Call(ctx); err != nil {
			return nil, err
		}
	}
	return m, nil
}
