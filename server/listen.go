package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
)

// Causes of an error of [Listen] that a person can do something about.
var (
	// ErrAddressInUse says that another program, or another flag, has the port.
	ErrAddressInUse = errors.New("server: the address is in use")
	// ErrNotPermitted says that the port, below 1024, needs a privilege.
	ErrNotPermitted = errors.New("server: not permitted to listen on this port")
)

// Listen opens a TCP listener on addr, "host:port"; an empty host means every
// address of the machine. Its error wraps [ErrAddressInUse] or [ErrNotPermitted]
// where one of them is the cause, and the system's error.
//
// It never makes a Multipath TCP socket, Go's default: rules about binding, such
// as Landlock's, do not see those.
func Listen(ctx context.Context, addr string) (net.Listener, error) {
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	ln, err := lc.Listen(ctx, "tcp", addr)
	switch {
	case err == nil:
		return ln, nil
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("listen on %q: %w: %w", addr, ErrAddressInUse, err)
	case errors.Is(err, os.ErrPermission):
		return nil, fmt.Errorf("listen on %q: %w: %w", addr, ErrNotPermitted, err)
	}
	return nil, fmt.Errorf("listen on %q: %w", addr, err)
}
