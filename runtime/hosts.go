package runtime

import (
	"context"
	"encoding/binary"
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
		}), nil, nil).Export(wasm.VisitImport).Instantiate(ctx)
	return err
}

// The error numbers of WASI that are used here.
const (
	errnoSuccess = 0
	errnoFault   = 21
)

// instantiateWASI gives rt the system interface of wasip1: the engine's own, but for
// what must differ from request to request in an instance that is used again, and for
// proc_exit, which must not close it.
func instantiateWASI(ctx context.Context, rt wazero.Runtime) error {
	b := rt.NewHostModuleBuilder(wasi)
	wasi_snapshot_preview1.NewFunctionExporter().ExportFunctions(b)
	two, one := []api.ValueType{api.ValueTypeI32, api.ValueTypeI32}, []api.ValueType{api.ValueTypeI32}
	for _, f := range []struct {
		name            string
		params, results []api.ValueType
		call            api.GoModuleFunc
	}{
		{"environ_sizes_get", two, one, environSizes},
		{"environ_get", two, one, environ},
		{"proc_exit", one, nil, procExit},
		{"sched_yield", nil, one, schedYield},
	} {
		b.NewFunctionBuilder().WithGoModuleFunction(f.call, f.params, f.results).Export(f.name)
	}
	_, err := b.Instantiate(ctx)
	return err
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

func procExit(_ context.Context, _ api.Module, stack []uint64) {
	panic(sys.NewExitError(uint32(stack[0])))
}

func schedYield(_ context.Context, _ api.Module, stack []uint64) {
	goruntime.Gosched()
	stack[0] = errnoSuccess
}
