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

// freeBytes is what the file system of a path has left for this user.
func freeBytes(path string) (uint64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return 0, os.NewSyscallError("statfs", err)
	}
	return st.Bavail * uint64(st.Bsize), nil //nolint:gosec // sizes
}
