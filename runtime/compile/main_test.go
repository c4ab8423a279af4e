package compile_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/orla-edge/orla/runtime/compile"
)

// TestMain is also what children run: the test binary is their program, the first
// argument says what kind of child.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "compile":
			os.Exit(compile.Child(context.Background(), os.Args[2:], os.Stdin, os.Stderr))
		case "confess":
			os.Exit(compile.Child(context.Background(), os.Args[2:], confession{}, os.Stderr))
		case "nothing":
			os.Exit(0)
		case "fail":
			fmt.Fprintln(os.Stderr, "the disk is full")
			os.Exit(1)
		case "hang":
			hang(os.Args[2], true)
		case "hang-alone":
			hang(os.Args[2], false)
		case "node":
			node(os.Args[2], os.Args[3])
		}
	}
	goleak.VerifyTestMain(m)
}

// child returns a command that runs this binary.
func child(t testing.TB, args ...string) []string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	command := append([]string{self}, args...)
	if args[0] == "compile" && goruntime.GOOS != "windows" {
		// The race detector waits for a second at the end of a process.
		command = append([]string{"env", "GORACE=atexit_sleep_ms=0"}, command...)
	}
	return command
}

// hang opens the pipe at path, has a child do the same, and stays. Whoever reads the
// pipe sees its end when all are gone.
func hang(path string, family bool) {
	pipe, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		panic(err)
	}
	if family {
		cmd := exec.Command(os.Args[0], "hang-alone", path)
		if err := cmd.Start(); err != nil {
			panic(err)
		}
	}
	fmt.Fprintln(pipe, "up")
	for {
		if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
			panic(err)
		}
		select {}
	}
}

// node is a process whose compiler's child hangs.
func node(dir, pipe string) {
	c, err := compile.New(compile.Config{Dir: dir, Command: []string{os.Args[0], "hang-alone", pipe}})
	if err != nil {
		panic(err)
	}
	panic(c.Compile(context.Background(), "t", answer(1)))
}

// confession is a standard input that fails with all that a child is allowed.
type confession struct{}

func (confession) Read([]byte) (int, error) {
	text := fmt.Sprintf("env %q\n", os.Environ())
	threads, _ := filepath.Glob("/proc/self/task/*/stat")
	for _, path := range append([]string{"/proc/self/oom_score_adj", "/proc/self/limits"}, threads...) {
		b, err := os.ReadFile(path)
		name := strings.Replace(filepath.Base(path), "stat", "thread", 1)
		text += fmt.Sprintf("%s %s%v\n", name, b, err)
	}
	return 0, errors.New(text)
}

// answer returns a module that exports the function f, which returns n < 64.
func answer(n byte) []byte {
	return []byte("\x00asm\x01\x00\x00\x00" +
		"\x01\x05\x01\x60\x00\x01\x7f" + // type: nothing to i32
		"\x03\x02\x01\x00" +
		"\x07\x05\x01\x01f\x00\x00" +
		"\x0a\x06\x01\x04\x00\x41" + string([]byte{n}) + "\x0b")
}
