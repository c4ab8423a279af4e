package server

import (
	"fmt"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// refuseNew has the kernel drop the SYN segments that arrive at a listener, so
// that its queue runs dry: closing a listener resets what is still queued, and
// those clients have sent their requests already. A client whose SYN was dropped
// sends it again and is then refused in order. The listener is useless from then
// on, to every process that shares it.
func refuseNew(ln net.Listener) error {
	sc, ok := ln.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return fmt.Errorf("reach socket of %s: %w", ln.Addr(), err)
	}
	// What a filter on a TCP socket sees begins with the TCP header (RFC 9293
	// §3.1): byte 13 has the flags, SYN among them.
	const flags, syn = 13, 0x02
	program := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: flags},
		{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, Jf: 1, K: syn},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
		{Code: unix.BPF_RET | unix.BPF_K, K: 1<<32 - 1},
	}
	var attachErr error
	err = raw.Control(func(fd uintptr) {
		attachErr = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{
			Len: uint16(len(program)), Filter: &program[0],
		})
	})
	if err == nil {
		err = attachErr
	}
	if err != nil {
		return fmt.Errorf("refuse new connections at %s: %w", ln.Addr(), err)
	}
	return nil
}
