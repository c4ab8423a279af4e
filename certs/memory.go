package certs

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
)

var _ certmagic.Storage = (*memory)(nil)

// memory is certmagic's storage in memory. It is bounded by who fills it: a
// Manager drops what it forgets.
type memory struct {
	locks

	mu    sync.Mutex // guards the rest
	files map[string]file
}

type file struct {
	value    []byte
	modified time.Time
}

func newMemory() *memory {
	return &memory{files: map[string]file{}}
}

// Store implements [certmagic.Storage].
func (s *memory) Store(_ context.Context, key string, value []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[key] = file{value: slices.Clone(value), modified: time.Now()}
	return nil
}

// Load implements [certmagic.Storage].
func (s *memory) Load(_ context.Context, key string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, ok := s.files[key]
	if !ok {
		return nil, fmt.Errorf("load %q: %w", key, fs.ErrNotExist)
	}
	return slices.Clone(f.value), nil
}

// Delete implements [certmagic.Storage].
func (s *memory) Delete(_ context.Context, key string) error {
	s.drop(key)
	return nil
}

// drop removes a key, and the files of a certificate whose prefix it is: nothing
// else lies below a key.
func (s *memory) drop(prefix string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, suffix := range []string{".crt", ".key", ".json"} { // a subject's, without a walk through all
		delete(s.files, path.Join(prefix, path.Base(prefix)+suffix))
	}
	delete(s.files, prefix)
}

// Exists implements [certmagic.Storage].
func (s *memory) Exists(_ context.Context, key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.files[key]; ok || path.Ext(key) == ".crt" || path.Ext(key) == ".key" || path.Ext(key) == ".json" {
		return ok // a certificate's own files: no walk through all
	}
	for k := range s.files {
		if strings.HasPrefix(k, key+"/") {
			return true
		}
	}
	return false
}

// List implements [certmagic.Storage].
func (s *memory) List(_ context.Context, dir string, recursive bool) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := map[string]bool{}
	for k := range s.files {
		rest, ok := strings.CutPrefix(k, dir+"/")
		if !ok {
			continue
		}
		if !recursive {
			rest, _, _ = strings.Cut(rest, "/")
		}
		found[path.Join(dir, rest)] = true
	}
	out := make([]string, 0, len(found))
	for k := range found {
		out = append(out, k)
	}
	slices.Sort(out)
	return out, nil
}

// Stat implements [certmagic.Storage].
func (s *memory) Stat(_ context.Context, key string) (certmagic.KeyInfo, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, ok := s.files[key]
	if !ok {
		return certmagic.KeyInfo{}, fmt.Errorf("stat %q: %w", key, fs.ErrNotExist)
	}
	return certmagic.KeyInfo{Key: key, Modified: f.modified, Size: int64(len(f.value)), IsTerminal: true}, nil
}

// subjects returns the first subject of each certificate, by the prefix of its
// keys.
func (s *memory) subjects() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]string{}
	for k, f := range s.files {
		var meta certmagic.CertificateResource
		if path.Ext(k) == ".json" && json.Unmarshal(f.value, &meta) == nil && len(meta.SANs) > 0 {
			out[path.Dir(k)] = meta.SANs[0]
		}
	}
	return out
}
