package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/orla-edge/orla/runtime"
)

func moduleCommand(c *console) *cobra.Command {
	return group(&cobra.Command{
		Use:     "module",
		Short:   "Look into WebAssembly modules",
		Example: "  orla module inspect api.wasm",
	}, moduleInspect(c))
}

func moduleInspect(c *console) *cobra.Command {
	cmd := &cobra.Command{
		Use: "inspect FILE.wasm", Short: "Show a module's ABI, imports, memory, sizes, and what an instance costs", Args: exact("FILE.wasm"),
		Long: `Check, rewrite and compile a module and make instances of it, as a deploy would,
and show what it is: its ABI, what it imports and for what, its memory and tables,
whether an instance can be made clean after a request, and what all of it costs on
this machine. A module that a node would refuse is refused here, with the same
reason. No node is asked.`,
		Example: "  orla module inspect api.wasm\n  orla module inspect api.wasm --json",
	}
	var asJSON bool
	jsonFlag(cmd, &asJSON)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		b, err := readModule(args[0])
		if err != nil {
			return err
		}
		info, refused, err := inspect(cmd.Context(), b)
		if err != nil {
			return err
		}
		if err := c.module(args[0], moduleOf(info, refused), asJSON); err != nil {
			return err
		}
		if refused != nil {
			return fmt.Errorf("%s: %w", args[0], refused)
		}
		return nil
	}
	return cmd
}

// inspect compiles b as a node does: in a child with limits, into a cache, which is
// empty, so that the time is that of compiling.
func inspect(ctx context.Context, b []byte) (info runtime.Info, refused, err error) {
	command, err := compiler()
	if err != nil {
		return info, nil, err
	}
	dir, err := os.MkdirTemp("", "orla-inspect-") // for nobody else to write to
	if err != nil {
		return info, nil, fmt.Errorf("make a folder to compile into: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	engine, err := runtime.New(ctx, runtime.Config{CacheDir: dir, CompileCommand: command})
	if err != nil {
		return info, nil, err
	}
	defer func() { err = errors.Join(err, engine.Close(context.WithoutCancel(ctx))) }()
	info, refused = engine.Inspect(ctx, b)
	return info, refused, nil
}

// readModule reads a file, but no more of it than a node would.
func readModule(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	b, err := io.ReadAll(io.LimitReader(f, runtime.MaxModule+1))
	if err != nil {
		return nil, fmt.Errorf("read module %s: %w", path, err)
	}
	return b, nil
}
