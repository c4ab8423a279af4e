package guests

import (
	"bytes"
	"crypto/sha256"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// large is the size in bytes from which a process of its own pays.
const large = 2 << 20

// Warm sees to it that [CompileCache] has the module's code. Large modules are compiled
// in a process of their own, which is built without the race detector: with it, the
// compiler takes ten times as long.
func Warm(t testing.TB, wasm []byte) {
	t.Helper()
	if len(wasm) < large {
		return
	}
	sum := sha256.Sum256(wasm)
	marker := filepath.Join(cacheDir(t), key(t, []string{"warm", string(sum[:])}, []string{filepath.Join(Root(t), "go.sum")})+".warm")
	if _, err := os.Stat(marker); err == nil {
		return
	}
	cmd := exec.CommandContext(t.Context(), "go", "run", "./internal/guests/compile", CompileCache(t))
	cmd.Dir = Root(t)
	cmd.Stdin = bytes.NewReader(wasm)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("guests: %s: %v\n%s", cmd, err, out)
	}
	if err := os.WriteFile(marker, nil, 0o644); err != nil {
		t.Fatal(err)
	}
}
