package cluster

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"testing"
)

// reseal gives what a fuzzer made of a state file the right checksum, so that
// what is behind the checksum is tried too.
func reseal(b []byte) []byte {
	if len(b) < sha256.Size {
		return b
	}
	body := bytes.Clone(b[:len(b)-sha256.Size])
	sum := sha256.Sum256(body)
	return append(body, sum[:]...)
}

func TestWholeCutsAnUnfinishedBatch(t *testing.T) {
	single := func(seq uint64) message { return message{Entry: Entry{Revision: seq}} }
	part := func(seq, n uint64, batch string) message {
		return message{Entry: Entry{Revision: seq}, batch: batch, part: n}
	}
	end := func(seq, n uint64, batch string) message {
		m := part(seq, n, batch)
		m.complete = true
		return m
	}
	tests := []struct {
		name     string
		all      []message
		last     uint64
		want     int
		wantLast uint64
	}{
		{"nothing", nil, 7, 0, 7},
		{"singles", []message{single(1), single(2)}, 2, 2, 2},
		{"a whole batch", []message{single(1), part(2, 1, "x"), end(3, 2, "x")}, 3, 3, 3},
		{"an unfinished batch", []message{single(1), part(2, 1, "x"), part(3, 2, "x")}, 3, 1, 1},
		{"an unfinished batch alone", []message{part(5, 1, "x")}, 5, 0, 4},
		{"after a whole one", []message{end(4, 2, "w"), part(5, 1, "x")}, 5, 1, 4},
		{"parts whose end was overwritten", []message{part(2, 1, "x"), single(9)}, 9, 2, 9},
		{"parts whose end was deleted", []message{part(2, 1, "x")}, 9, 1, 9},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, last := whole(tt.all, tt.last)
			if len(got) != tt.want || last != tt.wantLast {
				t.Errorf("whole = %d messages up to %d, want %d up to %d", len(got), last, tt.want, tt.wantLast)
			}
		})
	}
}

func TestEveryFlippedBitOfAStateIsRefused(t *testing.T) {
	b := state{pos: position{bucket: 1 << 60, seq: 9}, entries: table{
		"head.shop": {Key: "head.shop", Value: []byte("value"), Revision: 3},
		"host.x":    {Key: "host.x", Value: []byte("shop"), Revision: 9},
	}}.encode()
	if _, err := decodeState(b); err != nil {
		t.Fatal(err)
	}
	for i := range len(b) * 8 {
		b[i/8] ^= 1 << (i % 8)
		if s, err := decodeState(b); !errors.Is(err, errState) {
			t.Errorf("bit %d of byte %d: %+v, %v, want errState", i%8, i/8, s, err)
		}
		b[i/8] ^= 1 << (i % 8)
	}
}
