package cluster

import (
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// A node that knows nothing yet, of a register that is large, does not read it message
// by message: that costs both servers and the client 40 µs a key. Whoever follows the
// register already lends it a copy of what it has in memory, in pages of many keys. See
// [session.borrow] for the other side.
const (
	// subjectOffer is where nodes are asked which register they have, and how far.
	subjectOffer = toHubs + "copy-offer"
	// subjectCopy and a node's own token is where pages of its copies are had.
	subjectCopy = toHubs + "copy."

	copyBytes = 512 << 10 // a page ends with the entry that reaches this
	copyKept  = 4         // copies; the oldest makes room
	copyFor   = 20 * time.Second
)

// offer is a node's word of what it could lend.
type offer struct {
	Bucket   int64  `json:"bucket"`
	Revision uint64 `json:"revision"`
	Token    string `json:"token"`
}

// pageAsk asks for one page: of the copy with that id, or, for 0, of any of the bucket
// that is at least as new as the revision.
type pageAsk struct {
	Copy     uint64 `json:"copy,string"`
	Bucket   int64  `json:"bucket"`
	Revision uint64 `json:"revision"`
	Page     int    `json:"page"`
}

// maxAsk is how many bytes a question may have.
const maxAsk = 1 << 10

// frozen is what a node knew at one position. It is not changed.
type frozen struct {
	id      uint64
	pos     position
	changed uint64 // revision of the last change
	entries []Entry
	pages   []int // number of the first entry of each page, and the number of entries
}

// lender keeps the copies of which pages may still be asked for.
type lender struct {
	mu   sync.Mutex // guards kept
	kept []*loan
}

// loan is a copy that is dropped a while after it was last asked for.
type loan struct {
	*frozen
	drop *time.Timer
}

// lend answers those who want a copy, until the session ends.
func (s *session) lend() error {
	token := rand.Text()
	_, err := s.link.nc.Subscribe(subjectOffer, func(m *nats.Msg) {
		s.c.synced.mu.RLock()
		pos, known := s.c.synced.pos, s.c.synced.known
		s.c.synced.mu.RUnlock()
		if !known || m.Reply == "" {
			return
		}
		if b, err := json.Marshal(offer{Bucket: int64(pos.bucket), Revision: pos.seq, Token: token}); err == nil {
			_ = m.Respond(b) // whoever asks asks again
		}
	})
	if err == nil {
		_, err = s.link.nc.Subscribe(subjectCopy+token, s.lendPage)
	}
	if err != nil {
		return fmt.Errorf("listen to nodes that know nothing yet: %w", err)
	}
	return nil
}

// lendPage answers with a page, or with nothing if there is no such copy.
func (s *session) lendPage(m *nats.Msg) {
	var ask pageAsk
	if len(m.Data) > maxAsk || json.Unmarshal(m.Data, &ask) != nil || m.Reply == "" {
		return
	}
	var page []byte
	if f := s.c.lender.take(ask, s.c.synced.freeze); f != nil && ask.Page >= 0 && ask.Page < len(f.pages)-1 {
		page = f.encode(ask.Page)
	}
	_ = m.Respond(page) // whoever asks asks again
}

// take returns the copy that is asked for, which make makes if it may be a new one; nil:
// it is not there any more, or the node knows none that will do.
func (l *lender) take(ask pageAsk, make func() *frozen) *frozen {
	l.mu.Lock()
	defer l.mu.Unlock()
	fits := func(f *frozen) bool { return f.pos.bucket == bucketID(ask.Bucket) && f.pos.seq >= ask.Revision }
	i := slices.IndexFunc(l.kept, func(k *loan) bool { return k.id == ask.Copy || ask.Copy == 0 && fits(k.frozen) })
	if i >= 0 {
		l.kept[i].drop.Reset(copyFor)
		return l.kept[i].frozen
	}
	if ask.Copy != 0 {
		return nil
	}
	f := make()
	if f == nil || !fits(f) {
		return nil
	}
	if len(l.kept) == copyKept {
		l.removeLocked(len(l.kept) - 1)
	}
	k := &loan{frozen: f}
	k.drop = time.AfterFunc(copyFor, func() { l.remove(k) })
	l.kept = slices.Insert(l.kept, 0, k)
	return f
}

func (l *lender) remove(k *loan) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if i := slices.Index(l.kept, k); i >= 0 {
		l.removeLocked(i)
	}
}

