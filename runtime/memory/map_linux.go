package memory

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// store keeps an image's content in a memfd.
type store struct {
	fd   int
	view []byte // of all of it, to be read only
}

func (s *store) open(content []byte, blank []bool) (err error) {
	if len(content) == 0 {
		s.fd = -1
		return nil
	}
	if s.fd, err = unix.MemfdCreate("orla-image", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING); err != nil {
		return fmt.Errorf("create memfd: %w", err)
	}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if err := unix.Ftruncate(s.fd, int64(len(content))); err != nil {
		return fmt.Errorf("size memfd: %w", err)
	}
	for at := 0; at < len(content); {
		end := at + pageSize
		for end < len(content) && blank[end/pageSize] == blank[at/pageSize] {
			end += pageSize
		}
		if !blank[at/pageSize] {
			if err := s.write(content[at:end], at); err != nil {
				return err
			}
		}
		at = end
	}
	const seals = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE | unix.F_SEAL_SEAL
	if _, err := unix.FcntlInt(uintptr(s.fd), unix.F_ADD_SEALS, seals); err != nil {
		return fmt.Errorf("seal memfd: %w", err)
	}
	s.view, err = unix.Mmap(s.fd, 0, len(content), unix.PROT_READ, unix.MAP_PRIVATE)
	if err != nil {
		return fmt.Errorf("map memfd: %w", err)
	}
	return nil
}

func (s *store) write(b []byte, at int) error {
	for len(b) > 0 {
		n, err := unix.Pwrite(s.fd, b, int64(at))
		if err != nil {
			return fmt.Errorf("write memfd: %w", err)
		}
		b, at = b[n:], at+n
	}
	return nil
}

func (s *store) close() {
	if s.view != nil {
		_ = unix.Munmap(s.view) // fails for what is no mapping only
	}
	if s.fd >= 0 {
		_ = unix.Close(s.fd)
	}
}

// reserve returns limit bytes of address space that begin as a private mapping of the
// image, the rest zeros.
func reserve(limit uint64, i *Image) ([]byte, error) {
	space, err := unix.Mmap(-1, 0, int(limit), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	if err != nil {
		return nil, fmt.Errorf("reserve %d bytes: %w", limit, err)
	}
	// One byte written should cost one page, not two megabytes.
	_ = unix.Madvise(space, unix.MADV_NOHUGEPAGE) // unknown to kernels without huge pages
	if i == nil || i.size == 0 {
		return space, nil
	}
	if i.size > limit {
		unreserve(space)
		return nil, errors.New("the image is larger than the limit")
	}
	if err := remap(space, i); err != nil {
		unreserve(space)
		return nil, err
	}
	return space, nil
}

// remap makes the beginning of space a private mapping of the image.
func remap(space []byte, i *Image) error {
	if i.size == 0 {
		return nil
	}
	base := unsafe.Pointer(unsafe.SliceData(space))
	if _, err := unix.MmapPtr(i.store.fd, 0, base, uintptr(i.size), unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_FIXED|unix.MAP_NORESERVE); err != nil {
		return fmt.Errorf("map image: %w", err)
	}
	return nil
}

func unreserve(b []byte) { _ = unix.Munmap(b) } // fails for a slice that is no mapping only

// discard gives b's private pages back to the kernel: it is the image again.
func discard(b []byte) error { return unix.Madvise(b, unix.MADV_DONTNEED) }
