//go:build !unix || solaris || aix

package handover

import (
	"errors"
	"net"
)

var errUnsupported = errors.New("sockets cannot be passed from process to process on this system")

func listener(int, string) (net.Listener, error) { return nil, errUnsupported }

// Start is not supported on this system.
func Start(Command, []Socket, bool) (*Successor, error) { return nil, errUnsupported }

// Kill is never called: there is no successor.
func (s *Successor) Kill() error { return errUnsupported }
