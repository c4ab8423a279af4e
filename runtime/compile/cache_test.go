package compile_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/orla-edge/orla/runtime/compile"
)

// edit returns a function that changes the file that path names.
func edit(change func(b []byte) []byte) func(t *testing.T, path string) {
	return func(t *testing.T, path string) {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, change(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func flip(at func(length int) int) func(b []byte) []byte {
	return func(b []byte) []byte {
		b[at(len(b))] ^= 0x10
		return b
	}
}

func TestDamaged(t *testing.T) {
	kinds := []struct {
		name   string
		damage func(t *testing.T, path string)
		code   bool // makes sense for code alone
	}{
		{"removed", func(t *testing.T, path string) { os.Remove(path) }, false},
		{"empty", edit(func([]byte) []byte { return nil }), false},
		{"cut in the header", edit(func(b []byte) []byte { return b[:9] }), false},
		{"cut at the end", edit(func(b []byte) []byte { return b[:len(b)-1] }), false},
		{"longer", edit(func(b []byte) []byte { return append(b, 0) }), false},
		{"garbage", edit(func(b []byte) []byte { return bytes.Repeat([]byte("garbage "), 100) }), false},
		{"a bit in the magic number", edit(flip(func(int) int { return 0 })), false},
		{"a bit near the end", edit(flip(func(n int) int { return n - 6 })), false},
		{"a bit in the middle", edit(flip(func(n int) int { return n / 2 })), false},
		{"another version", edit(flip(func(int) int { return 7 })), true},
		{"a giant count of functions", edit(countOfFunctions), true},
		{"the offset of a function", edit(offsetOfFunction), true},
		{"writable by others", func(t *testing.T, path string) {
			if err := os.Chmod(path, 0o666); err != nil {
				t.Fatal(err)
			}
		}, true},
		{"a folder", func(t *testing.T, path string) {
			if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o700)); err != nil {
				t.Fatal(err)
			}
		}, false},
	}
	for _, what := range []struct {
		name string
		path func(*compile.Compiler, []byte) string
	}{{"code", compile.Code}, {"index", compile.Index}} {
		for _, kind := range kinds {
			if kind.code && what.name != "code" || kind.name == "writable by others" && runtime.GOOS == "windows" {
				continue
			}
			t.Run(what.name+": "+kind.name, func(t *testing.T) {
				cfg := compile.Config{Dir: t.TempDir()}
				module := answer(11)
				before := newLab(t, cfg)
				if err := before.Compile(t.Context(), "tenant", module); err != nil {
					t.Fatal(err)
				}
				kind.damage(t, what.path(before.Compiler, module))

				l := newLab(t, cfg)
				if got := l.ask(t, module); got != 11 {
					t.Errorf("f() = %d, want 11", got)
				}
				if got := l.compiled(); got != 1 {
					t.Errorf("compiled %d times, want once\n%s", got, l.log)
				}
				if again := newLab(t, cfg); again.ask(t, module) != 11 || again.compiled() != 0 {
					t.Errorf("what was remade is remade again\n%s", again.log)
				}
			})
		}
	}
}

// Behind the magic number are the version, with its length, and the count of
// functions; then their offsets.
func countOfFunctions(b []byte) []byte {
	at := 7 + int(b[6])
	copy(b[at:], "\xff\xff\xff\xff")
	return b
}

func offsetOfFunction(b []byte) []byte {
	b[7+int(b[6])+4] ^= 4
	return b
}

// Code of another module under the right name is as damaged as any.
func TestSwapped(t *testing.T) {
	cfg := compile.Config{Dir: t.TempDir()}
	l := newLab(t, cfg)
	for _, n := range []byte{1, 2} {
		if err := l.Compile(t.Context(), "tenant", answer(n)); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(compile.Code(l.Compiler, answer(2)))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(compile.Code(l.Compiler, answer(1)), b, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := l.ask(t, answer(1)); got != 1 {
		t.Errorf("f() = %d, want 1", got)
	}
}

func TestModes(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("modes say nothing there")
	}
	dir := filepath.Join(t.TempDir(), "cache")
	l := newLab(t, compile.Config{Dir: dir, Command: child(t, "compile")})
	l.ask(t, answer(1))
	found := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		found++
		if want := map[bool]fs.FileMode{true: 0o700, false: 0o600}[d.IsDir()]; info.Mode().Perm() != want {
			t.Errorf("%s has mode %o, want %o", path, info.Mode().Perm(), want)
		}
		return nil
	})
	if err != nil || found < 6 {
		t.Errorf("looked at %d files: %v", found, err)
	}
}

