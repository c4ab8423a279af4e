package benchcluster

import (
	"flag"
	"os"
	"runtime"
	"testing"

	"github.com/orla-edge/orla/internal/lab"
)

// TestMain builds the binary that some benchmarks run, where benchmarks are run at all. The
// hubs of a rig share this process: while one syncs its disk, the others go on, as the
// processes that they are elsewhere do.
func TestMain(m *testing.M) {
	flag.Parse()
	if flag.Lookup("test.bench").Value.String() == "" {
		os.Exit(m.Run())
	}
	runtime.GOMAXPROCS(hubs * runtime.NumCPU())
	os.Exit(lab.Main(m))
}
