package peer

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/orla-edge/orla/modules"
)

func FuzzReadDigests(f *testing.F) {
	a, b := modules.Sum([]byte("a")), modules.Sum([]byte("b"))
	f.Add(formatDigests([]modules.Digest{a, b}))
	f.Add([]byte(a.String()))
	f.Add([]byte(a.String() + "\r\n"))
	f.Add([]byte("\n\n"))
	f.Add([]byte(strings.Repeat("x", 1000)))
	f.Fuzz(func(t *testing.T, in []byte) {
		list, err := readDigests(bytes.NewReader(in))
		if err != nil {
			return
		}
		again, err := readDigests(bytes.NewReader(formatDigests(list)))
		if err != nil || !slices.Equal(list, again) {
			t.Errorf("readDigests(%q) = %v, and of what that writes %v, %v", in, list, again, err)
		}
	})
}
