package compile_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"

	"github.com/orla-edge/orla/internal/guests/bombs"
	"github.com/orla-edge/orla/runtime/compile"
)

// lab is a compiler with the engine of a node and a log to look at.
type lab struct {
	*compile.Compiler
	rt  wazero.Runtime
	log *logBuffer
}

func newLab(t testing.TB, cfg compile.Config) *lab {
	t.Helper()
	l := &lab{log: new(logBuffer)}
	cfg.Logger = slog.New(slog.NewTextHandler(l.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var err error
	if l.Compiler, err = compile.New(cfg); err != nil {
		t.Fatal(err)
	}
	ctx := context.WithoutCancel(t.Context())
	l.rt = wazero.NewRuntimeWithConfig(ctx, compile.RuntimeConfig().WithCompilationCache(l.Cache()))
	t.Cleanup(func() {
		if err := errors.Join(l.rt.Close(ctx), l.Cache().Close(ctx)); err != nil {
			t.Error(err)
		}
	})
	return l
}

// ask loads module and returns what its f returns.
func (l *lab) ask(t testing.TB, module []byte) uint64 {
	t.Helper()
	m, err := l.Load(t.Context(), l.rt, "tenant", module)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close(t.Context())
	i, err := l.rt.InstantiateModule(t.Context(), m, wazero.NewModuleConfig().WithName(""))
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close(t.Context())
	got, err := i.ExportedFunction("f").Call(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return got[0]
}

func (l *lab) compiled() int { return strings.Count(l.log.String(), "module compiled") }

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestLoad(t *testing.T) {
	tests := []struct {
		name          string
		dir           string
		command       []string
		first, second int // compilations that are logged, by two nodes one after the other
	}{
		{"in a child", t.TempDir(), child(t, "compile"), 1, 0},
		{"in process", t.TempDir(), nil, 1, 0},
		{"in memory", "", child(t, "compile"), 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, want := range []int{tt.first, tt.second} {
				l := newLab(t, compile.Config{Dir: tt.dir, Command: tt.command})
				for range 2 {
					if got := l.ask(t, answer(42)); got != 42 {
						t.Fatalf("f() = %d, want 42", got)
					}
				}
				if got := l.compiled(); got != want {
					t.Errorf("compiled %d times, want %d\n%s", got, want, l.log)
				}
			}
		})
	}
}

// A module without functions has no machine code.
func TestLoadEmpty(t *testing.T) {
	l := newLab(t, compile.Config{Dir: t.TempDir(), Command: child(t, "compile")})
	m, err := l.Load(t.Context(), l.rt, "tenant", []byte("\x00asm\x01\x00\x00\x00"))
	if err != nil {
		t.Fatal(err)
	}
	m.Close(t.Context())
}

func TestInvalid(t *testing.T) {
	mistyped := bytes.Replace(answer(1), []byte("\x41\x01\x0b"), []byte("\x01\x01\x0b"), 1) // nop, nop: nothing to return
	tests := []struct {
		name   string
		module []byte
		words  string
	}{
		{"not a module", []byte("#!/bin/sh\n"), "invalid magic number"},
		{"cut short", answer(1)[:30], "section code"},
		{"nothing to return", mistyped, "invalid function[0]"},
	}
	for _, command := range [][]string{child(t, "compile"), nil} {
		l := newLab(t, compile.Config{Dir: t.TempDir(), Command: command})
		for _, tt := range tests {
			err := l.Compile(t.Context(), "tenant", tt.module)
			if !errors.Is(err, compile.ErrInvalid) || !strings.Contains(err.Error(), tt.words) {
				t.Errorf("Compile of a module with %s = %v, want ErrInvalid with %q", tt.name, err, tt.words)
			}
			if strings.Count(err.Error(), compile.ErrInvalid.Error()) != 1 {
				t.Errorf("Compile of a module with %s = %v, which says it twice", tt.name, err)
			}
		}
		if left := files(t, l); len(left) > 0 {
			t.Errorf("left in the cache: %q", left)
		}
	}
}

func TestLimits(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("compiles in process")
	}
	pipe := fifo(t)
	go drain(pipe)
	tests := []struct {
		name   string
		cfg    compile.Config
		module []byte
		want   compile.LimitError
	}{
		{"memory", compile.Config{Command: child(t, "compile"), Memory: 256 << 20}, bombs.Find("deep blocks").Module(4_000_000), compile.LimitError{What: "memory", Limit: "256 MiB"}},
		{"CPU", compile.Config{Command: child(t, "compile"), CPU: time.Second}, bombs.Find("deep ifs with else").Module(400_000), compile.LimitError{What: "cpu", Limit: "1s"}},
		{"time", compile.Config{Command: child(t, "hang", pipe), Timeout: 100 * time.Millisecond}, answer(1), compile.LimitError{What: "time", Limit: "100ms"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.cfg.Dir = t.TempDir()
			l := newLab(t, tt.cfg)
			before := residentPeak(t)
			err := l.Compile(t.Context(), "tenant", tt.module)
			var limit *compile.LimitError
			if !errors.As(err, &limit) || *limit != tt.want {
				t.Fatalf("Compile = %v, want %+v", err, tt.want)
			}
			if grown := residentPeak(t) - before; grown > 32<<20 {
				t.Errorf("the node's peak of resident memory grew by %d MiB", grown>>20)
			}
			if left := files(t, l); len(left) > 0 {
				t.Errorf("left in the cache: %q", left)
			}
			if tt.name == "time" {
				return
			}
			if got := l.ask(t, answer(7)); got != 7 {
				t.Errorf("afterwards f() = %d, want 7", got)
			}
		})
	}
}

// files returns what is in the cache of the one engine there is.
func files(t testing.TB, l *lab) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(compile.Root(l.Compiler), "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	stages, err := filepath.Glob(filepath.Join(compile.Root(l.Compiler), "stage-*"))
	if err != nil {
		t.Fatal(err)
	}
	return append(paths, stages...)
}

func TestMissingChild(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "orla")
	l := newLab(t, compile.Config{Dir: t.TempDir(), Command: []string{missing, "compile"}})
	_, err := l.Load(t.Context(), l.rt, "tenant", answer(1))
	if err == nil || !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), missing) || !strings.Contains(err.Error(), "restart the node") {
		t.Errorf("Load without the program = %v, want an error that names %s and a way out", err, missing)
	}
}