func (l *lender) removeLocked(i int) {
	l.kept[i].drop.Stop()
	l.kept = slices.Delete(l.kept, i, i+1)
}

// clear drops all copies.
func (l *lender) clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.kept) > 0 {
		l.removeLocked(0)
	}
}

// freeze returns what the model has now; nil: it knows nothing.
func (m *model) freeze() *frozen {
	m.mu.RLock()
	f := &frozen{pos: m.pos, changed: m.changed, entries: make([]Entry, 0, len(m.entries))}
	for _, e := range m.entries {
		f.entries = append(f.entries, e)
	}
	known := m.known
	m.mu.RUnlock()
	if !known {
		return nil
	}
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails
	f.id = cmp.Or(binary.BigEndian.Uint64(id[:]), 1)
	f.pages = []int{0}
	size := 0
	for i, e := range f.entries {
		if size += entryHeader + len(e.Key) + len(e.Value); size >= copyBytes && i+1 < len(f.entries) {
			f.pages, size = append(f.pages, i+1), 0
		}
	}
	f.pages = append(f.pages, len(f.entries))
	return f
}

// The format of a page, integers big-endian:
//
//	magic                                                            8 bytes
//	copy, bucket, sequence, last change, entries, pages, this page   8 bytes each
//	entries as in a state file
const copyMagic = "orlaRC\x00\x01"

const copyHeader = len(copyMagic) + 7*8

// copyPage is a page as it came.
type copyPage struct {
	id      uint64
	pos     position
	changed uint64
	total   uint64 // entries of all pages
	pages   int
	page    int
	entries []Entry
}

func (f *frozen) encode(page int) []byte {
	entries := f.entries[f.pages[page]:f.pages[page+1]]
	size := copyHeader
	for _, e := range entries {
		size += entryHeader + len(e.Key) + len(e.Value)
	}
	b := append(make([]byte, 0, size), copyMagic...)
	for _, n := range []uint64{
		f.id, uint64(f.pos.bucket), f.pos.seq, f.changed, //nolint:gosec // and back the same way
		uint64(len(f.entries)), uint64(len(f.pages) - 1), uint64(page), //nolint:gosec // not negative
	} {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	for _, e := range entries {
		b = appendEntry(b, e)
	}
	return b
}

// Limits of a copy that is taken.
const (
	maxCopyPages   = 1 << 16
	maxCopyEntries = 1 << 26
)

var errCopy = errors.New("cluster: page of a copy is damaged")

// decodeCopyPage is the inverse of encode. The entries' values are parts of b.
func decodeCopyPage(b []byte) (copyPage, error) {
	if len(b) < copyHeader || string(b[:len(copyMagic)]) != copyMagic {
		return copyPage{}, fmt.Errorf("%w: not a page", errCopy)
	}
	var n [7]uint64
	for i := range n {
		n[i] = binary.BigEndian.Uint64(b[len(copyMagic)+8*i:])
	}
	if n[4] > maxCopyEntries || n[5] > maxCopyPages || n[6] >= n[5] {
		return copyPage{}, fmt.Errorf("%w: page %d of %d, %d entries", errCopy, n[6], n[5], n[4])
	}
	p := copyPage{
		id: n[0], pos: position{bucket: bucketID(n[1]), seq: n[2]}, changed: n[3], //nolint:gosec // see encode
		total: n[4], pages: int(n[5]), page: int(n[6]), //nolint:gosec // small
	}
	for rest := b[copyHeader:]; len(rest) > 0; {
		e, size, err := decodeEntry(rest)
		if err != nil {
			return copyPage{}, fmt.Errorf("%w: %w", errCopy, err)
		}
		if e.Value == nil || e.Revision > p.pos.seq {
			return copyPage{}, fmt.Errorf("%w: %q is deleted, or newer than the copy", errCopy, e.Key)
		}
		p.entries = append(p.entries, e)
		rest = rest[size:]
	}
	return p, nil
}
