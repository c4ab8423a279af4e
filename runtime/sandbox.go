package runtime

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"path"
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

// environment returns a function's environment, its secrets among it, sorted by name.
func environment(f *orlav1.Function, secrets map[string]string) ([]*variable, error) {
	size := 0
	all := maps.Clone(secrets)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, f.GetEnv())
	env := make([]*variable, 0, len(all))
	for _, name := range slices.Sorted(maps.Keys(all)) {
		value := all[name]
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
		return nil, &FunctionError{Field: "env", Problem: fmt.Sprintf("environment, secrets and arguments have %d bytes; at most %d are passed", size, maxEnv)}
	}
	return env, nil
}

// arguments returns the function's arguments, the program's name first.
func arguments(f *orlav1.Function) []string {
	name := f.GetName() + ".wasm"
	if f.GetSource() != "" {
		name = path.Base(f.GetSource())
	}
	return append([]string{name}, f.GetArgs()...)
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

// config gives an instance what every guest has: clocks, randomness, a sleep that ends
// with the request, and streams that lead to the request that it works for. There is no
// network and, beside what is mounted, no file.
func (i *instance) config(argv []string) wazero.ModuleConfig {
	cfg := wazero.NewModuleConfig().WithName("").WithStartFunctions().WithArgs(argv...).
		WithStdin(stdin{i}).WithStdout(stdout{i}).WithStderr(stderr{i}).
		WithRandSource(random{i}).WithSysWalltime().WithSysNanotime().WithNanosleep(i.sleep)
	if i.files != nil {
		cfg = cfg.WithFSConfig(wazero.NewFSConfig().WithFSMount(i.files, "/"))
	}
	return cfg
}

// sleep waits, while the meter stands still.
func (i *instance) sleep(ns int64) {
	r := i.run
	if r == nil {
		return
	}
	r.meter.Pause()
	defer r.meter.Resume()
	t := time.NewTimer(time.Duration(ns))
	defer t.Stop()
	select {
	case <-t.C:
	case <-r.Done():
	}
}

// stdin, stdout and stderr are an instance's streams: those of its run.
type (
	stdin  struct{ i *instance }
	stdout struct{ i *instance }
	stderr struct{ i *instance }
)

// Read implements [io.Reader].
func (s stdin) Read(p []byte) (int, error) {
	if s.i.run == nil || s.i.run.stdin == nil {
		return 0, io.EOF
	}
	return s.i.run.stdin.Read(p)
}

// Write implements [io.Writer].
func (s stdout) Write(p []byte) (int, error) {
	if s.i.run == nil || s.i.run.stdout == nil {
		return len(p), nil
	}
	return s.i.run.pieces(p, s.i.run.stdout.Write)
}

// Write implements [io.Writer].
func (s stderr) Write(p []byte) (int, error) {
	if s.i.run == nil || s.i.run.stderr == nil {
		return len(p), nil
	}
	return s.i.run.pieces(p, s.i.run.stderr.Write)
}

// random is the system's randomness.
type random struct{ i *instance }

// Read implements [io.Reader].
func (r random) Read(p []byte) (int, error) {
	if r.i.run == nil {
		return rand.Read(p)
	}
	return r.i.run.pieces(p, rand.Read)
}

// pieces does f to p, piece by piece, as long as the guest may go on.
func (r *run) pieces(p []byte, f func([]byte) (int, error)) (done int, err error) {
	const size = 64 << 10
	for err == nil && done < len(p) {
		r.check()
		var n int
		n, err = f(p[done:min(len(p), done+size)])
		done += n
	}
	return done, err
}

// initProblem words the failure of an initialisation for its author.
func initProblem(err error, printed string) string {
	text := err.Error()
	if s := stopped(err); s == errDeadline || s == errCPU {
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
