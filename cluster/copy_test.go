package cluster

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// many commits so many keys, of which the last one is deleted again, and returns what
// there is then, and the last revision.
func (n *node) many(keys int) (map[string]Entry, uint64) {
	n.t.Helper()
	var rev uint64
	for from := 0; from < keys; from += MaxChanges {
		var changes []Change
		for i := range min(MaxChanges, keys-from) {
			changes = append(changes, put(fmt.Sprint("k", from+i), strings.Repeat("v", i%500), 0))
		}
		rev = n.must(changes...)
	}
	rev = n.must(Change{Key: fmt.Sprint("k", keys-1), Expect: rev})
	n.wait(rev)
	return n.has(), rev
}

func sameEntries(a, b map[string]Entry) bool {
	return maps.EqualFunc(a, b, func(x, y Entry) bool {
		return x.Key == y.Key && x.Revision == y.Revision && bytes.Equal(x.Value, y.Value)
	})
}

func (n *node) has() map[string]Entry {
	n.mu.Lock()
	defer n.mu.Unlock()
	return maps.Clone(n.entries)
}

// A node that comes late to a large register takes what another has in memory; how it
// got it makes no difference to what it knows, nor to what it does next.
func TestALateNodeTakesACopy(t *testing.T) {
	for _, hubs := range []int{1, 3} {
		t.Run(fmt.Sprint(hubs, " hubs"), func(t *testing.T) {
			t.Parallel()
			l := newLab(t, hubs, 0)
			want, rev := l.hubs[0].many(copyFrom + 1000)
			e := newNode(t, l.edge(0)).run()
			if got := e.first(); !got.Full || got.Revision != rev {
				t.Errorf("first update = full %v at %d, want the full one at %d", got.Full, got.Revision, rev)
			}
			if !sameEntries(e.has(), want) {
				t.Errorf("the edge has %d keys, not the hub's %d", len(e.has()), len(want))
			}
			if !strings.Contains(e.log.String(), "another node's copy") {
				t.Error("the edge has read the stream")
			}
			e.wait(l.hubs[0].must(put("after", "v", 0)))
			if n := len(e.has()); n != len(want)+1 {
				t.Errorf("after one more change the edge has %d keys, want %d", n, len(want)+1)
			}
		})
	}
}

// What changes while a copy is on its way is not lost, nor is what is deleted.
func TestACopyWhileKeysChange(t *testing.T) {
	l := newLab(t, 1, 0)
	h := l.hubs[0]
	h.many(copyFrom + 1000)
	started := make(chan struct{})
	changed := make(chan error, 1)
	go func() {
		var err error
		for i := range 200 {
			entry := h.has()[fmt.Sprint("k", i)]
			change := put(entry.Key, "changed", entry.Revision)
			if i%3 == 0 {
				change.Value = nil
			}
			if _, err = h.Commit(t.Context(), change); err != nil {
				break
			}
			if i == 10 {
				close(started)
			}
		}
		changed <- err
	}()
	<-started
	e := newNode(t, l.edge(0)).run()
	must(t, <-changed)
	last := h.must(put("last", "v", 0))
	e.wait(last)
	h.wait(last)
	if want := h.has(); !sameEntries(e.has(), want) {
		t.Errorf("the edge has %d keys, not the hub's %d", len(e.has()), len(want))
	}
}

// Where nobody can lend a copy, the stream is read.
func TestNobodyHasACopy(t *testing.T) {
	urls, seed := somebodys(t, 1)
	cfg := func(name string) Config {
		return Config{Dir: t.TempDir(), Node: name, Topology: Topology{Name: "lab", NATS: &NATS{URL: urls, Nkey: seed}}}
	}
	first := newNode(t, cfg("first")).run()
	first.ready()
	want, rev := first.many(copyFrom + 1000)
	must(t, first.stop())
	second := newNode(t, cfg("second")).run()
	second.wait(rev)
	if !sameEntries(second.has(), want) {
		t.Errorf("the node has %d keys, want the %d of the first", len(second.has()), len(want))
	}
	if log := second.log.String(); !strings.Contains(log, "read from its stream") {
		t.Errorf("how the register was read is not said: %s", log)
	}
}

