package guests

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// large is the size in bytes from which a process of its own pays.
const large = 2 << 20

// asTest gives a program the engine of a test. The version is part of what code is kept
// under, and a test's binary does not tell of which version the engine is.
const asTest = "-ldflags=-X github.com/tetratelabs/wazero/internal/version.version=dev"

// compiler is the package of the program that compiles.
const compiler = "github.com/orla-edge/orla/internal/guests/compile"

// What a child may use, as the compiler's first argument: as much as a node's, or little
// time and memory, so that a test need not wait until a node's limits are reached.
const (
	Child     = "child"
	PoorChild = "poor-child"
)

// Compiler builds the program that compiles for nodes of tests, without the race
// detector, and returns its path, which is in dir.
func Compiler(ctx context.Context, dir string) (string, error) {
	program := filepath.Join(dir, "compile")
	build := exec.CommandContext(ctx, "go", "run", "-exec", "cp", asTest, compiler, program) // which keeps what it has linked
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build compiler: %w\n%s", err, bytes.TrimSpace(out))
	}
	return program, nil
}

// Warm sees to it that [CompileCache] has the module's code. Large modules are compiled
// in a process of their own, which is built without the race detector: with it, the
// compiler takes ten times as long.
func Warm(t testing.TB, wasm []byte) {
	t.Helper()
	if len(wasm) < large {
		return
	}
	sum := sha256.Sum256(wasm)
	marker := filepath.Join(cacheDir(t), key(t, []string{"warm", asTest, string(sum[:])}, []string{filepath.Join(Root(t), "go.sum")})+".warm")
	if _, err := os.Stat(marker); err == nil {
		return
	}
	cmd := exec.CommandContext(t.Context(), "go", "run", asTest, compiler, CompileCache(t))
	cmd.Dir = Root(t)
	cmd.Stdin = bytes.NewReader(wasm)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("guests: %s: %v\n%s", cmd, err, out)
	}
	if err := os.WriteFile(marker, nil, 0o644); err != nil {
		t.Fatal(err)
	}
}
