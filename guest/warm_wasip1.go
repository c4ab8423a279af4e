package guest

import (
	"net/http"
	"net/url"
	"runtime"
)

// warm makes the memory what every request should find: Orla keeps it as it is after the
// initialisation. The garbage of that is collected, which is also as far from the next
// collection as can be; what the standard library makes at its first use is made; and
// the allocator has a span of each small size at hand.
func warm() {
	spare = newExchange()
	runtime.GC()
	_ = http.CanonicalHeaderKey("x-warm")
	_ = http.DetectContentType([]byte("warm"))
	if u, err := url.ParseRequestURI("/?warm=1"); err == nil {
		_ = u.Query()
	}
	_, _, _ = http.ParseHTTPVersion("HTTP/1.1")
	for size := 8; size <= 1024; size += max(8, size/8) {
		held = append(held, make([]byte, size))
		pointers = append(pointers, make([]*byte, size/8))
	}
	held, pointers = nil, nil
}

// held and pointers keep the compiler from leaving out what warm allocates.
var (
	held     [][]byte
	pointers [][]*byte
)
