// Package storetest is the contract of a common blob store as a test. It knows no
// particular store.
package storetest

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/orla-edge/orla/modules"
	"github.com/orla-edge/orla/modules/peer"
)

// Run tests an empty store, which has a name.
func Run(t *testing.T, s peer.Store) {
	t.Helper()
	t.Run("round trip", func(t *testing.T) { roundTrip(t, s) })
	t.Run("absent", func(t *testing.T) { absent(t, s) })
	t.Run("wrong bytes", func(t *testing.T) { wrongBytes(t, s) })
	t.Run("concurrent", func(t *testing.T) { concurrent(t, s) })
}

// Blob returns bytes that are the same for the same seed.
func Blob(seed, size int) []byte {
	var key [32]byte
	key[0], key[1] = byte(seed), byte(seed>>8)
	b := make([]byte, size)
	rand.NewChaCha8(key).Read(b) //nolint:errcheck,gosec // never fails
	return b
}

func roundTrip(t *testing.T, s peer.Store) {
	for _, size := range []int{0, 1, 4096, 3<<20 + 7} {
		b := Blob(size, size)
		digest := modules.Sum(b)
		if ok, err := s.Has(t.Context(), digest); ok || err != nil {
			t.Fatalf("Has before Put = %t, %v", ok, err)
		}
		for range 2 {
			if err := s.Put(t.Context(), digest, int64(size), bytes.NewReader(b)); err != nil {
				t.Fatalf("Put of %d bytes: %v", size, err)
			}
		}
		if ok, err := s.Has(t.Context(), digest); !ok || err != nil {
			t.Errorf("Has after Put of %d bytes = %t, %v", size, ok, err)
		}
		for _, offset := range []int{0, size / 2, size - 1} {
			offset = max(offset, 0)
			if got, err := read(t, s, digest, int64(offset)); err != nil || !bytes.Equal(got, b[offset:]) {
				t.Errorf("Get of %d bytes from %d = %d bytes, %v", size, offset, len(got), err)
			}
		}
	}
}

func read(t *testing.T, s peer.Store, digest modules.Digest, offset int64) ([]byte, error) {
	body, err := s.Get(t.Context(), digest, offset)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(body)
	return b, errors.Join(err, body.Close())
}

func absent(t *testing.T, s peer.Store) {
	digest := modules.Sum([]byte("nowhere"))
	for _, offset := range []int64{0, 10} {
		_, err := s.Get(t.Context(), digest, offset)
		if !errors.Is(err, modules.ErrNotFound) || !strings.Contains(err.Error(), digest.String()) {
			t.Errorf("Get from %d = %v, want ErrNotFound with the digest", offset, err)
		}
	}
}

func wrongBytes(t *testing.T, s peer.Store) {
	b := Blob(1, 100_000)
	digest := modules.Sum(Blob(2, 100_000))
	for name, size := range map[string]int64{"other": 100_000, "too short": 100_001, "too long": 99_999, "none": 0} {
		if err := s.Put(t.Context(), digest, size, bytes.NewReader(b)); !errors.Is(err, modules.ErrDigest) {
			t.Errorf("Put of wrong bytes (%s) = %v, want ErrDigest", name, err)
		}
		if ok, err := s.Has(t.Context(), digest); ok || err != nil {
			t.Errorf("Has after wrong bytes (%s) = %t, %v", name, ok, err)
		}
	}
}

func concurrent(t *testing.T, s peer.Store) {
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			b := Blob(100+i/2, 10_000)
			if err := s.Put(t.Context(), modules.Sum(b), int64(len(b)), bytes.NewReader(b)); err != nil {
				t.Error(err)
			}
			if got, err := read(t, s, modules.Sum(b), 0); err != nil || !bytes.Equal(got, b) {
				t.Errorf("Get = %d bytes, %v", len(got), err)
			}
		})
	}
	wg.Wait()
}
