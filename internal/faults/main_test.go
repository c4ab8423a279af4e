//go:build linux

package faults

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/orla-edge/orla/internal/lab"
)

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", strconv.Itoa(max(runtime.GOMAXPROCS(0), 4))); err != nil { // they mostly wait
		panic(err)
	}
	code := lab.Main(m)
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// long reports whether the faults shall last as long as they may in the field, by
// `make faults-long`.
func long() bool { return os.Getenv("ORLA_FAULTS_LONG") != "" }

// elapse lets a fault last.
func elapse(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-t.Context().Done():
		t.Fatal("the test has run out of time")
	case <-time.After(d):
	}
}
