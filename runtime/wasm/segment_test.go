package wasm_test

import (
	"testing"

	"github.com/orla-edge/orla/runtime/wasm"
)

// TestSegmentsThatNobodyCanName: an instance is made faster without them, and there may
// be thousands; where instructions name segments by index, all keep theirs.
func TestSegmentsThatNobodyCanName(t *testing.T) {
	m := module{types: []string{void}, funcs: []fn{{}}, memory: "\x00\x01", data: []string{"\x00" + i32(8) + "\x0b\x01a", "\x01\x01b"}}
	for _, c := range []struct {
		name, count string
		want        int // bytes
	}{
		{"no instruction can", "", 0},
		{"some may", "\x02", 6},
	} {
		m.count = c.count
		p := prepare(t, m.bytes())
		written, err := wasm.Read(p.Code)
		if err != nil {
			t.Fatal(err)
		}
		got := 0
		for _, s := range written.Sections {
			if s.Name == "data" {
				got = s.Size
			}
		}
		if got != c.want {
			t.Errorf("%s: segments take %d bytes, want %d", c.name, got, c.want)
		}
		if len(p.Data) != 1 || p.Data[0].Offset != 8 || string(p.Data[0].Bytes) != "a" {
			t.Errorf("%s: Data is %v, want a at 8", c.name, p.Data)
		}
	}
}
