//go:build !unix || solaris || aix

package modules

import (
	"os"
	"time"
)

// deadAfter is the age from which, without locks, an upload counts as abandoned.
const deadAfter = 24 * time.Hour

func tryLock(*os.File) (bool, error) { return true, nil }

// takeAbandoned reports whether a session is so old that its process must be gone.
func takeAbandoned(f *os.File) (bool, error) {
	info, err := f.Stat()
	if err != nil {
		return false, err
	}
	return time.Since(info.ModTime()) > deadAfter, nil
}
