package cluster

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

const (
	statePrefix   = "register-" // a whole state
	journalPrefix = "journal-"  // what has changed since
	stateTmp      = "new"
	stateKept     = 3
	// compactAt is the size in bytes of journals from which a whole state is written in
	// their place, if that is not larger.
	compactAt = 1 << 20
)

// stateDir keeps the last generations of the state. A change costs what it changes: it
// is appended to a journal. When the journals have become as large as the state itself,
// a whole one is written beside the changes that go on.
//
// State number n is what all journals below n led to. To load is to read the newest
// state that is intact and the journals from its number on. Its methods are for one
// goroutine at a time.
type stateDir struct {
	path      string
	compactAt int64 // 0 means compactAt

	next     uint64       // number of the next journal, and of a state written now
	whole    bool         // the files lead to what was saved last, so that a change may be appended
	journal  *os.File     // open; nil: none
	fresh    bool         // the journal's name is not durable yet
	size     int64        // bytes of journals since the newest state
	base     atomic.Int64 // bytes of the newest state
	writing  sync.WaitGroup
	compacts atomic.Bool // a state is being written in the background
}

// load returns the state that the files lead to. It reports false if there is none. A
// damaged file is left where it is, said loudly and passed over.
func (d *stateDir) load(log *slog.Logger) (state, bool, error) {
	s, found, err := d.read(math.MaxUint64, log)
	if err != nil {
		return state{}, false, fmt.Errorf("read the last good state: %w", err)
	}
	d.whole = found
	return s, found, d.count()
}

// count has the next journal follow all files that there are.
func (d *stateDir) count() error {
	for _, prefix := range []string{statePrefix, journalPrefix} {
		numbers, err := d.numbers(prefix)
		if err != nil {
			return fmt.Errorf("read the last good state: %w", err)
		}
		if len(numbers) > 0 {
			d.next = max(d.next, numbers[0]+1)
		}
	}
	return nil
}

// read returns what states up to a number and the journals below it lead to.
func (d *stateDir) read(below uint64, log *slog.Logger) (state, bool, error) {
	numbers, err := d.numbers(statePrefix)
	if err != nil {
		return state{}, false, err
	}
	older := false
	for _, n := range numbers {
		if n > below {
			continue
		}
		s, err := readState(d.file(statePrefix, n))
		if err != nil {
			log.Error("last good state refused", "file", d.file(statePrefix, n), "error", err)
			older = true
			continue
		}
		if info, err := os.Stat(d.file(statePrefix, n)); err == nil {
			d.base.Store(info.Size())
		}
		if err := d.replay(&s, n, below, log); err != nil {
			return state{}, false, err
		}
		if older {
			log.Error("using an older last good state", "file", d.file(statePrefix, n), "revision", s.pos.seq)
		}
		return s, true, nil
	}
	return state{}, false, nil
}

// replay applies the journals from a number on, up to another, to the state.
func (d *stateDir) replay(s *state, from, below uint64, log *slog.Logger) error {
	numbers, err := d.numbers(journalPrefix)
	if err != nil {
		return err
	}
	slices.Reverse(numbers)
	for _, n := range numbers {
		if n < from || n >= below {
			continue
		}
		file := d.file(journalPrefix, n)
		b, err := os.ReadFile(file) //nolint:gosec // a file of ours
		if err != nil {
			return err
		}
		good := s.replay(b)
		if good == len(b) {
			continue
		}
		if n != numbers[len(numbers)-1] { // only the last one may end in the middle of a change
			log.Error("last good state refused", "file", file, "error", errState)
			return nil
		}
		if err := os.Truncate(file, int64(good)); err != nil {
			return fmt.Errorf("cut off a change that was not finished: %w", err)
		}
	}
	return nil
}

// A record of a journal, integers big-endian:
//
//	length of what follows the checksum, CRC-32 (Castagnoli) of it   4 bytes each
//	bucket, sequence, count                                          8 bytes each
//	entries as in a state; a length of the value of 2^32-1 stands for a deleted key
const recordHeader = 8

