// Package leaks fails a package's tests if they leave goroutines behind. It does not know
// what the goroutines are of.
package leaks

import (
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// patience is how long goroutines may take to end after the last test. A NATS server's, of
// which nobody is told when they end, take longer than goleak waits where the machine has
// little to give.
const patience = 30 * time.Second

// Main runs the tests and ends the process.
func Main(m *testing.M) {
	code := m.Run()
	if code == 0 {
		// What a NATS server (2.15) has forgotten, if it was shut down while it made a stream:
		// the file store that was not the stream's yet, and its clock.
		forgotten := []goleak.Option{
			goleak.IgnoreTopFunction("github.com/nats-io/nats-server/v2/server.(*fileStore).flushStreamStateLoop"),
			goleak.IgnoreTopFunction("github.com/nats-io/nats-server/v2/server/ats.Register.func1"),
		}
		err := goleak.Find(forgotten...)
		for end := time.Now().Add(patience); err != nil && time.Now().Before(end); {
			err = goleak.Find(forgotten...)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "goroutines are left after the last test:", err)
			code = 1
		}
	}
	os.Exit(code)
}
