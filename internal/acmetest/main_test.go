//go:build linux

package acmetest

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/orla-edge/orla/internal/lab"
)

func TestMain(m *testing.M) {
	code := lab.Main(m)
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}