const deletedValue = math.MaxUint32

// record encodes a change that led to pos.
func record(pos position, entries []Entry) []byte {
	b := make([]byte, recordHeader, recordHeader+3*8)
	b = binary.BigEndian.AppendUint64(b, uint64(pos.bucket)) //nolint:gosec // and back the same way
	b = binary.BigEndian.AppendUint64(b, pos.seq)
	b = binary.BigEndian.AppendUint64(b, uint64(len(entries)))
	for _, e := range entries {
		b = appendEntry(b, e)
	}
	body := b[recordHeader:]
	binary.BigEndian.PutUint32(b, uint32(len(body))) //nolint:gosec // at most MaxChanges values, or refused
	binary.BigEndian.PutUint32(b[4:], crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// replay applies the records in b, and returns how many bytes of it were whole.
func (s *state) replay(b []byte) int {
	castagnoli := crc32.MakeTable(crc32.Castagnoli)
	at := 0
	for len(b)-at >= recordHeader {
		length := int(binary.BigEndian.Uint32(b[at:]))
		if length < 3*8 || len(b)-at-recordHeader < length {
			break
		}
		body := b[at+recordHeader : at+recordHeader+length]
		if crc32.Checksum(body, castagnoli) != binary.BigEndian.Uint32(b[at+4:]) {
			break
		}
		entries, ok := decodeRecord(body)
		if !ok {
			break
		}
		s.entries.merge(entries, false)
		s.pos = position{bucket: bucketID(binary.BigEndian.Uint64(body)), seq: binary.BigEndian.Uint64(body[8:])} //nolint:gosec // see record
		at += recordHeader + length
	}
	return at
}

func decodeRecord(body []byte) ([]Entry, bool) {
	count, rest := binary.BigEndian.Uint64(body[16:]), body[24:]
	var entries []Entry
	for range count {
		e, n, err := decodeEntry(rest)
		if err != nil {
			return nil, false
		}
		entries, rest = append(entries, e), rest[n:]
	}
	return entries, len(rest) == 0
}

// save writes s whole, durably, as the newest state.
func (d *stateDir) save(s state) error {
	d.endJournal()
	if err := d.write(s, d.next); err != nil {
		return err
	}
	d.whole = true
	return nil
}

// append notes that the entries have changed, which led to all. What it has returned for
// survives the end of the process; after [stateDir.sync] also that of the machine.
func (d *stateDir) append(entries []Entry, all state) error {
	if !d.whole {
		return d.save(all)
	}
	b := record(all.pos, entries)
	if len(b) > math.MaxInt32 {
		return d.save(all)
	}
	if err := d.log(b); err != nil {
		return d.broken(err)
	}
	d.size += int64(len(b))
	return nil
}

// broken is what follows a failed write: who knows what of it is there.
func (d *stateDir) broken(err error) error {
	d.whole = false
	d.endJournal()
	return fmt.Errorf("save the last good state: %w", err)
}

func (d *stateDir) log(b []byte) error {
	if d.journal == nil {
		f, err := os.OpenFile(d.file(journalPrefix, d.next), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		d.journal, d.fresh = f, true
		d.next++
	}
	_, err := d.journal.Write(b)
	return err
}

// sync makes durable what was appended.
func (d *stateDir) sync() error {
	if d.journal == nil {
		return nil
	}
	err := d.journal.Sync()
	if d.fresh && err == nil {
		d.fresh = false
		err = syncDir(d.path)
	}
	if err != nil {
		return d.broken(err)
	}
	if d.size > max(d.base.Load(), cmp.Or(d.compactAt, compactAt)) {
		d.compact()
	}
	return nil
}

func (d *stateDir) endJournal() {
	if d.journal != nil {
		_ = d.journal.Close() // all of it is on the disk
		d.journal = nil
	}
}

// compact has a whole state written in the background from the files. What changes
// meanwhile goes into the next journal.
func (d *stateDir) compact() {
	if d.compacts.Swap(true) {
		return
	}
	d.endJournal()
	upTo := d.next
	d.size = 0
	d.writing.Go(func() {
		defer d.compacts.Store(false)
		from := &stateDir{path: d.path, next: upTo}
		if s, ok, err := from.read(upTo, slog.New(slog.DiscardHandler)); err == nil && ok {
			_ = from.write(s, upTo) // the journals say the same: the next time will do
			d.base.Store(from.base.Load())
		}
	})
}

// close ends what goes on in the background.
func (d *stateDir) close() {
	d.writing.Wait()
	d.endJournal()
}

// reopen is for after another process may have written.
func (d *stateDir) reopen() error {
	d.whole = false
	return d.count()
}

// write writes s as the state of that number and drops what is older than those kept.
func (d *stateDir) write(s state, number uint64) error {
	tmp := filepath.Join(d.path, stateTmp+"-"+strconv.FormatUint(number, 16))
	b := s.encode()
	if err := writeDurably(tmp, b); err != nil {
		os.Remove(tmp) //nolint:errcheck,gosec // the next save overwrites it
		return fmt.Errorf("save the last good state: %w", err)
	}
	if err := os.Rename(tmp, d.file(statePrefix, number)); err != nil {
		return fmt.Errorf("save the last good state: %w", err)
	}
	if err := syncDir(d.path); err != nil {
		return fmt.Errorf("save the last good state: %w", err)
	}
	d.base.Store(int64(len(b)))
	d.size, d.next = 0, max(d.next, number)
	return d.drop()
}

// drop removes the states beyond those kept, and the journals that only they need.
func (d *stateDir) drop() error {
	numbers, err := d.numbers(statePrefix)
	if err != nil || len(numbers) <= stateKept {
		return err
	}
	oldest := numbers[stateKept-1]
	for _, prefix := range []string{statePrefix, journalPrefix} {
		numbers, err := d.numbers(prefix)
		if err != nil {
			return fmt.Errorf("drop old states: %w", err)
		}
		for _, n := range numbers {
			if n >= oldest {
				continue
			}
			if err := os.Remove(d.file(prefix, n)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("drop old states: %w", err)
			}
		}
	}
	return nil
}

func (d *stateDir) file(prefix string, number uint64) string {
	return filepath.Join(d.path, fmt.Sprintf("%s%016x", prefix, number))
}

// numbers lists the files' numbers, newest first.
func (d *stateDir) numbers(prefix string) ([]uint64, error) {
	names, err := os.ReadDir(d.path)
	if err != nil {
		return nil, err
	}
	var numbers []uint64
	for _, e := range names {
		digits, ok := strings.CutPrefix(e.Name(), prefix)
		if n, err := strconv.ParseUint(digits, 16, 64); ok && err == nil {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	slices.Reverse(numbers)
	return numbers, nil
}

func readState(file string) (state, error) {
	info, err := os.Stat(file)
	if err != nil {
		return state{}, err
	}
	if info.Size() > maxState {
		return state{}, fmt.Errorf("%w: %d bytes", errState, info.Size())
	}
	b, err := os.ReadFile(file) //nolint:gosec // a file of ours
	if err != nil {
		return state{}, err
	}
	return decodeState(b)
}

// appendEntry encodes an entry.
func appendEntry(b []byte, e Entry) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(e.Key))) //nolint:gosec // at most MaxKey
	b = append(b, e.Key...)
	b = binary.BigEndian.AppendUint64(b, e.Revision)
	if e.Value == nil {
		return binary.BigEndian.AppendUint32(b, deletedValue)
	}
	b = binary.BigEndian.AppendUint32(b, uint32(len(e.Value))) //nolint:gosec // at most MaxValue
	return append(b, e.Value...)
}
