//go:build !wasip1

package guest

import (
	"fmt"
	"os"
)

func logEnabled(int32) bool { return true }

func logLine(_ int32, line string) { fmt.Fprintln(os.Stderr, line) }
