package peer_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"

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
	f := peer.New(peer.Config{Blobs: dir, Stores: []peer.Store{broken, first}})
	err := f.Share(t.Context(), blobs)
	if err == nil || !strings.Contains(err.Error(), "shelf: full") {
		t.Errorf("Share = %v, want the full store's error", err)
	}
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
