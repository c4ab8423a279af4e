//go:build unix

package compile

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// tooBig is what writing more than RLIMIT_FSIZE fails with.
const tooBig = syscall.EFBIG

// niceness of a child: requests come first.
const niceness = 10

// confine limits this process. What it can't be given less of than it has, it keeps.
func confine(o order) error {
	which, who := unix.PRIO_PROCESS, 0
	if unix.Getpgrp() == os.Getpid() {
		which = unix.PRIO_PGRP // of all threads: on Linux they have priorities of their own
	}
	if err := unix.Setpriority(which, who, niceness); err != nil {
		return fmt.Errorf("lower priority: %w", err)
	}
	exitAtCPULimit()
	for _, l := range []struct {
		name       string
		resource   int
		soft, hard uint64
	}{
		{"processor time", unix.RLIMIT_CPU, uint64(o.cpu), uint64(o.cpu) + 2},
		{"core files", unix.RLIMIT_CORE, 0, 0},
		{"file size", unix.RLIMIT_FSIZE, maxCode, maxCode},
		{"open files", unix.RLIMIT_NOFILE, 64, 64},
		{"address space", unix.RLIMIT_AS, addressSpace(o.memory), addressSpace(o.memory)},
	} {
		if err := lower(l.resource, l.soft, l.hard); err != nil {
			return fmt.Errorf("limit %s: %w", l.name, err)
		}
	}
	return system()
}

func lower(resource int, soft, hard uint64) error {
	var has unix.Rlimit
	if err := unix.Getrlimit(resource, &has); err != nil {
		return err
	}
	has.Max = min(has.Max, hard)
	has.Cur = min(has.Cur, soft, has.Max)
	return unix.Setrlimit(resource, &has)
}

// exitAtCPULimit answers the signal that the soft limit sends. At the hard one, two
// seconds on, the kernel kills.
func exitAtCPULimit() {
	c := make(chan os.Signal, 1)
	signal.Notify(c, unix.SIGXCPU)
	go func() {
		<-c
		os.Exit(exitCPU)
	}()
}

// alone gives the child a process group, which is killed as a whole.
func alone(cmd *exec.Cmd) {
	cmd.SysProcAttr = attributes()
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
}
