package peer_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/orla-edge/orla/modules"
	"github.com/orla-edge/orla/modules/peer"
)

func TestEnsureFetchesWhatIsMissing(t *testing.T) {
	id := identity(t)
	contents := [][]byte{nil, []byte("a"), noise(4096), noise(3 << 20)}
	base, _ := node(t, id, contents...)
	f, dir, root := fetcher(t, id, base)
	var blobs []peer.Blob
	for _, c := range contents {
		blobs = append(blobs, blob(c), blob(c))
	}
	if _, err := dir.Put(contents[1]); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var last peer.Progress
	report := func(p peer.Progress) {
		mu.Lock()
		defer mu.Unlock()
		if p.Blobs > last.Blobs || p.Bytes > last.Bytes {
			last = p
		}
	}
	if err := f.Ensure(t.Context(), blobs, peer.OnProgress(report)); err != nil {
		t.Fatal(err)
	}
	verify(t, dir, blobs...)
	want := peer.Progress{Blobs: 3, TotalBlobs: 3, Bytes: 4096 + 3<<20, TotalBytes: 4096 + 3<<20}
	if last != want {
		t.Errorf("progress ended with %+v, want %+v", last, want)
	}
	if left := uploads(t, root); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if marker, err := filepath.Glob(filepath.Join(root, "tmp", "*", "unsynced")); len(marker) > 0 || err != nil {
		t.Error("Ensure returned before the blobs were durable")
	}
}

// breaking serves blobs, but cuts off the first answers after some bytes.
type breaking struct {
	http.Handler
	after int64        // bytes
	times atomic.Int64 // how many answers are still to break
	seen  chan string  // Range of each request
}

func (b *breaking) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.seen <- r.Header.Get("Range")
	if b.times.Add(-1) >= 0 {
		w = &cutWriter{ResponseWriter: w, left: b.after}
	}
	b.Handler.ServeHTTP(w, r)
}

type cutWriter struct {
	http.ResponseWriter
	left int64
}

func (c *cutWriter) Unwrap() http.ResponseWriter { return c.ResponseWriter }

func (c *cutWriter) Write(p []byte) (int, error) {
	if int64(len(p)) < c.left {
		c.left -= int64(len(p))
		return c.ResponseWriter.Write(p)
	}
	c.ResponseWriter.Write(p[:c.left])
	http.NewResponseController(c.ResponseWriter).Flush()
	conn, _, err := http.NewResponseController(c.ResponseWriter).Hijack()
	if err == nil {
		conn.Close()
	}
	panic(http.ErrAbortHandler)
}

func newBreaking(dir *modules.Dir, after, times int64) *breaking {
	b := &breaking{Handler: peer.NewHandler(dir, peer.Limits{}), after: after, seen: make(chan string, 100)}
	b.times.Store(times)
	return b
}

func TestTransferGoesOnWhereItBroke(t *testing.T) {
	id := identity(t)
	content := noise(5 << 20)
	healthy, dir := node(t, id, content)
	const after = 1<<20 + 17
	tests := []struct {
		name  string
		peers func(broken string) []string
		times int64
		want  []string // ranges asked of the broken peer
	}{
		{"from another peer", func(b string) []string { return []string{b, healthy} }, 1, []string{""}},
		{"from the same peer", func(b string) []string { return []string{b} }, 3, []string{"", "bytes=1048593-", "bytes=2097186-", "bytes=3145779-"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBreaking(dir, after, tt.times)
			f, got, _ := fetcher(t, id, tt.peers(serve(t, id, b))...)
			if err := f.Ensure(t.Context(), []peer.Blob{blob(content)}); err != nil {
				t.Fatal(err)
			}
			verify(t, got, blob(content))
			close(b.seen)
			var ranges []string
			for r := range b.seen {
				ranges = append(ranges, r)
			}
			if strings.Join(ranges, ",") != strings.Join(tt.want, ",") {
				t.Errorf("the broken peer was asked for %q, want %q", ranges, tt.want)
			}
		})
	}
}

// sends answers every request for a blob with the same bytes.
func sends(b []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
	}
}

