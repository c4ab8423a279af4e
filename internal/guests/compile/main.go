// Command compile reads a module from standard input and compiles it into the cache
// folder that is its argument, for tests of large guests.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/orla-edge/orla/runtime"
)

func main() {
	if err := compile(context.Background(), os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "compile:", err)
		os.Exit(1)
	}
}

func compile(ctx context.Context, cache string) (err error) {
	wasm, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	e, err := runtime.New(ctx, runtime.Config{CacheDir: cache, Memory: 256 << 20})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close(ctx)) }()
	_, err = e.Inspect(ctx, wasm)
	return err
}
