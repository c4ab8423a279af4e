package memory

import (
	"errors"
	"fmt"
	"math/bits"
	"os"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// tracker finds the pages of a private file mapping that are the process's own.
type tracker struct {
	// force is the method to use; empty means the best.
	force   Method
	regions []region
	entries []uint64
}

// Best returns the method that is in use on this system.
func Best() Method { return system().method }

// pagemap is the process's /proc/self/pagemap, and what can be done with it.
type pagemap struct {
	file   *os.File
	method Method
}

var system = sync.OnceValue(func() pagemap {
	f, err := os.Open("/proc/self/pagemap")
	if err != nil {
		return pagemap{method: Discard}
	}
	p := pagemap{file: f, method: Scan}
	probe, err := unix.Mmap(-1, 0, pageSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return pagemap{method: Discard}
	}
	defer unix.Munmap(probe) //nolint:errcheck // fails for what is no mapping only
	probe[0] = 1
	for _, p.method = range []Method{Scan, Read} {
		// A container's filter may answer what it likes: believe what finds the page.
		if runs, err := (&tracker{force: p.method}).find(p, probe, nil); err == nil && len(runs) == 1 {
			return p
		}
	}
	_ = f.Close() // opened to be read
	return pagemap{method: Discard}
})

// dirty appends the runs of b's private pages to runs, in order.
func (t *tracker) dirty(b []byte, runs []run) ([]run, error) {
	p := system()
	if t.force != "" {
		p.method = t.force
	}
	return t.find(p, b, runs)
}

func (t *tracker) find(p pagemap, b []byte, runs []run) ([]run, error) {
	switch {
	case len(b) == 0:
		return runs, nil
	case p.method == Scan:
		return t.scan(p.file, b, runs)
	case p.method == Read:
		return t.read(p.file, b, runs)
	}
	return append(runs, run{0, uint64(len(b))}), nil // so much that it will be discarded
}

// region is struct page_region, and scanArg struct pm_scan_arg, of linux/fs.h.
type region struct{ start, end, categories uint64 }

type scanArg struct {
	size, flags, start, end, walkEnd, vec, vecLen, maxPages   uint64
	categoryInverted, categoryMask, categoryAnyOf, returnMask uint64
}

const (
	pagemapScan = 0xc0606610 // _IOWR('f', 16, struct pm_scan_arg)

	isFile    = 1 << 2
	isPresent = 1 << 3
	isSwapped = 1 << 4
)

// scan lists pages that are present or swapped out, and not the file's.
func (t *tracker) scan(f *os.File, b []byte, runs []run) ([]run, error) {
	if t.regions == nil {
		t.regions = make([]region, 256)
	}
	base := uint64(uintptr(unsafe.Pointer(unsafe.SliceData(b))))
	arg := scanArg{
		start: base, end: base + uint64(len(b)),
		vec: uint64(uintptr(unsafe.Pointer(unsafe.SliceData(t.regions)))), vecLen: uint64(len(t.regions)),
		categoryInverted: isFile, categoryMask: isFile, categoryAnyOf: isPresent | isSwapped, returnMask: isPresent,
	}
	arg.size = uint64(unsafe.Sizeof(arg))
	for arg.start < arg.end {
		n, _, errno := unix.RawSyscall(unix.SYS_IOCTL, f.Fd(), pagemapScan, uintptr(unsafe.Pointer(&arg)))
		if errno != 0 {
			return nil, fmt.Errorf("scan page tables: %w", errno)
		}
		for _, r := range t.regions[:n] {
			runs = join(runs, r.start-base, r.end-base)
		}
		if arg.walkEnd <= arg.start {
			return nil, errors.New("scan page tables: no progress")
		}
		arg.start = arg.walkEnd
	}
	return runs, nil
}

// read does what scan does with the entries of pagemap: bit 63 says present, 62 swapped
// out, 61 that the page is a file's (Documentation/admin-guide/mm/pagemap.rst).
func (t *tracker) read(f *os.File, b []byte, runs []run) ([]run, error) {
	pages := len(b) / pageSize
	if len(t.entries) < pages {
		t.entries = make([]uint64, pages)
	}
	base := uint64(uintptr(unsafe.Pointer(unsafe.SliceData(b))))
	raw := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(t.entries))), pages*8)
	if _, err := f.ReadAt(raw, int64(base/pageSize*8)); err != nil {
		return nil, fmt.Errorf("read page tables: %w", err)
	}
	for i, e := range t.entries[:pages] {
		if top := bits.Reverse64(e) & 7; top&3 != 0 && top&4 == 0 {
			runs = join(runs, uint64(i)*pageSize, uint64(i+1)*pageSize)
		}
	}
	return runs, nil
}

// join appends a run, or lengthens the last one.
func join(runs []run, from, to uint64) []run {
	if n := len(runs); n > 0 && runs[n-1].to == from {
		runs[n-1].to = to
		return runs
	}
	return append(runs, run{from, to})
}