func TestWrongBytesAreNeverKept(t *testing.T) {
	id := identity(t)
	content := noise(100_000)
	other := noise(100_000)
	healthy, _ := node(t, id, content)
	tests := []struct {
		name string
		bad  http.HandlerFunc
		says string
	}{
		{"other bytes", sends(other), "sends wrong bytes: another digest"},
		{"more than announced", sends(append(bytes.Clone(content), 'x')), "more than the 100000 bytes announced"},
		{"less than announced", sends(content[:99_999]), "99999 bytes instead of the 100000 announced"},
		{"nothing", sends(nil), "0 bytes instead"},
		{"endless", func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := w.Write(other); err != nil {
					return
				}
			}
		}, "more than the 100000 bytes announced"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bad := serve(t, id, tt.bad)
			dir, root := store(t)
			log := newErrorLog()
			peers := []string{bad}
			f := peer.New(peer.Config{Blobs: dir, Client: client(t, id), Peers: func() []string { return peers }, Logger: slog.New(log)})
			err := f.Ensure(t.Context(), []peer.Blob{blob(content)})
			if !errors.Is(err, peer.ErrUnavailable) || !strings.Contains(err.Error(), tt.says) ||
				!strings.Contains(err.Error(), bad) || !strings.Contains(err.Error(), modules.Sum(content).String()) {
				t.Errorf("Ensure = %v, want ErrUnavailable naming the blob, the peer and %q", err, tt.says)
			}
			if dir.Has(modules.Sum(content)) || len(uploads(t, root)) > 0 {
				t.Error("something was kept")
			}
			if len(log.records) != 1 {
				t.Errorf("%d errors logged, want 1", len(log.records))
			}
			peers = append(peers, healthy)
			if err := f.Ensure(t.Context(), []peer.Blob{blob(content)}); err != nil {
				t.Error(err)
			}
			verify(t, dir, blob(content))
		})
	}
}

// A peer that poisons the beginning of a blob and breaks off must not keep a
// healthy one, which goes on from there, from being believed.
func TestPoisonedPartIsNotBlamedOnTheOther(t *testing.T) {
	id := identity(t)
	content := noise(1 << 20)
	healthy, _ := node(t, id, content)
	poison := serve(t, id, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(content)))
		w.Write(noise(1000))
		http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}))
	f, dir, _ := fetcher(t, id, poison, healthy)
	if err := f.Ensure(t.Context(), []peer.Blob{blob(content)}); err != nil {
		t.Fatal(err)
	}
	verify(t, dir, blob(content))
}

func TestFailingPeerIsAskedLast(t *testing.T) {
	id := identity(t)
	contents := [][]byte{noise(10), noise(20), noise(30)}
	healthy, _ := node(t, id, contents...)
	var asked atomic.Int64
	failing := serve(t, id, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		http.Error(w, "down", http.StatusInternalServerError)
	}))
	f, _, _ := fetcher(t, id, failing, healthy)
	for _, c := range contents {
		if err := f.Ensure(t.Context(), []peer.Blob{blob(c)}); err != nil {
			t.Fatal(err)
		}
	}
	if asked.Load() != 1 {
		t.Errorf("the failing peer was asked %d times, want once", asked.Load())
	}
}

func TestPreferredPeersAreAskedFirst(t *testing.T) {
	id := identity(t)
	content := noise(10)
	origin, _ := node(t, id, content)
	other := serve(t, id, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { t.Errorf("asked for %s", r.URL) }))
	f, dir, _ := fetcher(t, id, other, origin)
	if err := f.EnsureFrom(t.Context(), []string{origin + "/"}, []peer.Blob{blob(content)}); err != nil {
		t.Fatal(err)
	}
	verify(t, dir, blob(content))
	f, _, _ = fetcher(t, id, other, origin)
	if got, err := f.ReadFrom(t.Context(), []string{origin}, modules.Sum(content), 10); err != nil || !bytes.Equal(got, content) {
		t.Errorf("ReadFrom = %q, %v", got, err)
	}
}

func TestPeerNamedTwiceIsAskedOnce(t *testing.T) {
	id := identity(t)
	_, blobs := small(2)
	src, _ := store(t)
	h := &counted{Handler: peer.NewHandler(src, peer.Limits{})}
	base := serve(t, id, h)
	f, _, _ := fetcher(t, id, base, base+"/")
	if err := f.EnsureFrom(t.Context(), []string{base + "/"}, blobs); !errors.Is(err, peer.ErrUnavailable) {
		t.Errorf("Ensure = %v, want ErrUnavailable", err)
	}
	if h.batches.Load() != 1 || h.alone.Load() != 0 {
		t.Errorf("%d batches and %d single requests, want 1 and 0", h.batches.Load(), h.alone.Load())
	}
}

