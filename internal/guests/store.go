package guests

import (
	"testing"

	"github.com/orla-edge/orla/modules"
)

// Store is a blob store for one test.
type Store struct{ *modules.Dir }

// NewStore returns an empty Store that is closed with the test.
func NewStore(t testing.TB) *Store {
	t.Helper()
	d, err := modules.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return &Store{Dir: d}
}

// Put stores b and returns its digest in the form of a manifest.
func (s *Store) Put(t testing.TB, b []byte) string {
	t.Helper()
	w, err := s.Create()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Commit(modules.Sum(b)); err != nil {
		t.Fatal(err)
	}
	return modules.Sum(b).String()
}
