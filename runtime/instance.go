package runtime

import (
	"context"
	"errors"
	"reflect"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/sys"

	"github.com/orla-edge/orla/runtime/httpwasm"
	"github.com/orla-edge/orla/runtime/memory"
	"github.com/orla-edge/orla/runtime/wasm"
)

// instance is a module with a memory of its own. One request uses it at a time.
type instance struct {
	mod   api.Module
	mem   *memory.Memory
	files *mount // nil if there are none
	room  *room

	// The globals that wasm.Prepare has added, nil where it has not.
	fuel, stack, calls, elements, taint api.MutableGlobal
	// globals are the guest's own, in the order of wasm.Prepared.Globals.
	globals []api.MutableGlobal

	command, request, response api.Function // exports, nil where there are none

	fork    *fork // nil unless it goes on from the call that fetches its request
	run     *run  // nil between requests
	idle    time.Time
	counted int64 // bytes in loaded.bytes
}

// instantiate makes an instance whose memory begins as image, or as zeros with the
// module's data if there is none, and ends at the program's limit or its app's share. It
// runs nothing of the module. When the node has no room, the instances that nobody uses
// make it.
func (e *Engine) instantiate(ctx context.Context, c *code, image *memory.Image, p *Program) (*instance, error) {
	i, err := e.tryInstantiate(ctx, c, image, p)
	if full(err) && e.reclaim(ctx, p.app) {
		return e.tryInstantiate(ctx, c, image, p)
	}
	return i, err
}

func (e *Engine) tryInstantiate(ctx context.Context, c *code, image *memory.Image, p *Program) (*instance, error) {
	if !p.room.instances.Take(1) {
		return nil, errNoInstance
	}
	i := &instance{room: p.room, mem: memory.New(image, p.limits.memory, p.room.memory)}
	if p.files != nil {
		i.files = p.files.mount()
	}
	err := i.start(ctx, e.rt, c, image, p.argv)
	if err != nil {
		if i.mem.Refused() { // the guest's own limit holds what it begins with
			err = errors.Join(errNoMemory, err)
		}
		return nil, errors.Join(err, e.discard(ctx, i))
	}
	return i, nil
}

func (i *instance) start(ctx context.Context, rt wazero.Runtime, c *code, image *memory.Image, argv []string) error {
	alloc := experimental.MemoryAllocatorFunc(func(_, most uint64) experimental.LinearMemory {
		i.mem.Limit(most)
		return i.mem
	})
	err := protect("instantiate", func() (err error) {
		i.mod, err = rt.InstantiateModule(experimental.WithMemoryAllocator(ctx, alloc), c.mod, i.config(argv))
		return err
	})
	if err != nil {
		return err
	}
	i.find(c)
	if image == nil {
		return i.fill(c.prepared.Data)
	}
	if grow := image.Size()/wasm.PageSize - i.mem.Size()/wasm.PageSize; grow > 0 {
		if _, ok := i.mod.Memory().Grow(uint32(grow)); !ok {
			return errNoMemory
		}
	}
	return nil
}

// find looks up what is used of the instance's exports.
func (i *instance) find(c *code) {
	global := func(name string) api.MutableGlobal {
		g, _ := i.mod.ExportedGlobal(name).(api.MutableGlobal)
		return g
	}
	i.fuel, i.stack, i.calls = global(wasm.FuelGlobal), global(wasm.StackGlobal), global(wasm.CallsGlobal)
	i.elements, i.taint = global(wasm.ElementsGlobal), global(wasm.TaintGlobal)
	for _, g := range c.prepared.Globals {
		i.globals = append(i.globals, global(g.Export))
	}
	i.command = i.mod.ExportedFunction("_start")
	i.request = i.mod.ExportedFunction(httpwasm.HandleRequest)
	i.response = i.mod.ExportedFunction(httpwasm.HandleResponse)
}

// fill writes the data of a module that no image has.
func (i *instance) fill(data []wasm.Segment) error {
	for _, d := range data {
		m := i.mem.Bytes()
		if uint64(d.Offset)+uint64(len(d.Bytes)) > uint64(len(m)) {
			return errors.New("out of bounds memory access: a data segment ends beyond the memory")
		}
		copy(m[d.Offset:], d.Bytes)
	}
	return nil
}

// values returns the guest's globals.
func (i *instance) values() []uint64 {
	v := make([]uint64, len(i.globals))
	for n, g := range i.globals {
		v[n] = g.Get()
	}
	return v
}

// enter gives the instance to a run, with what it may use.
func (i *instance) enter(r *run) {
	i.run, r.inst = r, i
	l := r.limits
	set(i.fuel, slice)
	set(i.stack, uint64(l.stack))
	set(i.calls, uint64(l.calls))
	set(i.elements, uint64(l.elements))
}

