//go:build unix

package handover

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
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
	defer theirs.Close() //nolint:errcheck // a copy
	l := newLine(mine)
	hello := message{Kind: kindHello, Managed: managed}
	files := make([]*os.File, 0, len(sockets)+1)
	defer func() {
		for _, f := range files {
			_ = f.Close() // copies
		}
	}()
	names := make([]string, len(sockets))
	for i, s := range sockets {
		f, err := copyOf(s.Listener)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("pass the socket %q on: %w", s.Name, err), mine.Close())
		}
		files = append(files, f)
		names[i] = s.Name
		hello.Sockets = append(hello.Sockets, greeting{Name: s.Name, Address: s.Address})
	}
	if err := l.say(hello); err != nil { // it waits in the socket's buffer
		return nil, errors.Join(err, mine.Close())
	}
	cmd := exec.Command(c.Path, c.Args...) //nolint:gosec,noctx // it outlives us; what it is the operator says
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.ExtraFiles = append(files, theirs)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Env = append(without(os.Environ(), envFDs, envNames, envPID, envHandover, envWatchdogPID),
		envFDs+"="+strconv.Itoa(len(files)), envNames+"="+strings.Join(names, ":"),
		envPID+"="+strconv.Itoa(os.Getpid()), envHandover+"="+strconv.Itoa(firstFD+len(files)))
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, mine.Close())
	}
	s := &Successor{line: l, pid: cmd.Process.Pid, exited: make(chan struct{})}
	go func() {
		s.exit = cmd.Wait()
		close(s.exited)
	}()
	return s, nil
}

// copyOf returns a descriptor of ln's socket. It stays non-blocking: that is a
// property of the socket, and a goroutine of ours waits for it.
func copyOf(ln net.Listener) (*os.File, error) {
	tcp, ok := ln.(*net.TCPListener)
	if !ok {
		return nil, fmt.Errorf("%T is not a TCP listener", ln)
	}
	return tcp.File()
}

// pair returns two connected sockets.
func pair() (mine net.Conn, theirs *os.File, err error) {
	syscall.ForkLock.RLock()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(fds[0])
		unix.CloseOnExec(fds[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	theirs = os.NewFile(uintptr(fds[1]), "handover") //nolint:gosec // a descriptor
	f := os.NewFile(uintptr(fds[0]), "handover")     //nolint:gosec // a descriptor
	mine, err = net.FileConn(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, nil, errors.Join(err, theirs.Close())
	}
	return mine, theirs, nil
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
