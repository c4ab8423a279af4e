//go:build unix && !linux

package compile

import (
	"syscall"

	"golang.org/x/sys/unix"
)

func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// addressSpace is no limit: what these systems count there, a Go program exceeds from
// its start. The child watches itself.
func addressSpace(int64) uint64 { return unix.RLIM_INFINITY }

func system() error { return nil }
