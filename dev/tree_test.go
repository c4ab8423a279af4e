package dev

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func TestScanFindsChanges(t *testing.T) {
	tests := []struct {
		name   string
		change func(t *testing.T, dir string)
		want   []string
	}{
		{"nothing", func(*testing.T, string) {}, nil},
		{"content", func(t *testing.T, dir string) { put(t, dir, "a.txt", "A!") }, []string{"a.txt"}},
		{"content of the same size", func(t *testing.T, dir string) { put(t, dir, "a.txt", "A") }, []string{"a.txt"}},
		{"content of the same size and time", func(t *testing.T, dir string) {
			info, err := os.Stat(filepath.Join(dir, "a.txt"))
			if err != nil {
				t.Fatal(err)
			}
			put(t, dir, "a.txt", "A")
			if err := os.Chtimes(filepath.Join(dir, "a.txt"), info.ModTime(), info.ModTime()); err != nil {
				t.Fatal(err)
			}
		}, []string{"a.txt"}},
		{"the time alone", func(t *testing.T, dir string) {
			if err := os.Chtimes(filepath.Join(dir, "a.txt"), time.Time{}, time.Unix(1, 0)); err != nil {
				t.Fatal(err)
			}
		}, nil},
		{"a new file", func(t *testing.T, dir string) { put(t, dir, "sub/new/c.txt", "c") }, []string{"sub/new/c.txt"}},
		{"a file that goes", func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, "sub", "b.txt")); err != nil {
				t.Fatal(err)
			}
		}, []string{"sub/b.txt"}},
		{"hidden files count, such as .env", func(t *testing.T, dir string) { put(t, dir, ".env", "x") }, []string{".env"}},
		{"what tools keep", func(t *testing.T, dir string) {
			for _, name := range []string{
				".git/HEAD", ".orla/nodes-1/x", "node_modules/p/index.js", "py/__pycache__/m.pyc", "a.txt~", ".a.txt.swp", ".#a.txt", "sub/4913",
				"crate/target/release/x.wasm",
			} {
				put(t, dir, name, "x")
			}
		}, nil},
		{"a folder named target without cargo, and .well-known", func(t *testing.T, dir string) {
			put(t, dir, "sub/target/x", "x")
			put(t, dir, "public/.well-known/x", "x")
		}, []string{"public/.well-known/x", "sub/target/x"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			put(t, dir, "a.txt", "a")
			put(t, dir, "sub/b.txt", "b")
			put(t, dir, "crate/Cargo.toml", "[package]")
			before, err := scan(dir, nil)
			if err != nil {
				t.Fatal(err)
			}
			tt.change(t, dir)
			after, err := scan(dir, before)
			if err != nil {
				t.Fatal(err)
			}
			if got := changes(before, after); !slices.Equal(got, tt.want) {
				t.Errorf("changes = %q, want %q", got, tt.want)
			}
		})
	}
}

func TestScanOfNothing(t *testing.T) {
	if _, err := scan(filepath.Join(t.TempDir(), "gone"), nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("scan of a folder that is not there: %v", err)
	}
}

func TestNamed(t *testing.T) {
	for _, tt := range []struct {
		paths []string
		want  string
	}{
		{nil, "nothing"},
		{[]string{"a"}, "a"},
		{[]string{"a", "b"}, "a and b"},
		{[]string{"a", "b", "c"}, "a and 2 more"},
		{[]string{"a\x1b[2J"}, "a [2J"},
	} {
		if got := named(tt.paths); got != tt.want {
			t.Errorf("named(%q) = %q, want %q", tt.paths, got, tt.want)
		}
	}
}

// TestWatcher: changes are noticed in folders that came into being while it watched,
// and those in ignored ones are not.
func TestWatcher(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "sub/a.txt", "a")
	w, err := newWatcher(dir)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.run(ctx) }()
	defer func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	noticed := func(what string) {
		t.Helper()
		select {
		case <-w.changed:
		case <-time.After(60 * time.Second):
			t.Fatalf("%s is not noticed", what)
		}
	}
	put(t, dir, "sub/a.txt", "b")
	noticed("a change")
	put(t, dir, "new/deep/b.txt", "b")
	noticed("a new folder")
	put(t, dir, "new/deep/b.txt", "c")
	noticed("a change in a new folder")
	put(t, dir, ".git/deep/x", "x")
	if watched := w.notify.WatchList(); slices.ContainsFunc(watched, func(p string) bool { return filepath.Base(p) == ".git" }) {
		t.Errorf("watches %q", watched)
	}
	if err := os.RemoveAll(filepath.Join(dir, "new")); err != nil {
		t.Fatal(err)
	}
	noticed("a folder that goes")
}
