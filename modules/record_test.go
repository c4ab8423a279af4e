package modules

import (
	"bytes"
	"testing"
)

// FuzzNextRecord: whatever a journal holds, each record read from it is of the digest that
// it says, and the reading ends.
func FuzzNextRecord(f *testing.F) {
	one := append(Sum([]byte("one")).record(3), "one"...)
	none := Sum(nil).record(0)
	f.Add(bytes.Join([][]byte{one, none, one, make([]byte, 100)}, nil))
	f.Add(Sum([]byte("x")).record(1 << 31))
	f.Fuzz(func(t *testing.T, b []byte) {
		for {
			digest, blob, rest := nextRecord(b)
			if rest == nil {
				return
			}
			if len(rest) >= len(b) || Sum(blob) != digest {
				t.Fatalf("%d bytes said to be of %s, %d of %d left", len(blob), digest, len(rest), len(b))
			}
			b = rest
		}
	})
}
