package compile

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"runtime/metrics"
	"syscall"
	"time"
)

// What a child's exit code says. 2 is Go's own, of a crash.
const (
	exitDone    = 0
	exitFailed  = 1
	exitInvalid = 10
	exitMemory  = 11
	exitCPU     = 12
	exitSize    = 13
	exitForeign = 14
)

// order is what a child is told.
type order struct {
	stage, engine string
	size          int
	memory, cpu   int64 // bytes, seconds
}

// Child is the process that a [Compiler] starts: it reads a module from stdin and
// compiles it into a folder. It returns the exit code and writes the reason to
// stderr. It lowers its own priority and limits itself before it reads anything, and
// its process may do nothing else, before or after: a limit it runs into ends it
// wherever it is.
func Child(ctx context.Context, args []string, stdin io.Reader, stderr io.Writer) int {
	o, err := parseOrder(args, stderr)
	if err != nil {
		return exitFailed // flag has told why
	}
	if err := confine(o); err != nil {
		say(stderr, err.Error())
		return exitFailed
	}
	stop := watch(o.memory)
	defer stop()
	if err := obey(ctx, o, stdin); err != nil {
		say(stderr, text(err))
		return codeOf(err)
	}
	return exitDone
}

func parseOrder(args []string, stderr io.Writer) (o order, err error) {
	f := flag.NewFlagSet("compile", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&o.stage, "stage", "", "`folder` to compile into")
	f.StringVar(&o.engine, "engine", "", "`identity` that the engine must have")
	f.IntVar(&o.size, "size", 0, "size of the module in `bytes`")
	f.Int64Var(&o.memory, "memory", 0, "address space that may be added, in `bytes`")
	f.Int64Var(&o.cpu, "cpu", 0, "processor time in `seconds`")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 || !filepath.IsAbs(o.stage) || o.engine == "" || o.size <= 0 || o.size > MaxModule || o.memory <= 0 || o.cpu <= 0 {
		err = errors.New("compile is what a node starts to compile a module; it is of no use by itself, and needs all flags")
		say(stderr, err.Error())
	}
	return o, err
}

func say(stderr io.Writer, words string) {
	_, _ = fmt.Fprintln(stderr, words) // there is nowhere else to say that it failed
}

// obey reads and compiles.
func obey(ctx context.Context, o order, stdin io.Reader) error {
	module := make([]byte, o.size)
	if _, err := io.ReadFull(stdin, module); err != nil {
		return fmt.Errorf("read module: %w", err)
	}
	return build(ctx, o.stage, o.engine, module)
}

// text is what of err goes to the parent: for an invalid module the engine's words.
func text(err error) string {
	if invalid, ok := errors.AsType[*invalidError](err); ok {
		return invalid.words
	}
	return err.Error()
}

func codeOf(err error) int {
	switch {
	case errors.Is(err, ErrInvalid):
		return exitInvalid
	case errors.Is(err, errForeign):
		return exitForeign
	case errors.Is(err, syscall.ENOMEM):
		return exitMemory
	case errors.Is(err, tooBig):
		return exitSize
	}
	return exitFailed
}

// watch ends the process once it holds more than limit bytes from the system. The
// kernel's limit, where there is one, is behind it: Go's way to fail at that is slow
// and verbose.
func watch(limit int64) (stop func()) {
	debug.SetMemoryLimit(limit / 4 * 3)
	samples := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	ticker := time.NewTicker(10 * time.Millisecond)
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
			}
			metrics.Read(samples)
			if samples[0].Value.Uint64()-samples[1].Value.Uint64() > uint64(limit) {
				os.Exit(exitMemory)
			}
		}
	}()
	return func() {
		ticker.Stop()
		close(done)
		<-ended
	}
}
