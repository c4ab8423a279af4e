//go:build !linux

package server

import "net"

// refuseNew does nothing: only Linux can keep new connections from a listener
// that goes on accepting. What arrives in its last moment is reset.
func refuseNew(net.Listener) error { return nil }