// lendBadly answers in the place of a hub: with the offers, and to the question for page n
// with pages[n].
func lendBadly(t *testing.T, nc *nats.Conn, offers []offer, pages [][]byte) {
	t.Helper()
	_, err := nc.Subscribe(subjectOffer, func(m *nats.Msg) {
		for _, o := range offers {
			b, _ := json.Marshal(o)
			_ = m.Respond(b)
		}
	})
	must(t, err)
	_, err = nc.Subscribe(subjectCopy+"BAD", func(m *nats.Msg) {
		var ask pageAsk
		if json.Unmarshal(m.Data, &ask) == nil && ask.Page < len(pages) {
			_ = m.Respond(pages[ask.Page])
		}
	})
	must(t, err)
}

// threePages is a copy of 30 entries on three pages.
func threePages() *frozen {
	f := &frozen{id: 7, pos: position{bucket: 5, seq: 40}, changed: 39, pages: []int{0, 10, 20, 30}}
	for i := range 30 {
		f.entries = append(f.entries, Entry{Key: fmt.Sprint("k", i), Value: fmt.Appendf(nil, "v%d", i), Revision: uint64(i) + 1})
	}
	return f
}

func TestBadCopiesAreRefused(t *testing.T) {
	good := threePages()
	encoded := func(f *frozen) (pages [][]byte) {
		for i := range len(f.pages) - 1 {
			pages = append(pages, f.encode(i))
		}
		return pages
	}
	with := func(change func(*frozen)) [][]byte {
		f := threePages()
		change(f)
		return encoded(f)
	}
	fits := []offer{{Bucket: 5, Revision: 40, Token: "BAD"}}
	for name, tt := range map[string]struct {
		offers []offer
		pages  [][]byte
		want   error
	}{
		"a good one":                {fits, encoded(good), nil},
		"nobody offers":             {nil, encoded(good), errNoOffer},
		"another bucket":            {[]offer{{Bucket: 6, Revision: 40, Token: "BAD"}}, encoded(good), errNoOffer},
		"behind":                    {[]offer{{Bucket: 5, Revision: 30, Token: "BAD"}}, encoded(good), errNoOffer},
		"no token":                  {[]offer{{Bucket: 5, Revision: 40, Token: "BAD.>"}}, encoded(good), errNoOffer},
		"the second offer will do":  {append([]offer{{Bucket: 6, Revision: 90, Token: "NOT"}}, fits...), encoded(good), nil},
		"pages of another bucket":   {fits, with(func(f *frozen) { f.pos.bucket = 6 }), errCopy},
		"pages from before":         {fits, with(func(f *frozen) { f.pos.seq = 30 }), errCopy},
		"gone at once":              {fits, [][]byte{nil}, errCopyGone},
		"gone on the way":           {fits, [][]byte{good.encode(0), nil, nil}, errCopyGone},
		"a page of another copy":    {fits, slices.Concat(encoded(good)[:2], with(func(f *frozen) { f.id = 8 })[2:]), errCopy},
		"a page twice":              {fits, [][]byte{good.encode(0), good.encode(1), good.encode(1)}, errCopy},
		"the second page first":     {fits, [][]byte{good.encode(1)}, errCopy},
		"too few entries":           {fits, slices.Concat(encoded(good)[:2], with(func(f *frozen) { f.pages[3] = 25 })[2:]), errCopy},
		"garbage":                   {fits, [][]byte{[]byte("garbage")}, errCopy},
		"no answer to the question": {fits, nil, errNoAnswer},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := start(t, t.TempDir())
			nc := n.bus.conn()
			lendBadly(t, nc, tt.offers, tt.pages)
			s := &session{c: &Cluster{cfg: Config{Timeout: 300 * time.Millisecond}}, link: &link{nc: nc}}
			f, err := s.borrow(t.Context(), bucketInfo{ID: 5, LastSeq: 40})
			if !errors.Is(err, tt.want) {
				t.Fatalf("borrow: %v, want %v", err, tt.want)
			}
			if err == nil && (len(f.entries) != 30 || f.changed != 39 || f.pos != good.pos) {
				t.Errorf("borrow = %d entries at %v, last change %d", len(f.entries), f.pos, f.changed)
			}
		})
	}
}

