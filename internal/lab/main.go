package lab

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/orla-edge/orla/internal/process"
)

// binaryEnv names the binary that labs run. If it is set already, that one is run.
const binaryEnv = "ORLA_LAB_BINARY"

// Main builds orla, runs the tests and returns their exit code.
func Main(m *testing.M) int {
	if os.Getenv(binaryEnv) != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "orla-lab-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a temporary folder
	name, err := process.Orla(context.Background(), dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := os.Setenv(binaryEnv, name); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// need returns if ok; else it fails the test where all has to be there (CI is set, or
// root runs it), and skips it for anybody else.
func need(t testing.TB, ok bool, what string) {
	t.Helper()
	switch {
	case ok:
	case os.Getenv("CI") != "" || os.Geteuid() == 0:
		t.Fatalf("the lab needs %s", what)
	default:
		t.Skipf("the lab needs %s", what)
	}
}