func TestUnavailableBlobNamesEverySource(t *testing.T) {
	id := identity(t)
	empty, _ := node(t, id)
	tests := []struct {
		name  string
		peers []string
		says  []string
	}{
		{"nobody to ask", nil, []string{"knows no other node"}},
		{"lacking, dead", []string{empty, "https://127.0.0.1:1"}, []string{empty + ": modules: no such blob", "https://127.0.0.1:1: ", "connection refused"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, _, _ := fetcher(t, id, tt.peers...)
			b := blob([]byte("nowhere"))
			err := f.Ensure(t.Context(), []peer.Blob{b})
			if !errors.Is(err, peer.ErrUnavailable) {
				t.Fatalf("Ensure = %v, want ErrUnavailable", err)
			}
			for _, says := range append(tt.says, b.Digest.String()) {
				if !strings.Contains(err.Error(), says) {
					t.Errorf("%q does not say %q", err, says)
				}
			}
		})
	}
}

// held counts the requests for blobs, and holds them back until it is released.
func held(next http.Handler, asked *atomic.Int64, arrived chan<- struct{}, release <-chan struct{}) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		select {
		case arrived <- struct{}{}:
		default:
		}
		select {
		case <-release:
		case <-r.Context().Done():
		}
		next.ServeHTTP(w, r)
	})
}

func TestCallersShareATransfer(t *testing.T) {
	id := identity(t)
	content := noise(300_000)
	src, _ := store(t)
	src.Put(content)
	var asked atomic.Int64
	arrived, release := make(chan struct{}, 1), make(chan struct{})
	f, dir, _ := fetcher(t, id, serve(t, id, held(peer.NewHandler(src, peer.Limits{}), &asked, arrived, release)))
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if err := f.Ensure(t.Context(), []peer.Blob{blob(content)}); err != nil {
				t.Error(err)
			}
		})
	}
	<-arrived
	close(release)
	wg.Wait()
	if asked.Load() != 1 {
		t.Errorf("the blob was transferred %d times, want once", asked.Load())
	}
	verify(t, dir, blob(content))
}

func TestCancelledTransfer(t *testing.T) {
	id := identity(t)
	content := noise(300_000)
	src, _ := store(t)
	src.Put(content)
	var asked atomic.Int64
	arrived, release := make(chan struct{}, 1), make(chan struct{})
	f, dir, root := fetcher(t, id, serve(t, id, held(peer.NewHandler(src, peer.Limits{}), &asked, arrived, release)))
	ctx, cancel := context.WithCancel(t.Context())
	first, second := make(chan error, 1), make(chan error, 1)
	go func() { first <- f.Ensure(ctx, []peer.Blob{blob(content)}) }()
	<-arrived
	go func() { second <- f.Ensure(t.Context(), []peer.Blob{blob(content)}) }()
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), modules.Sum(content).String()) {
		t.Errorf("the cancelled call returned %v", err)
	}
	close(release)
	if err := <-second; err != nil {
		t.Errorf("the call that waited for the cancelled one returned %v", err)
	}
	verify(t, dir, blob(content))
	if left := uploads(t, root); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestSilentPeerIsGivenUp(t *testing.T) {
	id := identity(t)
	content := noise(1000)
	healthy, _ := node(t, id, content)
	done := make(chan struct{})
	t.Cleanup(func() { close(done) })
	wait := func(r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-done:
		}
	}
	tests := map[string]http.HandlerFunc{
		"before the answer": func(_ http.ResponseWriter, r *http.Request) { wait(r) },
		"in the middle": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "1000")
			w.Write(content[:500])
			http.NewResponseController(w).Flush()
			wait(r)
		},
	}
	for name, silent := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, _ := store(t)
			peers := []string{serve(t, id, silent), healthy}
			f := peer.New(peer.Config{Blobs: dir, Client: client(t, id), Stall: 500 * time.Millisecond, Peers: func() []string { return peers }})
			if err := f.Ensure(t.Context(), []peer.Blob{blob(content)}); err != nil {
				t.Fatal(err)
			}
			verify(t, dir, blob(content))
		})
	}
}

