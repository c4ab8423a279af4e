// Package ports gives tests addresses of this machine that nobody else gets meanwhile, for
// what has to be told of its port before it listens. It does not know what listens there.
package ports

import (
	"math/rand/v2"
	"net"
	"strconv"
	"testing"
)

// Ports come in slots of slotSize, all below those that systems give to who asks for any
// port. Who listens on the last one of a slot has the slot: other tests, in whichever
// process, look for another.
const (
	first    = 20_000
	last     = 32_000
	slotSize = 4

	// Run is how many ports in a row an address stands for.
	Run = slotSize - 1
)

// Address returns an address of the loopback whose port, and the [Run]-1 after it, are
// free. They are the test's own until it ends, as far as tests ask here.
func Address(t testing.TB) string {
	t.Helper()
	const slots = (last - first) / slotSize
	for i, start := 0, rand.IntN(slots); i < slots; i++ {
		if port := first + (start+i)%slots*slotSize; take(t, port) {
			return at(port)
		}
	}
	t.Fatalf("ports: nothing is free between %d and %d", first, last)
	return ""
}

// take takes the slot that begins with port, until the test ends, and reports whether
// it was free.
func take(t testing.TB, port int) bool {
	var lc net.ListenConfig
	slot, err := lc.Listen(t.Context(), "tcp", at(port+Run))
	if err != nil {
		return false
	}
	for i := range Run { // somebody may listen who does not ask here
		l, err := lc.Listen(t.Context(), "tcp", at(port+i))
		if err == nil {
			err = l.Close()
		}
		if err != nil {
			_ = slot.Close() // nobody has connected
			return false
		}
	}
	t.Cleanup(func() { _ = slot.Close() }) // nobody has connected
	return true
}

func at(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
