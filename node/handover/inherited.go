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
	"time"
)

// The variables by which a process finds what it was started with.
const (
	envFDs      = "LISTEN_FDS"
	envNames    = "LISTEN_FDNAMES"
	envPID      = "LISTEN_PID"
	envHandover = "ORLA_HANDOVER"

	firstFD = 3
	// maxSockets is how many sockets a process takes.
	maxSockets = 64
	// helloIn is how long the first message, which was sent before the start, may take.
	helloIn = 5 * time.Second
)

// Inherited is what a process was started with. A nil one has nothing. It belongs
// to one goroutine.
type Inherited struct {
	sockets []*socket
	managed bool
	from    *Predecessor // nil: there is none
}

type socket struct {
	name    string
	address string // that it was asked for; empty: nobody has said
	ln      net.Listener
}

// Inherit returns what this process was started with, and removes it from the
// environment, so that no child looks for it. It returns nil if there is nothing.
// To be called once, before anything else opens files.
func Inherit() (*Inherited, error) {
	count, handover, err := announced(os.Getenv, os.Getpid(), os.Getppid())
	names := strings.Split(os.Getenv(envNames), ":")
	for _, name := range []string{envFDs, envNames, envPID, envHandover} {
		if err := os.Unsetenv(name); err != nil {
			return nil, fmt.Errorf("clear %s: %w", name, err)
		}
	}
	if err != nil || count == 0 && handover == 0 {
		return nil, err
	}
	in := &Inherited{managed: handover == 0}
	for i := range count {
		name := ""
		if i < len(names) {
			name = names[i]
		}
		ln, err := listener(firstFD+i, name)
		if err != nil {
			return nil, errors.Join(err, in.Close())
		}
		in.sockets = append(in.sockets, &socket{name: name, ln: ln})
	}
	if handover != 0 {
		if err := in.greet(handover); err != nil {
			return nil, errors.Join(err, in.Close())
		}
	}
	return in, nil
}

// announced returns how many sockets the environment tells of, and the descriptor
// of the conversation, or 0.
func announced(getenv func(string) string, pid, parent int) (count, handover int, err error) {
	if fds := getenv(envFDs); fds != "" {
		if count, err = strconv.Atoi(fds); err != nil || count < 0 || count > maxSockets {
			return 0, 0, fmt.Errorf("%s=%q: want a number from 0 to %d", envFDs, fds, maxSockets)
		}
	}
	owner := pid
	if fd := getenv(envHandover); fd != "" {
		if handover, err = strconv.Atoi(fd); err != nil || handover != firstFD+count {
			return 0, 0, fmt.Errorf("%s=%q: want %d, the descriptor after those of the sockets", envHandover, fd, firstFD+count)
		}
		owner = parent
	}
	if getenv(envPID) != strconv.Itoa(owner) {
		return 0, 0, nil // meant for another process, which forgot to clear them
	}
	return count, handover, nil
}

// greet hears what the predecessor says of the sockets.
func (in *Inherited) greet(fd int) error {
	f := os.NewFile(uintptr(fd), "handover") //nolint:gosec // a small number
	conn, err := net.FileConn(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("talk to the process that started this one: %w", err)
	}
	in.from = &Predecessor{line: newLine(conn)}
	ctx, cancel := context.WithTimeout(context.Background(), helloIn)
	defer cancel()
	m, err := in.from.line.expect(ctx, kindHello)
	if err != nil {
		return fmt.Errorf("hear from the process that started this one: %w", err)
	}
	if len(m.Sockets) != len(in.sockets) {
		return fmt.Errorf("the process that started this one tells of %d sockets and passes %d", len(m.Sockets), len(in.sockets))
	}
	in.managed = m.Managed
	for i, s := range in.sockets {
		s.name, s.address = m.Sockets[i].Name, m.Sockets[i].Address
	}
	return nil
}

// Predecessor returns the process that hands over to this one; nil: there is none.
func (in *Inherited) Predecessor() *Predecessor {
	if in == nil {
		return nil
	}
	return in.from
}

// Managed reports whether a service manager keeps the sockets, and passes them to
// whatever process it starts next.
func (in *Inherited) Managed() bool { return in != nil && in.managed }

// Take returns the sockets for a listener of that name which is to have that
// address, and gives them up: the caller closes them. There may be none. Those of
// a service manager go by their name, or if they have none of the given names, by
// their address; the predecessor's by both, so that changed settings are obeyed.
func (in *Inherited) Take(name, address string) []net.Listener {
	if in == nil {
		return nil
	}
	var taken []net.Listener
	in.sockets = slices.DeleteFunc(in.sockets, func(s *socket) bool {
		if !s.fits(name, address, in.managed) {
			return false
		}
		taken = append(taken, s.ln)
		return true
	})
	return taken
}

func (s *socket) fits(name, address string, managed bool) bool {
	switch {
	case s.name == name:
		return managed || s.address == address
	case s.address != "":
		return false // the predecessor knew what it was for
	}
	return sameAddress(s.ln.Addr(), address)
}

// sameAddress reports whether a socket that listens at a is what "host:port"
// asks for.
func sameAddress(a net.Addr, address string) bool {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return false
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil || port != strconv.Itoa(tcp.Port) {
		return false
	}
	if host == "" {
		return tcp.IP.IsUnspecified()
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.Equal(tcp.IP)
}

// Unclaimed tells of the service manager's sockets that nobody has taken: its
// clients would wait for ever.
func (in *Inherited) Unclaimed() error {
	if in == nil || in.from != nil {
		return nil
	}
	var errs []error
	for _, s := range in.sockets {
		errs = append(errs, fmt.Errorf("the service manager passes a socket %q at %s, which is for no listener: "+
			"set FileDescriptorName=http, https or admin in its unit, or remove it", s.name, s.ln.Addr()))
	}
	return errors.Join(errs...)
}

// Close closes what nobody has taken, and the conversation. It is idempotent.
func (in *Inherited) Close() error {
	if in == nil {
		return nil
	}
	var errs []error
	for _, s := range in.sockets {
		errs = append(errs, s.ln.Close())
	}
	in.sockets = nil
	if in.from != nil {
		errs = append(errs, in.from.line.conn.Close())
		in.from = nil
	}
	return errors.Join(errs...)
}
