package runtime

import (
	"context"
	"encoding/binary"
	"fmt"
	goruntime "runtime"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
	"github.com/tetratelabs/wazero/sys"

	"github.com/orla-edge/orla/runtime/wasm"
)

const (
	// wasi is the module from which wasip1 guests import.
	wasi = wasi_snapshot_preview1.ModuleName
	// hostModule is the module from which prepared code imports.
	hostModule = wasm.HostModule
)

// instantiateVisit gives rt what prepared code calls when a budget is used up.
func instantiateVisit(ctx context.Context, rt wazero.Runtime) error {
	_, err := rt.NewHostModuleBuilder(hostModule).NewFunctionBuilder().
		WithGoModuleFunction(api.GoModuleFunc(func(ctx context.Context, _ api.Module, _ []uint64) {
			if err := runOf(ctx).visit(); err != nil {
				panic(err)
			}
		}), nil, nil).Export(wasm.VisitImport).NewFunctionBuilder().
		WithGoModuleFunction(api.GoModuleFunc(fetchRequest), nil, []api.ValueType{api.ValueTypeI32}).Export(wasm.ForkImport).
		Instantiate(ctx)
	return err
}

// The error numbers of WASI that are used here.
const (
	errnoSuccess = 0
	errnoFault   = 21
	errnoInvalid = 28
)

// maxEvents is how many events a guest may wait for in one call. The engine allocates
// for each.
const maxEvents = 4096

// instantiateWASI gives rt the system interface of wasip1: the engine's own, but for
// what must differ from request to request in an instance that is used again, for
// proc_exit, which must not close it, and for calls that take long, which are ended.
func instantiateWASI(ctx context.Context, rt wazero.Runtime) error {
	engine, err := wasi_snapshot_preview1.NewBuilder(rt).Compile(ctx)
	if err != nil {
		return err
	}
	own := map[string]api.GoModuleFunc{
		"environ_sizes_get": environSizes, "environ_get": environ, "proc_exit": procExit, "sched_yield": schedYield,
	}
	b := rt.NewHostModuleBuilder(wasi)
	for name, f := range engine.ExportedFunctions() {
		call := own[name]
		if call == nil {
			original, ok := f.GoFunction().(api.GoModuleFunction)
			if !ok {
				return fmt.Errorf("the engine's %s is a %T", name, f.GoFunction())
			}
			call = original.Call
		}
		if name == "poll_oneoff" {
			call = fewEvents(call)
		}
		b.NewFunctionBuilder().WithGoModuleFunction(checked(call), f.ParamTypes(), f.ResultTypes()).Export(name)
	}
	if _, err = b.Instantiate(ctx); err != nil {
		return err
	}
	return engine.Close(ctx)
}

// checked ends a guest whose time is up when it calls f, and when f has taken long.
func checked(f api.GoModuleFunc) api.GoModuleFunc {
	return func(ctx context.Context, mod api.Module, stack []uint64) {
		r := runOf(ctx)
		r.check()
		f(ctx, mod, stack)
		r.check()
	}
}

// fewEvents bounds how many events poll_oneoff is asked for, its third parameter.
func fewEvents(poll api.GoModuleFunc) api.GoModuleFunc {
	return func(ctx context.Context, mod api.Module, stack []uint64) {
		if uint32(stack[2]) > maxEvents {
			stack[0] = errnoInvalid
			return
		}
		poll(ctx, mod, stack)
	}
}

// environSizes tells how many variables there are, and how many bytes they take.
func environSizes(ctx context.Context, mod api.Module, stack []uint64) {
	size := 0
	env := runOf(ctx).env
	for _, v := range env {
		size += len(v) + 1
	}
	m := mod.Memory()
	if !m.WriteUint32Le(uint32(stack[0]), uint32(len(env))) || !m.WriteUint32Le(uint32(stack[1]), uint32(size)) {
		stack[0] = errnoFault
		return
	}
	stack[0] = errnoSuccess
}

// environ writes the variables, each with a NUL after it, and where each begins.
func environ(ctx context.Context, mod api.Module, stack []uint64) {
	env, m := runOf(ctx).env, mod.Memory()
	at, text := uint64(uint32(stack[0])), uint64(uint32(stack[1]))
	stack[0] = errnoFault
	for _, v := range env {
		begin, ok := m.Read(uint32(at), 4)
		to, fits := m.Read(uint32(text), uint32(len(v))+1)
		if !ok || !fits || at > 1<<32-4 || text > 1<<32-1 {
			return
		}
		binary.LittleEndian.PutUint32(begin, uint32(text))
		to[copy(to, v)] = 0
		at, text = at+4, text+uint64(len(v))+1
	}
	stack[0] = errnoSuccess
}

func procExit(ctx context.Context, _ api.Module, stack []uint64) {
	if l, ok := ctx.Value(lifeKey{}).(life); ok && l.inst.fork.reached {
		l.inst.fork.exit(uint32(stack[0]))
	}
	panic(sys.NewExitError(uint32(stack[0])))
}

func schedYield(_ context.Context, _ api.Module, stack []uint64) {
	goruntime.Gosched()
	stack[0] = errnoSuccess
}
