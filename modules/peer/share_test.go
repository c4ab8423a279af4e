package peer_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/orla-edge/orla/modules"
	"github.com/orla-edge/orla/modules/peer"
)

// shelf is a Store that keeps what it is told to keep.
type shelf struct {
	mu    sync.Mutex
	blobs map[modules.Digest][]byte
	puts  int
	kept  map[modules.Digest]int64
	full  bool
	slow  int // how many more puts are refused
}

func (s *shelf) Get(ctx context.Context, d modules.Digest, offset int64) (io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return memory{s.blobs}.Get(ctx, d, offset)
}

func (s *shelf) Put(_ context.Context, d modules.Digest, size int64, r io.Reader) error {
	v, err := modules.NewVerifier(r, d, size)
	if err != nil {
		return err
	}
	b, err := io.ReadAll(v)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.slow--; s.slow >= 0 {
		return errors.New("slow down")
	}
	if err != nil || s.full {
		return errors.Join(err, errors.New("full"))
	}
	s.blobs[d] = b
	s.puts++
	return nil
}

func (s *shelf) Has(_ context.Context, d modules.Digest) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.blobs[d]
	return ok, nil
}

func (s *shelf) Keep(_ context.Context, blobs map[modules.Digest]int64) error {
	s.kept = blobs
	return nil
}

func (s *shelf) String() string { return "shelf" }

func TestShare(t *testing.T) {
	id := identity(t)
	contents, blobs := small(50)
	dir, _ := store(t)
	for _, c := range contents {
		dir.Put(c)
	}
	first := &shelf{blobs: map[modules.Digest][]byte{blobs[0].Digest: contents[0]}}
	broken := &shelf{blobs: map[modules.Digest][]byte{}, full: true}
	synctest.Test(t, func(t *testing.T) {
		f := peer.New(peer.Config{Blobs: dir, Stores: []peer.Store{broken, first}})
		err := f.Share(t.Context(), blobs)
		if err == nil || !strings.Contains(err.Error(), "shelf: full") {
			t.Errorf("Share = %v, want the full store's error", err)
		}
	})
	if first.puts != 49 || len(first.kept) != 50 || broken.kept != nil {
		t.Errorf("%d blobs put, %d kept, want 49 and 50", first.puts, len(first.kept))
	}
	elsewhere, _ := store(t)
	g := peer.New(peer.Config{Blobs: elsewhere, Client: client(t, id), Stores: []peer.Store{first}})
	if err := g.Ensure(t.Context(), blobs); err != nil {
		t.Fatal(err)
	}
	verify(t, elsewhere, blobs...)
	if err := g.Share(t.Context(), []peer.Blob{blob([]byte("not here"))}); !errors.Is(err, modules.ErrNotFound) {
		t.Errorf("Share of what this node lacks = %v, want ErrNotFound", err)
	}
	if got, err := g.Read(t.Context(), blobs[3].Digest, 1000); err != nil || !bytes.Equal(got, contents[3]) {
		t.Errorf("Read = %q, %v", got, err)
	}
}

func TestShareTriesAgain(t *testing.T) {
	dir, root := store(t)
	contents, blobs := small(1)
	dir.Put(contents[0])
	tests := []struct {
		slow int
		ok   bool
		took time.Duration
	}{{0, true, 0}, {1, true, time.Second}, {2, true, 3 * time.Second}, {3, false, 3 * time.Second}}
	for _, tt := range tests {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			f := peer.New(peer.Config{Blobs: dir, Stores: []peer.Store{&shelf{blobs: map[modules.Digest][]byte{}, slow: tt.slow}}})
			err := f.Share(t.Context(), blobs)
			if took := time.Since(began); (err == nil) != tt.ok || took != tt.took {
				t.Errorf("Share with a store that refuses %d times = %v after %v, want %v", tt.slow, err, took, tt.took)
			}
		})
	}

	hex := blobs[0].Digest.Hex()
	path := filepath.Join(root, "sha256", hex[:2], hex[2:])
	if err := errors.Join(os.Remove(path), os.WriteFile(path, []byte(strings.Repeat("x", len(contents[0]))), 0o600)); err != nil {
		t.Fatal(err)
	}
	to := &shelf{blobs: map[modules.Digest][]byte{}}
	f := peer.New(peer.Config{Blobs: dir, Stores: []peer.Store{to}})
	if err := f.Share(t.Context(), blobs); !errors.Is(err, modules.ErrDigest) || !errors.Is(err, modules.ErrCorrupt) {
		t.Errorf("Share of a damaged blob = %v, want ErrDigest and ErrCorrupt", err)
	}
	if dir.Has(blobs[0].Digest) || len(to.blobs) > 0 {
		t.Error("the damaged blob is still there, or was shared")
	}
}

// stuck is a Store that never answers.
type stuck struct {
	shelf
	has, put bool // which it does answer
}

func (s *stuck) Has(ctx context.Context, d modules.Digest) (bool, error) {
	if !s.has {
		<-ctx.Done()
		return false, ctx.Err()
	}
	return s.shelf.Has(ctx, d)
}

func (s *stuck) Put(ctx context.Context, d modules.Digest, size int64, r io.Reader) error {
	if !s.put {
		r.Read(make([]byte, 10))
		<-ctx.Done()
		return ctx.Err()
	}
	return s.shelf.Put(ctx, d, size, r)
}

func (s *stuck) Keep(ctx context.Context, _ map[modules.Digest]int64) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestSilentStoreIsGivenUp(t *testing.T) {
	dir, _ := store(t)
	contents, blobs := small(1)
	dir.Put(contents[0])
	tests := []struct {
		name     string
		has, put bool
		took     time.Duration
	}{
		{"asked what it has", false, false, 10 * time.Second},
		{"given a blob", true, false, 40 * time.Second},
		{"told what to keep", true, true, 40 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				s := &stuck{shelf: shelf{blobs: map[modules.Digest][]byte{}}, has: tt.has, put: tt.put}
				f := peer.New(peer.Config{Blobs: dir, Stores: []peer.Store{s}, Stall: 10 * time.Second})
				err := f.Share(t.Context(), blobs)
				if took := time.Since(began); err == nil || !strings.Contains(err.Error(), "silent for too long") || took != tt.took {
					t.Errorf("Share = %v after %v, want that it is silent after %v", err, took, tt.took)
				}
			})
		})
	}
}
