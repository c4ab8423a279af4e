package httpwasm

import (
	"errors"
	"fmt"

	"github.com/tetratelabs/wazero/api"
)

// ErrGuest is what every fault of a guest against the ABI wraps.
var ErrGuest = errors.New("httpwasm: the guest broke the ABI")

// trap ends the guest: the engine turns the panic of a host function into the error
// of the call.
func trap(err error) { panic(err) }

func fault(format string, args ...any) {
	trap(fmt.Errorf("%w: "+format, append([]any{ErrGuest}, args...)...))
}

// memory is a guest's memory; a range outside of it ends the guest.
type memory struct{ api.Memory }

// view returns n bytes at p, valid until the guest runs again.
func (m memory) view(p, n uint64) []byte {
	if m.Memory == nil {
		fault("it exports no memory")
	}
	b, ok := m.Read(uint32(p), uint32(n))
	if !ok {
		fault("%d bytes at %d are outside of its memory of %d", n, p, m.Size())
	}
	return b
}

func (m memory) string(p, n uint64) string { return string(m.view(p, n)) }

// put writes s at p if it has at most limit bytes, and returns its length either way.
func (m memory) put(p, limit uint64, s string) uint64 {
	if n := uint64(len(s)); n == 0 || n > limit {
		return n
	}
	return uint64(copy(m.view(p, uint64(len(s))), s))
}

// putAll writes the strings at p, each with a NUL after it, if that takes at most
// limit bytes. It returns count and length as one number (count_len).
func (m memory) putAll(p, limit uint64, list []string) uint64 {
	size := 0
	for _, s := range list {
		size += len(s) + 1
	}
	if n := uint64(size); n > 0 && n <= limit {
		b := m.view(p, n)[:0]
		for _, s := range list {
			b = append(append(b, s...), 0)
		}
	}
	return uint64(len(list))<<32 | uint64(size)
}
