package process

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
)

// Orla builds orla, without the race detector, and returns the path of the program, which
// is in dir. It is linked once for all who ask: "go run", unlike "go build", keeps what it
// has linked, and runs it by way of a program, here cp.
func Orla(ctx context.Context, dir string) (string, error) {
	program := filepath.Join(dir, "orla")
	build := exec.CommandContext(ctx, "go", "run", "-exec", "cp", "github.com/orla-edge/orla/cmd/orla", program)
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build orla: %w\n%s", err, bytes.TrimSpace(out))
	}
	return program, nil
}