// A copy is kept for those who ask for its other pages, but not for ever, and a few at most.
func TestCopiesAreKeptForAWhile(t *testing.T) {
	l := &lender{}
	defer l.clear()
	id := uint64(0)
	at := func(seq uint64) func() *frozen {
		return func() *frozen {
			id++
			return &frozen{id: id, pos: position{bucket: 5, seq: seq}}
		}
	}
	ask := pageAsk{Bucket: 5, Revision: 10}
	first := l.take(ask, at(10))
	if again := l.take(ask, at(11)); again != first {
		t.Error("a copy that will do was made again")
	}
	if l.take(pageAsk{Copy: first.id, Bucket: 5, Revision: 10}, at(11)) != first {
		t.Error("the copy is not there for its next page")
	}
	if l.take(pageAsk{Bucket: 6, Revision: 10}, at(99)) != nil || l.take(pageAsk{Bucket: 5, Revision: 20}, at(19)) != nil {
		t.Error("a copy was lent that will not do")
	}
	for seq := range uint64(copyKept) {
		l.take(pageAsk{Bucket: 5, Revision: 11 + seq}, at(11+seq))
	}
	if l.take(pageAsk{Copy: first.id}, at(99)) != nil || len(l.kept) != copyKept {
		t.Errorf("%d copies are kept, the oldest among them; want %d", len(l.kept), copyKept)
	}
	l.remove(l.kept[0])
	if len(l.kept) != copyKept-1 {
		t.Error("a copy whose time is over is kept")
	}
}

// Pages together have every entry once, whatever the sizes of the values.
func TestFreeze(t *testing.T) {
	for _, size := range []int{0, 100, copyBytes / 3, copyBytes, MaxValue} {
		m := &model{entries: table{}, known: true, pos: position{bucket: 1, seq: 100}, changed: 99}
		for i := range 20 {
			key := fmt.Sprint("k", i)
			m.entries[key] = Entry{Key: key, Value: make([]byte, size), Revision: uint64(i) + 1}
		}
		f, got := m.freeze(), table{}
		for page := range len(f.pages) - 1 {
			b := f.encode(page)
			p, err := decodeCopyPage(b)
			if err != nil {
				t.Fatal(err)
			}
			if len(b) > maxPayload-1<<10 {
				t.Errorf("values of %d bytes: page of %d bytes is too large for a message", size, len(b))
			}
			if len(p.entries) == 0 || p.total != 20 || p.pages != len(f.pages)-1 || p.page != page || p.pos != m.pos || p.changed != 99 {
				t.Errorf("values of %d bytes: page = %d entries of %d, %d of %d, at %v", size, len(p.entries), p.total, p.page, p.pages, p.pos)
			}
			got.merge(p.entries, false)
		}
		if !sameEntries(got, m.entries) {
			t.Errorf("values of %d bytes: %d entries of 20", size, len(got))
		}
	}
	if (&model{}).freeze() != nil {
		t.Error("a node that knows nothing lends a copy")
	}
}

func FuzzDecodeCopyPage(f *testing.F) {
	good := threePages()
	f.Add(good.encode(0))
	f.Add(good.encode(2))
	f.Add([]byte(copyMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := decodeCopyPage(b)
		if err != nil {
			if !errors.Is(err, errCopy) {
				t.Fatalf("error %v is not errCopy", err)
			}
			return
		}
		again := &frozen{id: p.id, pos: p.pos, changed: p.changed, entries: p.entries, pages: []int{0, len(p.entries)}}
		q, err := decodeCopyPage(again.encode(0))
		if err != nil || len(q.entries) != len(p.entries) || q.pos != p.pos {
			t.Fatalf("what was decoded is encoded to something else: %v", err)
		}
	})
}
