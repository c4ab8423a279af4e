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
		err := goleak.Find()
		for end := time.Now().Add(patience); err != nil && time.Now().Before(end); {
			err = goleak.Find()
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "goroutines are left after the last test:", err)
			code = 1
		}
	}
	os.Exit(code)
}
