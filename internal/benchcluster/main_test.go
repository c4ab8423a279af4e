package benchcluster

import (
	"flag"
	"os"
	"testing"

	"github.com/orla-edge/orla/internal/lab"
)

// TestMain builds the binary that some benchmarks run, where benchmarks are run at all.
func TestMain(m *testing.M) {
	flag.Parse()
	if flag.Lookup("test.bench").Value.String() == "" {
		os.Exit(m.Run())
	}
	os.Exit(lab.Main(m))
}