func TestWronglyAnnouncedSizeOfWhatIsThere(t *testing.T) {
	id := identity(t)
	content := []byte("content")
	f, dir, _ := fetcher(t, id)
	dir.Put(content)
	b := blob(content)
	b.Size++
	if err := f.Ensure(t.Context(), []peer.Blob{b}); !errors.Is(err, peer.ErrSize) {
		t.Errorf("Ensure = %v, want ErrSize", err)
	}
	for _, b := range []peer.Blob{{Digest: b.Digest, Size: -1}, {Size: 7}} {
		if err := f.Ensure(t.Context(), []peer.Blob{b}); err == nil {
			t.Errorf("Ensure(%v) = nil", b)
		}
	}
}

func TestRead(t *testing.T) {
	id := identity(t)
	content := noise(10_000)
	base, _ := node(t, id, content)
	f, dir, _ := fetcher(t, id, base)
	if _, err := f.Read(t.Context(), modules.Sum(content), 9_999); !errors.Is(err, modules.ErrTooLarge) {
		t.Errorf("Read with a limit below the size = %v, want ErrTooLarge", err)
	}
	for _, from := range []string{"peer", "store"} {
		got, err := f.Read(t.Context(), modules.Sum(content), 10_000)
		if err != nil || !bytes.Equal(got, content) {
			t.Errorf("Read from the %s = %d bytes, %v", from, len(got), err)
		}
	}
	verify(t, dir, blob(content))
	if _, err := f.Read(t.Context(), modules.Sum([]byte("x")), 10); !errors.Is(err, peer.ErrUnavailable) {
		t.Errorf("Read of what nobody has = %v, want ErrUnavailable", err)
	}
}

func TestMissing(t *testing.T) {
	id := identity(t)
	base, dir := node(t, id, []byte("here"))
	f, _, _ := fetcher(t, id)
	absent := []modules.Digest{modules.Sum([]byte("a")), modules.Sum([]byte("b"))}
	got, err := f.Missing(t.Context(), base, []modules.Digest{absent[0], modules.Sum([]byte("here")), absent[1]})
	if err != nil || len(got) != 2 || got[0] != absent[0] || got[1] != absent[1] {
		t.Errorf("Missing = %v, %v, want %v", got, err, absent)
	}
	dir.Put([]byte("a"))
	dir.Put([]byte("b"))
	if got, err := f.Missing(t.Context(), base, absent); err != nil || len(got) > 0 {
		t.Errorf("Missing = %v, %v, want none", got, err)
	}
}

// memory is a Store.
type memory struct{ blobs map[modules.Digest][]byte }

func (m memory) Get(_ context.Context, d modules.Digest, offset int64) (io.ReadCloser, error) {
	b, ok := m.blobs[d]
	if !ok {
		return nil, modules.ErrNotFound
	}
	return io.NopCloser(bytes.NewReader(b[offset:])), nil
}

func (m memory) Put(context.Context, modules.Digest, int64, io.Reader) error { return nil }

func (m memory) Has(_ context.Context, d modules.Digest) (bool, error) {
	_, ok := m.blobs[d]
	return ok, nil
}

func TestStoresAreAskedAfterPeers(t *testing.T) {
	id := identity(t)
	content := noise(3 << 20)
	src, _ := store(t)
	src.Put(content)
	broken := newBreaking(src, 1<<20, 1)
	base := serve(t, id, broken)
	dir, _ := store(t)
	f := peer.New(peer.Config{
		Blobs: dir, Client: client(t, id), Peers: func() []string { return []string{base} },
		Stores: []peer.Store{memory{}, memory{map[modules.Digest][]byte{modules.Sum(content): content}}},
	})
	if err := f.Ensure(t.Context(), []peer.Blob{blob(content)}); err != nil {
		t.Fatal(err)
	}
	verify(t, dir, blob(content))
	if len(broken.seen) != 1 {
		t.Errorf("the peer was asked %d times, want once, and the store for the rest", len(broken.seen))
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	id := identity(t)
	content := []byte("content")
	elsewhere := serve(t, id, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { t.Errorf("asked for %s", r.URL) }))
	base := serve(t, id, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere+r.URL.Path, http.StatusTemporaryRedirect)
	}))
	f, _, _ := fetcher(t, id, base)
	if err := f.Ensure(t.Context(), []peer.Blob{blob(content)}); !errors.Is(err, peer.ErrUnavailable) || !strings.Contains(err.Error(), "307") {
		t.Errorf("Ensure = %v, want ErrUnavailable and the status", err)
	}
}
