//go:build unix && !solaris && !aix

package handover

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// exitIn is how long a process that has hung up, or was killed, may take to end.
const exitIn = 5 * time.Second

// listener makes a listener of an inherited descriptor.
func listener(fd int, name string) (net.Listener, error) {
	f := os.NewFile(uintptr(fd), name) //nolint:gosec // a small number
	defer f.Close()                    //nolint:errcheck // the listener has a descriptor of its own
	listens, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	if err != nil {
		return nil, fmt.Errorf("inherited descriptor %d (%q) is not a socket: %w", fd, name, err)
	}
	if listens == 0 {
		return nil, fmt.Errorf("inherited socket %d (%q) does not listen: Accept=no and ListenStream= are needed in its unit", fd, name)
	}
	ln, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("inherited socket %d (%q): %w", fd, name, err)
	}
	if _, ok := ln.Addr().(*net.TCPAddr); !ok {
		return nil, errors.Join(fmt.Errorf("inherited socket %d (%q) is not a TCP socket", fd, name), ln.Close())
	}
	return ln, nil
}

// Start starts a successor: c's program with the sockets, with this process's
// standard streams, in a process group of its own. managed says that a service
// manager keeps the sockets.
func Start(c Command, sockets []Socket, managed bool) (*Successor, error) {
	s, err := start(c, sockets, managed)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Path, err)
	}
	return s, nil
}

func start(c Command, sockets []Socket, managed bool) (*Successor, error) {
	mine, theirs, err := pair()
	if err != nil {
		return nil, err
	}
	l := newLine(mine)
	hello := message{Kind: kindHello, Managed: managed}
	files := []uintptr{0, 1, 2}
	defer func() {
		for _, fd := range append(files[3:], theirs) {
			_ = unix.Close(int(fd)) //nolint:gosec // descriptors; copies
		}
	}()
	names := make([]string, len(sockets))
	for i, s := range sockets {
		fd, err := copyOf(s.Listener)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("pass the socket %q on: %w", s.Name, err), mine.Close())
		}
		files = append(files, fd)
		names[i] = s.Name
		hello.Sockets = append(hello.Sockets, greeting{Name: s.Name, Address: s.Address})
	}
	if err := l.say(hello); err != nil { // it waits in the socket's buffer
		return nil, errors.Join(err, mine.Close())
	}
	env := append(without(os.Environ(), envFDs, envNames, envPID, envHandover, envWatchdogPID),
		envFDs+"="+strconv.Itoa(len(sockets)), envNames+"="+strings.Join(names, ":"),
		envPID+"="+strconv.Itoa(os.Getpid()), envHandover+"="+strconv.Itoa(firstFD+len(sockets)))
	process, err := spawn(c, env, append(slices.Clip(files), theirs))
	if err != nil {
		return nil, errors.Join(err, mine.Close())
	}
	return follow(process, l), nil
}

// spawn starts a process with these descriptors, in a group of its own. It is not
// os/exec, which makes each socket that it passes a blocking one, for this process
// too: an Accept could then not be ended.
func spawn(c Command, env []string, files []uintptr) (*os.Process, error) {
	pid, err := syscall.ForkExec(c.Path, append([]string{c.Path}, c.Args...), &syscall.ProcAttr{
		Env: env, Files: files, Sys: &syscall.SysProcAttr{Setpgid: true},
	})
	if err != nil {
		return nil, os.NewSyscallError("exec", err)
	}
	return os.FindProcess(pid)
}

// follow waits for the process.
func follow(p *os.Process, l *line) *Successor {
	s := &Successor{line: l, pid: p.Pid, exited: make(chan struct{})}
	go func() {
		defer close(s.exited)
		state, err := p.Wait()
		switch {
		case err != nil:
			s.exit = err
		case !state.Success():
			s.exit = errors.New(state.String())
		}
	}()
	return s
}

// copyOf returns a descriptor of ln's socket.
func copyOf(ln net.Listener) (fd uintptr, err error) {
	tcp, ok := ln.(*net.TCPListener)
	if !ok {
		return 0, fmt.Errorf("%T is not a TCP listener", ln)
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return 0, err
	}
	var dupErr error
	err = raw.Control(func(own uintptr) {
		var n int
		n, dupErr = unix.FcntlInt(own, unix.F_DUPFD_CLOEXEC, firstFD)
		fd = uintptr(n) //nolint:gosec // a descriptor
	})
	return fd, errors.Join(err, dupErr)
}

// pair returns two connected sockets, the second as a descriptor.
func pair() (mine net.Conn, theirs uintptr, err error) {
	syscall.ForkLock.RLock()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(fds[0])
		unix.CloseOnExec(fds[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, 0, os.NewSyscallError("socketpair", err)
	}
	f := os.NewFile(uintptr(fds[0]), "handover") //nolint:gosec // a descriptor
	mine, err = net.FileConn(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, 0, errors.Join(err, unix.Close(fds[1]))
	}
	return mine, uintptr(fds[1]), nil //nolint:gosec // a descriptor
}

// Kill ends the successor and what it started, and returns when it is gone.
func (s *Successor) Kill() error {
	_ = s.line.conn.Close() // nothing more is said
	if err := unix.Kill(-s.pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("end process %d: %w", s.pid, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), exitIn)
	defer cancel()
	select {
	case <-s.exited:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("end process %d: it is still there after %v", s.pid, exitIn)
	}
}
