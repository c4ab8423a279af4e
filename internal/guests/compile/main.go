//go:build unix

// Command compile reads a module from standard input and compiles it into the cache
// folder that is its argument, for tests of large guests. With "child" instead,
// it is what compiles for a node, with "poor-child" such a one that has little time and memory.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"github.com/orla-edge/orla/runtime"
	"github.com/orla-edge/orla/runtime/compile"
)

func main() {
	switch os.Args[1] {
	case "child":
		os.Exit(compile.Child(context.Background(), os.Args[2:], os.Stdin, os.Stderr))
	case "poor-child":
		go beFrugal()
		args := append(os.Args[2:], "--memory", "100663296")
		os.Exit(compile.Child(context.Background(), args, os.Stdin, os.Stderr))
	}
	if err := warm(context.Background(), os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "compile:", err)
		os.Exit(1)
	}
}

// beFrugal sends what the kernel does at the limit of processor time, which it counts in
// seconds, after 150 ms of it.
func beFrugal() {
	for {
		time.Sleep(10 * time.Millisecond)
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			panic(err)
		}
		if u.Utime.Nano()+u.Stime.Nano() > int64(150*time.Millisecond) {
			if err := syscall.Kill(os.Getpid(), syscall.SIGXCPU); err != nil {
				panic(err)
			}
			return
		}
	}
}

func warm(ctx context.Context, cache string) (err error) {
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
