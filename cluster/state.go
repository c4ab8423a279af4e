package cluster

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// state is what a node starts from when there is no register.
type state struct {
	pos     position
	entries table
}

// The format of a state file, integers big-endian:
//
//	magic                      8 bytes
//	bucket, sequence, count    8 bytes each
//	count times: length of the key (2), key, revision (8), length of the value (4), value
//	SHA-256 of all before it   32 bytes
const stateMagic = "orlaST\x00\x01"

const (
	stateHeader = len(stateMagic) + 3*8
	entryHeader = 2 + 8 + 4
	maxState    = 2 << 30 // bytes; a larger file is not one of ours
)

var errState = errors.New("cluster: state file is damaged")

func (s state) encode() []byte {
	size := stateHeader + sha256.Size
	for _, e := range s.entries {
		size += entryHeader + len(e.Key) + len(e.Value)
	}
	b := make([]byte, 0, size)
	b = append(b, stateMagic...)
	b = binary.BigEndian.AppendUint64(b, uint64(s.pos.bucket)) //nolint:gosec // and back the same way
	b = binary.BigEndian.AppendUint64(b, s.pos.seq)
	b = binary.BigEndian.AppendUint64(b, uint64(len(s.entries)))
	for _, e := range s.entries.sorted() {
		b = binary.BigEndian.AppendUint16(b, uint16(len(e.Key))) //nolint:gosec // at most MaxKey
		b = append(b, e.Key...)
		b = binary.BigEndian.AppendUint64(b, e.Revision)
		b = binary.BigEndian.AppendUint32(b, uint32(len(e.Value))) //nolint:gosec // at most MaxValue
		b = append(b, e.Value...)
	}
	sum := sha256.Sum256(b)
	return append(b, sum[:]...)
}

func decodeState(b []byte) (state, error) {
	if len(b) < stateHeader+sha256.Size || !bytes.HasPrefix(b, []byte(stateMagic)) {
		return state{}, fmt.Errorf("%w: not a state file", errState)
	}
	body, sum := b[:len(b)-sha256.Size], b[len(b)-sha256.Size:]
	if got := sha256.Sum256(body); !bytes.Equal(got[:], sum) {
		return state{}, fmt.Errorf("%w: checksum differs", errState)
	}
	s := state{entries: table{}, pos: position{
		bucket: bucketID(binary.BigEndian.Uint64(body[8:])), //nolint:gosec // see encode
		seq:    binary.BigEndian.Uint64(body[16:]),
	}}
	count := binary.BigEndian.Uint64(body[24:])
	rest := body[stateHeader:]
	for range count {
		e, n, err := decodeEntry(rest)
		if err != nil {
			return state{}, err
		}
		s.entries[e.Key] = e
		rest = rest[n:]
	}
	if len(rest) != 0 || uint64(len(s.entries)) != count {
		return state{}, fmt.Errorf("%w: entries do not add up", errState)
	}
	return s, nil
}

// decodeEntry reads one entry and returns how many bytes it took.
func decodeEntry(b []byte) (Entry, int, error) {
	short := fmt.Errorf("%w: cut short", errState)
	if len(b) < entryHeader {
		return Entry{}, 0, short
	}
	nk := int(binary.BigEndian.Uint16(b))
	if len(b) < entryHeader+nk {
		return Entry{}, 0, short
	}
	key := string(b[2 : 2+nk])
	if err := checkKey(key); err != nil {
		return Entry{}, 0, fmt.Errorf("%w: %w", errState, err)
	}
	rev := binary.BigEndian.Uint64(b[2+nk:])
	nv := binary.BigEndian.Uint32(b[2+nk+8:])
	rest := b[entryHeader+nk:]
	if nv > math.MaxInt32 || len(rest) < int(nv) {
		return Entry{}, 0, short
	}
	// Clipped, so that nothing appends into the next entry.
	value := slices.Clip(rest[:nv:nv])
	return Entry{Key: key, Value: value, Revision: rev}, entryHeader + nk + int(nv), nil
}

const (
	statePrefix = "register-"
	stateTmp    = "new"
	stateKept   = 3
)

// stateDir keeps the last generations of the state.
type stateDir struct {
	path string
	gen  uint64 // of the newest file, good or not
}

// load returns the newest state that is intact. It reports false if there is
// none. A damaged file is left where it is, said loudly and passed over.
func (d *stateDir) load(log *slog.Logger) (state, bool, error) {
	gens, err := d.generations()
	if err != nil {
		return state{}, false, fmt.Errorf("read the last good state: %w", err)
	}
	for i, gen := range gens {
		d.gen = max(d.gen, gen)
		s, err := readState(d.file(gen))
		if err == nil {
			if i > 0 {
				log.Error("using an older last good state", "file", d.file(gen), "revision", s.pos.seq)
			}
			return s, true, nil
		}
		log.Error("last good state refused", "file", d.file(gen), "error", err)
	}
	return state{}, false, nil
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

// save writes s as the newest generation, durably, and drops the oldest.
func (d *stateDir) save(s state) error {
	tmp := filepath.Join(d.path, stateTmp)
	if err := writeDurably(tmp, s.encode()); err != nil {
		os.Remove(tmp) //nolint:errcheck,gosec // the next save overwrites it
		return fmt.Errorf("save the last good state: %w", err)
	}
	if err := os.Rename(tmp, d.file(d.gen+1)); err != nil {
		return fmt.Errorf("save the last good state: %w", err)
	}
	d.gen++
	if err := syncDir(d.path); err != nil {
		return fmt.Errorf("save the last good state: %w", err)
	}
	gens, err := d.generations()
	if err != nil {
		return fmt.Errorf("drop old states: %w", err)
	}
	for _, gen := range gens[min(stateKept, len(gens)):] {
		if err := os.Remove(d.file(gen)); err != nil {
			return fmt.Errorf("drop old states: %w", err)
		}
	}
	return nil
}

func (d *stateDir) file(gen uint64) string {
	return filepath.Join(d.path, fmt.Sprintf("%s%016x", statePrefix, gen))
}

// generations lists the files' numbers, newest first.
func (d *stateDir) generations() ([]uint64, error) {
	names, err := os.ReadDir(d.path)
	if err != nil {
		return nil, err
	}
	var gens []uint64
	for _, e := range names {
		digits, ok := strings.CutPrefix(e.Name(), statePrefix)
		if gen, err := strconv.ParseUint(digits, 16, 64); ok && err == nil {
			gens = append(gens, gen)
		}
	}
	slices.Sort(gens)
	slices.Reverse(gens)
	return gens, nil
}

func writeDurably(file string, b []byte) error {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600) //nolint:gosec // a file of ours
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func syncDir(path string) error {
	f, err := os.Open(path) //nolint:gosec // a folder of ours
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
