//go:build unix && !solaris && !aix

package node

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// lockNote locks f for as long as it is open, and reports whether nobody else had.
func lockNote(f *os.File) (bool, error) {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return false, nil
	}
	return err == nil, os.NewSyscallError("flock", err)
}
