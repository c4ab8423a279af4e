package compile

import (
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// attributes of the child's process: it dies with the thread that started it.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: unix.SIGKILL}
}

// addressSpace returns how large this process may become to get memory more than it
// has now: Go reserves what it may never use, and race detectors reserve terabytes.
func addressSpace(memory int64) uint64 {
	const guess = 2 << 30 // of a Go program that has just begun
	var pages uint64
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return uint64(memory) + guess
	}
	if _, err := fmt.Sscan(string(b), &pages); err != nil {
		return uint64(memory) + guess
	}
	return pages*uint64(os.Getpagesize()) + uint64(memory)
}

// system has the kernel choose this process, should the machine run out of memory,
// and not the node.
func system() error {
	// Where /proc is not to be written to, the limits have to do.
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("1000"), 0)
	return nil
}
