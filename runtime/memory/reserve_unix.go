//go:build unix && !linux

package memory

import "golang.org/x/sys/unix"

func reserve(limit uint64, i *Image) ([]byte, error) {
	space, err := unix.Mmap(-1, 0, int(limit), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	if err == nil && i != nil {
		copy(space, i.store.view)
	}
	return space, err
}

func unreserve(b []byte) { _ = unix.Munmap(b) } // fails for a slice that is no mapping only
