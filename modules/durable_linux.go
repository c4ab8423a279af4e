package modules

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

const haveSyncfs = true

// syncBlobs writes back the whole file system that root is on. Since Linux 5.8 it
// reports write-back errors.
func syncBlobs(root string, _ []string) error {
	f, err := os.Open(root)
	if err != nil {
		return err
	}
	return errors.Join(os.NewSyscallError("syncfs", unix.Syncfs(int(f.Fd()))), f.Close())
}

// syncData writes back a file's data. Its size has not changed.
func syncData(f *os.File) error {
	for {
		if err := unix.Fdatasync(int(f.Fd())); !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("fdatasync", err)
		}
	}
}