func set(g api.MutableGlobal, v uint64) {
	if g != nil {
		g.Set(v)
	}
}

// reset makes the instance as it was when its image was taken, with the globals of then.
// An error says why it cannot.
func (i *instance) reset(globals []uint64) error {
	switch {
	case i.taint != nil && i.taint.Get() != 0:
		return errors.New("the guest has changed a table, dropped a segment or closed a file that it was given")
	case i.files != nil && i.files.open.Load() != 0:
		return errors.New("the guest has left files open")
	}
	grown := i.mem.Size()
	if err := i.mem.Reset(i.run.meter.faulted); err != nil {
		return err
	}
	if grown > i.mem.Size() {
		if err := shrink(i.mod.Memory(), i.mem.Size()); err != nil {
			return err
		}
	}
	for n, g := range i.globals {
		g.Set(globals[n])
	}
	if i.fork == nil {
		i.unwind()
	}
	return nil
}

// unwind gives back the native stacks of calls that were nested deeply: the engine keeps
// one, as large as it has ever become, for each function that it has handed out.
func (i *instance) unwind() {
	for _, f := range []*api.Function{&i.command, &i.request, &i.response} {
		if *f != nil && stackOf(*f) > maxStack {
			*f = i.mod.ExportedFunction((*f).Definition().ExportNames()[0])
		}
	}
}

// maxStack is how many bytes of native stack an idle instance keeps for a function.
const maxStack = 256 << 10

// stackOf returns the bytes of native stack that f has; 0 if the engine does not tell.
func stackOf(f api.Function) int {
	if v := reflect.ValueOf(f); v.Kind() == reflect.Pointer && v.Elem().Kind() == reflect.Struct {
		if stack := v.Elem().FieldByName("stack"); stack.IsValid() && stack.Kind() == reflect.Slice {
			return stack.Len()
		}
	}
	return 0
}

// shrink makes the engine's view of a memory size bytes long. The engine has no way to,
// but asks the allocator again when a memory grows: its view is cut to one page less,
// and then grows by that page.
func shrink(m api.Memory, size uint64) error {
	if v := reflect.ValueOf(m); size >= wasm.PageSize && v.Kind() == reflect.Pointer && v.Elem().Kind() == reflect.Struct {
		if buffer := v.Elem().FieldByName("Buffer"); buffer.IsValid() && buffer.CanSet() && buffer.Type() == reflect.TypeFor[[]byte]() {
			buffer.SetBytes(buffer.Bytes()[:size-wasm.PageSize])
			if _, ok := m.Grow(1); ok && uint64(m.Size()) == size {
				return nil
			}
		}
	}
	return errors.New("the memory has grown, and the engine cannot shrink it")
}

// call runs f in a segment of the meter.
func (r *run) call(ctx context.Context, f api.Function, stack []uint64) error {
	if r.Err() != nil {
		return context.Cause(r)
	}
	r.meter.begin()
	defer r.meter.end()
	return protect("call", func() error { return f.CallWithStack(ctx, stack) })
}

var _ httpwasm.Guest = (*run)(nil)

// HandleRequest implements [httpwasm.Guest].
func (r *run) HandleRequest(ctx context.Context) (uint64, error) {
	var stack [1]uint64
	err := r.call(ctx, r.inst.request, stack[:])
	return stack[0], err
}

// HandleResponse implements [httpwasm.Guest].
func (r *run) HandleResponse(ctx context.Context, requestContext, isError uint32) error {
	if r.inst.response == nil {
		return nil
	}
	return r.call(ctx, r.inst.response, []uint64{uint64(requestContext), uint64(isError)})
}

// visit is what a guest calls when one of its budgets is used up.
func (r *run) visit() error {
	i := r.inst
	if int64(i.calls.Get()) < 0 {
		return errCalls
	}
	if int64(i.stack.Get()) < 0 {
		return errStack
	}
	if int64(i.fuel.Get()) >= 0 {
		return nil
	}
	if err := r.meter.visit(); err != nil {
		return err
	}
	i.fuel.Set(slice)
	return nil
}

// discard frees an instance. Nobody may use its memory afterwards.
func (e *Engine) discard(ctx context.Context, i *instance) error {
	i.room.instances.Give(1)
	if i.fork != nil {
		i.fork.close()
	}
	var err error
	if i.mod != nil {
		err = protect("close instance", func() error { return i.mod.Close(context.WithoutCancel(ctx)) })
	}
	i.mem.Free()
	return err
}

// exitCode returns the code with which a guest has ended itself.
func exitCode(err error) (code uint32, ok bool) {
	var exit *sys.ExitError
	if !errors.As(err, &exit) {
		return 0, false
	}
	return exit.ExitCode(), true
}
