package benchguest

import (
	"context"
	"os"
	"testing"

	"github.com/orla-edge/orla/runtime/compile"
)

// TestMain is also the child that compiles, as "orla compile" is.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "compile" {
		os.Exit(compile.Child(context.Background(), os.Args[2:], os.Stdin, os.Stderr))
	}
	os.Exit(m.Run())
}
