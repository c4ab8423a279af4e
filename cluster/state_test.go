package cluster

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
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

// journalled is a stateDir that has saved what a model has.
type journalled struct {
	*stateDir
	t   *testing.T
	has state
}

func newJournalled(t *testing.T, path string, compactAt int64) *journalled {
	t.Helper()
	j := &journalled{stateDir: &stateDir{path: path, compactAt: compactAt}, t: t}
	s, _, err := j.load(slog.New(slog.DiscardHandler))
	must(t, err)
	if s.entries == nil {
		s.entries = table{}
	}
	j.has = s
	return j
}

// change appends a change by chance.
func (j *journalled) change(rnd *rand.Rand) {
	var entries []Entry
	for range 1 + rnd.IntN(3) {
		j.has.pos.seq++
		e := Entry{Key: fmt.Sprint("k", rnd.IntN(20)), Revision: j.has.pos.seq}
		if rnd.IntN(3) > 0 {
			e.Value = []byte(fmt.Sprint(rnd.Uint64()))
		}
		entries = append(entries, e)
	}
	j.has.pos.bucket = 7
	j.has.entries.merge(entries, false)
	must(j.t, j.append(entries, j.has))
	if rnd.IntN(2) == 0 {
		must(j.t, j.sync())
	}
}

func TestJournalsLeadToTheState(t *testing.T) {
	for _, compactAt := range []int64{1, 300, 1 << 20} {
		dir, rnd := t.TempDir(), rand.New(rand.NewPCG(1, uint64(compactAt)))
		for range 10 {
			j := newJournalled(t, dir, compactAt)
			for range 30 {
				j.change(rnd)
			}
			j.close()
			again := newJournalled(t, dir, compactAt)
			if !bytes.Equal(again.has.encode(), j.has.encode()) {
				t.Fatalf("loaded %d entries at %d, want %d at %d", len(again.has.entries), again.has.pos.seq, len(j.has.entries), j.has.pos.seq)
			}
		}
	}
}

// A node that dies while it writes finds one of the states that it had, and goes on.
func TestTornJournals(t *testing.T) {
	src, rnd := t.TempDir(), rand.New(rand.NewPCG(1, 2))
	j := newJournalled(t, src, 0)
	had := map[string]bool{}
	for range 8 {
		j.change(rnd)
		had[string(j.has.encode())] = true
	}
	j.close()
	name := j.file(journalPrefix, j.next-1)
	whole, err := os.ReadFile(name)
	must(t, err)
	for cut := range whole {
		dir := t.TempDir()
		must(t, os.CopyFS(dir, os.DirFS(src)))
		must(t, os.Truncate(filepath.Join(dir, filepath.Base(name)), int64(cut)))
		torn := newJournalled(t, dir, 0)
		if !had[string(torn.has.encode())] {
			t.Fatalf("cut at %d: a state that never was, at %d", cut, torn.has.pos.seq)
		}
		torn.change(rnd)
		torn.close()
		if again := newJournalled(t, dir, 0); !bytes.Equal(again.has.encode(), torn.has.encode()) {
			t.Fatalf("cut at %d: the next change was lost", cut)
		}
	}
}

// What a change costs does not grow with the state.
func BenchmarkAppend(b *testing.B) {
	for _, keys := range []int{100, 10_000, 100_000} {
		b.Run(fmt.Sprint(keys), func(b *testing.B) {
			d := &stateDir{path: b.TempDir(), compactAt: 1 << 40}
			s := state{entries: table{}}
			for i := range keys {
				e := Entry{Key: fmt.Sprint("k", i), Value: make([]byte, 1024), Revision: uint64(i)}
				s.entries[e.Key] = e
			}
			if err := d.save(s); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if err := errors.Join(d.append([]Entry{{Key: "k1", Value: make([]byte, 1024)}}, s), d.sync()); err != nil {
					b.Fatal(err)
				}
			}
			d.close()
		})
	}
}
