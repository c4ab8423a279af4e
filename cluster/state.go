package cluster

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
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
		b = appendEntry(b, e)
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
		if e.Value == nil {
			return state{}, fmt.Errorf("%w: a deleted key", errState)
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
	if nv == deletedValue {
		return Entry{Key: key, Revision: rev}, entryHeader + nk, nil
	}
	if nv > math.MaxInt32 || len(rest) < int(nv) {
		return Entry{}, 0, short
	}
	// Clipped, so that nothing appends into the next entry.
	value := slices.Clip(rest[:nv:nv])
	return Entry{Key: key, Value: value, Revision: rev}, entryHeader + nk + int(nv), nil
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

// replaceDurably writes the file so that it is always whole, or as it was.
func replaceDurably(file string, b []byte) error {
	tmp := file + ".tmp"
	if err := writeDurably(tmp, b); err != nil {
		return err
	}
	if err := os.Rename(tmp, file); err != nil {
		return err
	}
	return syncDir(filepath.Dir(file))
}

func syncDir(path string) error {
	f, err := os.Open(path) //nolint:gosec // a folder of ours
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
