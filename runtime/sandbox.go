package runtime

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	goruntime "runtime"
	"slices"
	"strings"
	"time"

	"github.com/tetratelabs/wazero"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

// maxEnv is the size in bytes that a function's environment and arguments may have.
const maxEnv = 256 << 10

// variable is one environment variable.
type variable struct{ name, value string }

// environment returns a function's environment, sorted by name.
func environment(f *orlav1.Function) ([]*variable, error) {
	size := 0
	env := make([]*variable, 0, len(f.GetEnv()))
	for _, name := range slices.Sorted(maps.Keys(f.GetEnv())) {
		value := f.GetEnv()[name]
		if name == "" || strings.ContainsAny(name, "=\x00") || strings.ContainsRune(value, 0) {
			return nil, &FunctionError{Field: "env", Problem: fmt.Sprintf("%q is no name of an environment variable, or its value holds a NUL", name)}
		}
		size += len(name) + len(value)
		env = append(env, &variable{name, value})
	}
	for _, a := range f.GetArgs() {
		if size += len(a); strings.ContainsRune(a, 0) {
			return nil, &FunctionError{Field: "args", Problem: fmt.Sprintf("argument %q holds a NUL", a)}
		}
	}
	if size > maxEnv {
		return nil, &FunctionError{Field: "env", Problem: fmt.Sprintf("environment and arguments have %d bytes; at most %d are passed", size, maxEnv)}
	}
	return env, nil
}

// configure returns what all instances of a function share.
func configure(f *orlav1.Function, env []*variable) wazero.ModuleConfig {
	name := f.GetName() + ".wasm"
	if f.GetSource() != "" {
		name = path.Base(f.GetSource())
	}
	cfg := wazero.NewModuleConfig().WithArgs(append([]string{name}, f.GetArgs()...)...)
	for _, v := range env {
		cfg = cfg.WithEnv(v.name, v.value)
	}
	return cfg
}

// configJSON returns env as get_config of http-wasm does; "" if it is empty.
func configJSON(env []*variable) string {
	if len(env) == 0 {
		return ""
	}
	m := make(map[string]string, len(env))
	for _, v := range env {
		m[v.name] = v.value
	}
	b, err := json.Marshal(m)
	if err != nil {
		return "" // strings always marshal
	}
	return string(b)
}

// sandbox gives an instance what every guest has: clocks, randomness, and a sleep that
// ends with the context. There is no network and, beside what is mounted, no file.
func sandbox(ctx context.Context, cfg wazero.ModuleConfig) wazero.ModuleConfig {
	return cfg.WithRandSource(rand.Reader).WithSysWalltime().WithSysNanotime().WithOsyield(goruntime.Gosched).
		WithNanosleep(func(ns int64) {
			t := time.NewTimer(time.Duration(ns))
			defer t.Stop()
			select {
			case <-t.C:
			case <-ctx.Done():
			}
		})
}

// initialise runs what a module's toolchain wants run before its exports are called:
// _initialize of a reactor, or _start of a handler that was built as a command.
func (i *instance) initialise(ctx context.Context) error {
	for _, name := range []string{"_initialize", "_start"} {
		if i.mod.ExportedFunction(name) != nil {
			return i.call(ctx, name)
		}
	}
	return nil
}

// initProblem words the failure of an initialisation for its author.
func initProblem(ctx context.Context, err error, printed string) string {
	text := err.Error()
	if errors.Is(context.Cause(ctx), errDeadline) {
		text = "it takes longer than the function's timeout; initialise less, or raise timeout"
	} else if code, exited := exitCode(err); exited {
		text = fmt.Sprintf("it exits with code %d; a handler must stay alive (in Go, build with -buildmode=c-shared)", code)
	}
	if printed = strings.TrimSpace(printed); printed != "" {
		text += "; it printed: " + strings.ToValidUTF8(printed, "?")
	}
	return text
}

// tail keeps the last bytes written to it.
type tail struct{ b []byte }

// Write implements [io.Writer].
func (t *tail) Write(p []byte) (int, error) {
	const keep = 2048
	t.b = append(t.b, p...)
	t.b = t.b[max(0, len(t.b)-keep):]
	return len(p), nil
}

// String returns what was kept.
func (t *tail) String() string { return string(t.b) }

// tee writes to both; neither fails.
type tee struct{ a, b io.Writer }

// Write implements [io.Writer].
func (t tee) Write(p []byte) (int, error) {
	_, _ = t.a.Write(p)
	return t.b.Write(p)
}
