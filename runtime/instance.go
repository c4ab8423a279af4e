package runtime

import (
	"context"
	"errors"
	"fmt"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/sys"
)

// instance is a module with a memory of its own, for one request.
type instance struct {
	mod api.Module
	mem *memory
}

// instantiate makes an instance whose memory ends at limit bytes. It runs the start
// section, and none of the module's exports.
func (e *Engine) instantiate(ctx context.Context, c *code, cfg wazero.ModuleConfig, limit uint64) (*instance, error) {
	i := &instance{mem: &memory{limit: limit}}
	alloc := experimental.MemoryAllocatorFunc(func(_, most uint64) experimental.LinearMemory {
		i.mem.limit = min(limit, most)
		return i.mem
	})
	err := protect("instantiate", func() (err error) {
		i.mod, err = e.rt.InstantiateModule(experimental.WithMemoryAllocator(ctx, alloc), c.mod,
			cfg.WithName("").WithStartFunctions())
		return err
	})
	if err != nil {
		i.mem.Free()
		return nil, err
	}
	return i, nil
}

// close frees the instance. Nobody may use its memory afterwards.
func (i *instance) close(ctx context.Context) error {
	err := protect("close instance", func() error { return i.mod.Close(ctx) })
	i.mem.Free()
	return err
}

// call runs an export without parameters, if there is one.
func (i *instance) call(ctx context.Context, name string) error {
	f := i.mod.ExportedFunction(name)
	if f == nil {
		return nil
	}
	err := protect("call "+name, func() error {
		_, err := f.Call(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("call %s: %w", name, err)
	}
	return nil
}

// exitCode returns the code with which a guest has ended itself.
func exitCode(err error) (code uint32, ok bool) {
	var exit *sys.ExitError
	if !errors.As(err, &exit) {
		return 0, false
	}
	return exit.ExitCode(), true
}
