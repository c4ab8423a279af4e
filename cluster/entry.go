package cluster

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

var (
	// ErrConflict means that a key's last revision is not the expected one.
	ErrConflict = errors.New("cluster: changed meanwhile")
	// ErrUnavailable means that the register cannot be used now; it wraps the reason.
	ErrUnavailable = errors.New("cluster: register unavailable")
	// ErrUncertain means that the register did not answer, so that the changes may have been
	// made or not; read the keys to know. It comes with [ErrUnavailable].
	ErrUncertain = errors.New("cluster: the change may or may not have been made")
	// ErrNotFound means that the register has no such key.
	ErrNotFound = errors.New("cluster: no such key")
	// ErrReadOnly means that this node is an edge, which cannot change anything. It comes
	// with [ErrUnavailable].
	ErrReadOnly = errors.New("cluster: this node is an edge")
	// ErrStore means that the data directory's register was written by a node of another
	// kind: alone, or one of several hubs.
	ErrStore = errors.New("cluster: the data directory does not fit")
	// ErrInUse means that another node runs on the data directory.
	ErrInUse = errors.New("cluster: data directory is in use")
)

// Limits of one [Cluster.Commit].
const (
	MaxKey     = 512     // bytes in a key
	MaxValue   = 2 << 20 // bytes in a value
	MaxChanges = 1000    // keys
)

// Entry is a key as the register has it.
type Entry struct {
	Key      string
	Value    []byte // nil: deleted. Not to be changed by whoever receives it.
	Revision uint64
}

// Update is what [Cluster.Run] hands to its function.
type Update struct {
	// Full reports that Entries is everything there is: what was known of other
	// keys is to be forgotten. Else they are the keys that changed.
	Full bool
	// Entries are in the order of their revisions, each key once. In a full update
	// none is deleted.
	Entries []Entry
	// Revision is that of the last change, with which the node is in line now.
	Revision uint64
}

// Change is one key's part of a [Cluster.Commit].
type Change struct {
	// Key consists of parts of the bytes a-z, 0-9, "_" and "-", with single dots
	// between them: "head.shop", "host._wild.shop.example". Host names in lower
	// case fit as they are.
	Key string
	// Value is the new value; nil deletes the key.
	Value []byte
	// Expect is the key's revision that must still be its last. 0: there must be no
	// such key, because there never was or because it was deleted.
	Expect uint64
}

func checkChanges(changes []Change) error {
	if len(changes) == 0 || len(changes) > MaxChanges {
		return fmt.Errorf("commit %d changes: want 1 to %d", len(changes), MaxChanges)
	}
	seen := make(map[string]bool, len(changes))
	for _, ch := range changes {
		if err := checkKey(ch.Key); err != nil {
			return fmt.Errorf("commit: %w", err)
		}
		switch {
		case seen[ch.Key]:
			return fmt.Errorf("commit %q: the key is changed twice", ch.Key)
		case len(ch.Value) > MaxValue:
			return fmt.Errorf("commit %q: value of %d bytes, limit %d", ch.Key, len(ch.Value), MaxValue)
		case ch.Value == nil && ch.Expect == 0:
			return fmt.Errorf("commit %q: deleting needs the revision that is deleted", ch.Key)
		}
		seen[ch.Key] = true
	}
	return nil
}

func checkKey(key string) error {
	if len(key) > MaxKey {
		return fmt.Errorf("key of %d bytes, limit %d", len(key), MaxKey)
	}
	for part := range strings.SplitSeq(key, ".") {
		if part == "" {
			return fmt.Errorf("key %q has an empty part", key)
		}
	}
	for i := range len(key) {
		switch b := key[i]; {
		case 'a' <= b && b <= 'z', '0' <= b && b <= '9', b == '.', b == '_', b == '-':
		default:
			return fmt.Errorf("key %q has %q; keys have a-z, 0-9, '.', '_' and '-'", key, b)
		}
	}
	return nil
}

// position is a point in the life of one bucket.
type position struct {
	bucket bucketID // 0: of none
	seq    uint64
}

// table is the live entries by key.
type table map[string]Entry

// merge makes the changes, and forgets all else first if they are the full set.
func (t table) merge(entries []Entry, full bool) {
	if full {
		clear(t)
	}
	for _, e := range entries {
		if e.Value == nil {
			delete(t, e.Key)
			continue
		}
		t[e.Key] = e
	}
}

// sorted returns the entries in the order of their revisions.
func (t table) sorted() []Entry {
	entries := make([]Entry, 0, len(t))
	for _, e := range t {
		entries = append(entries, e)
	}
	slices.SortFunc(entries, func(a, b Entry) int {
		return cmp.Or(cmp.Compare(a.Revision, b.Revision), strings.Compare(a.Key, b.Key))
	})
	return entries
}
