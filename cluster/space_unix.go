//go:build linux || darwin || freebsd || dragonfly

package cluster

import "golang.org/x/sys/unix"

// freeSpace returns the bytes that may be written at path, and whether it knows.
func freeSpace(path string) (int64, bool) {
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		return 0, false
	}
	return int64(fs.Bavail) * int64(fs.Bsize), true //nolint:gosec,unconvert // types differ by system
}
