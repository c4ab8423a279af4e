package cluster

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

// A change costs what it changes from the moment it is heard until it is on disk, however
// many keys there are beside it.
func TestAChangeCostsItselfOnly(t *testing.T) {
	const times = 50
	cost := func(others int) (allocated, written uint64) {
		c, err := New(Config{Dir: t.TempDir()})
		must(t, err)
		defer c.Close()
		defer c.states.close()
		s := &session{c: c, reg: newRegister(c.cfg.Topology, c.cfg.Timeout)}
		a := &applier{c: c, apply: func(context.Context, Update) error { return nil }, live: table{}, synced: time.NewTimer(time.Hour)}
		defer a.synced.Stop()
		turn := func(entries []Entry, seq uint64, full bool) {
			s.deliver(entries, position{bucket: 5, seq: seq}, full)
			d, _ := c.box.take()
			a.deliver(t.Context(), d)
			if a.unsaved {
				t.Fatal("not saved")
			}
		}
		all := make([]Entry, others)
		for i := range all {
			all[i] = Entry{Key: fmt.Sprint("k", i), Value: make([]byte, 100), Revision: uint64(i) + 1}
		}
		turn(all, uint64(others), true)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for i := range times {
			seq := uint64(others+i) + 1
			turn([]Entry{{Key: fmt.Sprint("k", i), Value: make([]byte, 100), Revision: seq}}, seq, false)
		}
		runtime.ReadMemStats(&after)
		return (after.TotalAlloc - before.TotalAlloc) / times, journals(t, c.statePath()) / times
	}
	fewBytes, fewWritten := cost(100)
	manyBytes, manyWritten := cost(10_000)
	if manyBytes > fewBytes+2<<10 {
		t.Errorf("a change beside 10,000 keys allocates %d bytes, beside 100 %d", manyBytes, fewBytes)
	}
	if fewWritten == 0 || manyWritten > fewWritten+10 { // the keys have a digit more
		t.Errorf("a change beside 10,000 keys writes %d bytes, beside 100 %d", manyWritten, fewWritten)
	}
}

// journals is the size of all journals in a folder, in bytes.
func journals(t *testing.T, dir string) (size uint64) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, journalPrefix+"*"))
	must(t, err)
	for _, file := range files {
		info, err := os.Stat(file)
		must(t, err)
		size += uint64(info.Size())
	}
	return size
}

// Whole states are written now and then, the less often the larger they are: what all of
// them cost is a share of what the changes do.
func TestWholeStatesAreWrittenSeldom(t *testing.T) {
	dir := t.TempDir()
	d := &stateDir{path: dir, compactAt: 1 << 10}
	s := state{pos: position{bucket: 5}, entries: table{}}
	for i := range 1000 {
		key := fmt.Sprint("k", i)
		s.entries[key] = Entry{Key: key, Value: make([]byte, 100), Revision: 1}
	}
	must(t, d.save(s))
	base, written := d.base.Load(), int64(0)
	whole := 0
	for i := range 600 {
		e := Entry{Key: "k1", Value: make([]byte, 1000), Revision: uint64(i) + 2}
		s.pos.seq = e.Revision
		s.entries.merge([]Entry{e}, false)
		before := d.size
		must(t, d.append([]Entry{e}, s))
		written += d.size - before
		must(t, d.sync())
		if d.size == 0 {
			whole++
			d.writing.Wait()
		}
	}
	d.close()
	if most := int(written / base); whole == 0 || whole > most {
		t.Errorf("%d whole states of %d bytes were written after %d bytes of changes, want 1 to %d", whole, base, written, most)
	}
}