func TestWrongChild(t *testing.T) {
	tests := []struct{ name, mode, words string }{
		{"a program that fails", "fail", "compiler failed (exit status 1): the disk is full"},
		{"a program that does nothing", "nothing", "no such file"},
	}
	for _, tt := range tests {
		l := newLab(t, compile.Config{Dir: t.TempDir(), Command: child(t, tt.mode)})
		if err := l.Compile(t.Context(), "tenant", answer(1)); err == nil || !strings.Contains(err.Error(), tt.words) {
			t.Errorf("Compile with %s = %v, want %q", tt.name, err, tt.words)
		}
	}
}

func TestTry(t *testing.T) {
	tests := []struct{ name, mode, words string }{
		{"a child that compiles", "compile", ""},
		{"a program that fails", "fail", "the disk is full"},
	}
	for _, tt := range tests {
		err := compile.Try(t.Context(), child(t, tt.mode))
		if tt.words == "" && err != nil || tt.words != "" && (err == nil || !strings.Contains(err.Error(), tt.words)) {
			t.Errorf("Try of %s = %v, want %q", tt.name, err, tt.words)
		}
	}
}

func TestForeignChild(t *testing.T) {
	stage := t.TempDir()
	var words bytes.Buffer
	cmd := command(t, child(t, "compile", "--stage", stage, "--engine", "0123456789abcdef", "--size", "8", "--memory", "1000000000", "--cpu", "10"))
	cmd.Stdin, cmd.Stderr = strings.NewReader("\x00asm\x01\x00\x00\x00"), &words
	if err := cmd.Run(); err == nil || !strings.Contains(words.String(), "another version") {
		t.Errorf("a child that is of another engine = %v, %s", err, &words)
	}
	if found, _ := filepath.Glob(filepath.Join(stage, "code", "*", "*")); len(found) > 0 {
		t.Errorf("it left code: %q", found)
	}
}

func TestOneChild(t *testing.T) {
	l := newLab(t, compile.Config{Dir: t.TempDir(), Command: child(t, "compile")})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := l.Compile(t.Context(), "tenant", answer(3)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := l.compiled(); got != 1 {
		t.Errorf("8 at the same time compiled %d times, want once", got)
	}
}

// Two tenants with the same module compile it each, at worst; both get it.
func TestTwoTenants(t *testing.T) {
	l := newLab(t, compile.Config{Dir: t.TempDir(), Command: child(t, "compile")})
	var wg sync.WaitGroup
	for _, tenant := range []string{"a", "b"} {
		for n := range byte(4) {
			wg.Go(func() {
				if err := l.Compile(t.Context(), tenant, answer(n)); err != nil {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	for n := range byte(4) {
		if got := l.ask(t, answer(n)); got != uint64(n) {
			t.Errorf("f() = %d, want %d", got, n)
		}
	}
}

func TestFolderOfOthers(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("modes say nothing there")
	}
	for _, mode := range []os.FileMode{0o777, 0o770, 0o702} {
		dir := t.TempDir()
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := compile.New(compile.Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), "chmod 700") {
			t.Errorf("New with a folder of mode %o = %v, want refused", mode, err)
		}
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := compile.New(compile.Config{Dir: file}); err == nil {
		t.Error("New with a file for a folder succeeded")
	}
}

func TestSelf(t *testing.T) {
	self, err := compile.Self()
	if err != nil {
		t.Fatal(err)
	}
	l := newLab(t, compile.Config{Dir: t.TempDir(), Command: []string{self, "compile"}})
	if got := l.ask(t, answer(9)); got != 9 || l.compiled() != 1 {
		t.Errorf("f() = %d after %d compilations by the program itself, want 9 after 1", got, l.compiled())
	}
}
