package peer_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/orla-edge/orla/modules"
	"github.com/orla-edge/orla/modules/peer"
)

// small returns n small blobs.
func small(n int) (contents [][]byte, blobs []peer.Blob) {
	for i := range n {
		c := []byte(strings.Repeat(fmt.Sprintf("blob %d, ", i), 20))
		contents = append(contents, c)
		blobs = append(blobs, blob(c))
	}
	return contents, blobs
}

// counted counts requests by what they ask for.
type counted struct {
	http.Handler
	batches, alone atomic.Int64
}

func (c *counted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasSuffix(r.URL.Path, "/batch") {
		c.batches.Add(1)
	} else {
		c.alone.Add(1)
	}
	c.Handler.ServeHTTP(w, r)
}

func TestManySmallBlobs(t *testing.T) {
	const n = 10_000
	id := identity(t)
	contents, blobs := small(n)
	if _, err := os.Stat("/dev/shm"); err == nil {
		t.Setenv("TMPDIR", "/dev/shm") // 20,000 files
	}
	src, _ := store(t)
	for _, c := range contents {
		src.Put(c)
	}
	h := &counted{Handler: peer.NewHandler(src, peer.Limits{})}
	f, dir, _ := fetcher(t, id, serve(t, id, h))
	if err := f.Ensure(t.Context(), blobs); err != nil {
		t.Fatal(err)
	}
	for i, b := range blobs {
		if !dir.Has(b.Digest) {
			t.Fatalf("blob %d is missing", i)
		}
	}
	if h.batches.Load() != n/500 || h.alone.Load() != 0 {
		t.Errorf("%d batches and %d requests for single blobs, want %d and 0", h.batches.Load(), h.alone.Load(), n/500)
	}
}

func TestBatchIsPutTogetherFromSeveralPeers(t *testing.T) {
	id := identity(t)
	contents, blobs := small(90)
	var peers []string
	var handlers []*counted
	for _, part := range [][][]byte{contents[:30], contents[20:60]} {
		src, _ := store(t)
		for _, c := range part {
			src.Put(c)
		}
		h := &counted{Handler: peer.NewHandler(src, peer.Limits{})}
		handlers = append(handlers, h)
		peers = append(peers, serve(t, id, h))
	}
	dir, _ := store(t)
	last := memory{map[modules.Digest][]byte{}}
	for _, c := range contents[60:] {
		last.blobs[modules.Sum(c)] = c
	}
	f := peer.New(peer.Config{
		Blobs: dir, Client: client(t, id), Stores: []peer.Store{last},
		Peers: func() []string { return peers },
	})
	if err := f.Ensure(t.Context(), blobs); err != nil {
		t.Fatal(err)
	}
	verify(t, dir, blobs...)
	for i, h := range handlers {
		if h.batches.Load() != 1 || h.alone.Load() != 0 {
			t.Errorf("peer %d got %d batches and %d requests for what it had said it lacks, want 1 and 0", i, h.batches.Load(), h.alone.Load())
		}
	}
}

func TestBrokenBatch(t *testing.T) {
	id := identity(t)
	contents, blobs := small(100)
	healthy, src := node(t, id, contents...)
	tests := []struct {
		name   string
		broken http.Handler
		errors int // logged
	}{
		{"dies in the middle", newBreaking(src, 2000, 1), 0},
		{"does not know batches", http.NotFoundHandler(), 0},
		{"sends nonsense", sends([]byte(strings.Repeat("nonsense", 1000))), 1},
		{"sends nothing", sends(nil), 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir, root := store(t)
			log := newErrorLog()
			peers := []string{serve(t, id, tt.broken), healthy}
			f := peer.New(peer.Config{Blobs: dir, Client: client(t, id), Peers: func() []string { return peers }, Logger: slog.New(log)})
			if err := f.Ensure(t.Context(), blobs); err != nil {
				t.Fatal(err)
			}
			verify(t, dir, blobs...)
			if len(log.records) != tt.errors {
				t.Errorf("%d errors logged, want %d", len(log.records), tt.errors)
			}
			if left := uploads(t, root); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// One damaged file on a node costs that blob alone.
func TestDamagedBlobInABatch(t *testing.T) {
	id := identity(t)
	contents, blobs := small(50)
	src, root := store(t)
	for _, c := range contents {
		src.Put(c)
	}
	hex := blobs[20].Digest.Hex()
	path := filepath.Join(root, "sha256", hex[:2], hex[2:])
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(strings.Repeat("x", len(contents[20]))), 0o600); err != nil {
		t.Fatal(err)
	}
	h := &counted{Handler: peer.NewHandler(src, peer.Limits{})}
	healthy, _ := node(t, id, contents[20])
	f, dir, _ := fetcher(t, id, serve(t, id, h), healthy)
	if err := f.Ensure(t.Context(), blobs); err != nil {
		t.Fatal(err)
	}
	verify(t, dir, blobs...)
	if h.batches.Load() != 1 || h.alone.Load() != 0 {
		t.Errorf("the damaged node got %d batches and %d single requests, want 1 and 0", h.batches.Load(), h.alone.Load())
	}
}