// aged makes the entry of a module look as if it was used so long ago.
func aged(t *testing.T, l *lab, module []byte, age time.Duration) {
	t.Helper()
	then := time.Now().Add(-age)
	if err := os.Chtimes(compile.Index(l.Compiler, module), then, then); err != nil {
		t.Fatal(err)
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func TestCleanAge(t *testing.T) {
	l := newLab(t, compile.Config{Dir: t.TempDir(), MaxAge: time.Hour})
	for n := range byte(3) {
		l.ask(t, answer(n))
	}
	old, used := answer(0), answer(1)
	code := compile.Code(l.Compiler, old)
	aged(t, l, old, 2*time.Hour)
	aged(t, l, used, 2*time.Hour)
	l.ask(t, used) // loading it is use
	if err := l.Clean(t.Context()); err != nil {
		t.Fatal(err)
	}
	if exists(code) || exists(compile.Index(l.Compiler, old)) {
		t.Error("code that nobody used is still there")
	}
	for _, n := range []byte{1, 2} {
		if !exists(compile.Code(l.Compiler, answer(n))) {
			t.Errorf("code %d, which was used, is gone", n)
		}
	}
	if got := l.ask(t, old); got != 0 {
		t.Errorf("f() = %d after its code was cleaned away, want 0", got)
	}
}

func TestCleanBound(t *testing.T) {
	dir := t.TempDir()
	l := newLab(t, compile.Config{Dir: dir})
	var size int64
	for n := range byte(4) {
		l.ask(t, answer(n))
		aged(t, l, answer(n), time.Duration(n)*time.Minute)
		for _, path := range []string{compile.Code(l.Compiler, answer(n)), compile.Index(l.Compiler, answer(n))} {
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			size += info.Size()
		}
	}
	bounded := newLab(t, compile.Config{Dir: dir, MaxBytes: size / 2})
	if err := bounded.Clean(t.Context()); err != nil {
		t.Fatal(err)
	}
	for n := range byte(4) {
		if got, want := exists(compile.Index(l.Compiler, answer(n))), n < 2; got != want {
			t.Errorf("code used %d minutes ago is there: %t, want %t", n, got, want)
		}
	}
}

// What is compiled is cleaned up after, without anybody asking for it.
func TestBoundHolds(t *testing.T) {
	l := newLab(t, compile.Config{Dir: t.TempDir(), MaxBytes: 1})
	for n := range byte(4) {
		if err := l.Compile(t.Context(), "tenant", answer(n)); err != nil {
			t.Fatal(err)
		}
	}
	if left := files(t, l); len(left) > 0 {
		t.Errorf("a cache of one byte holds %q", left)
	}
}

func TestCleanLeftovers(t *testing.T) {
	dir := t.TempDir()
	l := newLab(t, compile.Config{Dir: dir})
	l.ask(t, answer(1))
	engine := filepath.Dir(compile.Code(l.Compiler, answer(1)))
	root := compile.Root(l.Compiler)
	tests := []struct {
		path string // of a file
		age  time.Duration
		gone bool
	}{
		{filepath.Join(dir, "p0-0123456789abcdef", "wazero-v1.0.0-amd64-linux", "ff"), 25 * time.Hour, true},
		{filepath.Join(dir, "p1-0123456789abcdef", "wazero-v1.0.0-amd64-linux", "ff"), 23 * time.Hour, false},
		{filepath.Join(dir, "wazero-v1.12.0-amd64-linux", "ff"), 25 * time.Hour, true},
		{filepath.Join(dir, "probe-1", "wazero-v1.12.0-amd64-linux", "ff"), 25 * time.Hour, true},
		{filepath.Join(dir, "somebody's", "file"), 1000 * time.Hour, false},
		{filepath.Join(root, "stage-1", "code", "wazero-v1.12.0-amd64-linux", "ff.tmp"), 2 * time.Hour, true},
		{filepath.Join(root, "stage-2", "code", "wazero-v1.12.0-amd64-linux", "ff.tmp"), time.Minute, false},
		{filepath.Join(engine, "ff"), 2 * time.Hour, true},
		{filepath.Join(engine, "fe"), time.Minute, false},
	}
	for _, tt := range tests {
		if err := errors.Join(os.MkdirAll(filepath.Dir(tt.path), 0o700), os.WriteFile(tt.path, []byte("x"), 0o600)); err != nil {
			t.Fatal(err)
		}
		then := time.Now().Add(-tt.age)
		for p := tt.path; p != root && p != dir && p != engine; p = filepath.Dir(p) {
			if err := os.Chtimes(p, then, then); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := l.Clean(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, tt := range tests {
		if exists(tt.path) == tt.gone {
			t.Errorf("%s, %v old: gone %t, want %t", strings.TrimPrefix(tt.path, dir), tt.age, !tt.gone, tt.gone)
		}
	}
	if !exists(compile.Code(l.Compiler, answer(1))) {
		t.Error("code in use is gone")
	}
}

// Cleaning beside loading costs a compilation at worst, even if nothing may stay.
func TestCleanBesideLoad(t *testing.T) {
	l := newLab(t, compile.Config{Dir: t.TempDir(), MaxBytes: 1})
	stop := make(chan struct{})
	cleaned := make(chan error, 1)
	go func() {
		for {
			select {
			case <-stop:
				cleaned <- nil
				return
			default:
			}
			if err := l.Clean(t.Context()); err != nil {
				cleaned <- err
				return
			}
		}
	}()
	for range 20 {
		m, err := l.Load(t.Context(), l.rt, "tenant", answer(5))
		if err != nil {
			t.Error(err)
			break
		}
		m.Close(t.Context())
	}
	close(stop)
	if err := <-cleaned; err != nil {
		t.Error(err)
	}
}
