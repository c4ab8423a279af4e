//go:build unix

package compile_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/orla-edge/orla/runtime/compile"
)

func command(t testing.TB, args []string) *exec.Cmd {
	t.Helper()
	return exec.CommandContext(t.Context(), args[0], args[1:]...)
}

func fifo(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// drain reads the pipe until nobody has it any more.
func drain(path string) {
	if f, err := os.Open(path); err == nil {
		io.Copy(io.Discard, f)
		f.Close()
	}
}

// residentPeak returns the most memory that this process ever had.
func residentPeak(t testing.TB) int64 {
	t.Helper()
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS == "darwin" {
		return use.Maxrss
	}
	return use.Maxrss << 10
}

// gone waits until no process holds the pipe. It hangs if one stays.
func gone(t testing.TB, pipe *bufio.Reader) {
	t.Helper()
	if rest, err := io.ReadAll(pipe); err != nil || strings.Trim(string(rest), "up\n") != "" {
		t.Errorf("the pipe ended with %q, %v", rest, err)
	}
}

func TestCancel(t *testing.T) {
	path := fifo(t)
	l := newLab(t, compile.Config{Dir: t.TempDir(), Command: child(t, "hang", path)})
	errShutdown := errors.New("shutting down")
	ctx, cancel := context.WithCancelCause(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Compile(ctx, "tenant", answer(1)) }()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	pipe := bufio.NewReader(f)
	for range 2 { // the child and its own child
		if _, err := pipe.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	cancel(errShutdown)
	if err := <-done; !errors.Is(err, errShutdown) {
		t.Errorf("Compile = %v, want the context's cause", err)
	}
	gone(t, pipe)
	if left := files(t, l); len(left) > 0 {
		t.Errorf("left in the cache: %q", left)
	}
	if err := l.Compile(ctx, "tenant", answer(2)); !errors.Is(err, errShutdown) {
		t.Errorf("Compile with an ended context = %v, want its cause", err)
	}
}
