package dev

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/orla-edge/orla/app"
)

// TestBuildsSettle: what a build writes into the folder does not build it again, however
// it writes it; what a person writes meanwhile does.
func TestBuildsSettle(t *testing.T) {
	const count = "echo x >> ../count; "
	tests := []struct {
		name, command string
		// first and later are how often it is built at the start, after nothing, and
		// after a change.
		first, later int
	}{
		{"nothing", "true", 1, 1},
		{"the same output each time", "mkdir -p out; echo a > out/a.txt", 1, 1},
		{"another output each time", "date +%N > stamp.txt", 1, 1},
		{"a new file each time", "touch out-$(wc -c < ../count).txt", 1, 1},
		{"a file that was there, once", "echo fixed > src.txt", 2, 2},
		{"a file that was there, each time", "date +%N >> src.txt", 2, 1},
		{"a file that goes", "rm -f old.txt", 2, 1},
		{"a failure", "date +%N > stamp.txt; exit 1", 1, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "app")
			put(t, dir, "orla.toml", fmt.Sprintf("name = 'shop'\n[build]\ncommand = '''%s'''\n[[routes]]\nmatch = { path = '/' }\nrespond = { body = 'x' }\n", count+tt.command))
			put(t, dir, "src.txt", "src")
			put(t, dir, "old.txt", "old")
			s := newSession(Config{Dir: dir}, newPrinter(Config{Out: t.Output()}), nil)
			s.deploy = func(context.Context, *app.Package) error { return nil }
			built := func() int {
				t.Helper()
				if err := s.update(t.Context()); err != nil {
					t.Fatal(err)
				}
				b, err := os.ReadFile(filepath.Join(dir, "..", "count"))
				if err != nil {
					t.Fatal(err)
				}
				put(t, dir, "../count", "")
				return strings.Count(string(b), "x")
			}
			if n := built(); n != tt.first {
				t.Errorf("built %d times at the start, want %d", n, tt.first)
			}
			if n := built(); n != 0 {
				t.Errorf("built %d times without a change", n)
			}
			put(t, dir, "src.txt", "changed")
			if n := built(); n != tt.later {
				t.Errorf("built %d times after a change, want %d", n, tt.later)
			}
		})
	}
}

// TestEditsDuringTheDeploy: what changes after the files were read is built at once.
func TestEditsDuringTheDeploy(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "orla.toml", "name = 'shop'\n[site]\n")
	put(t, dir, "public/a.txt", "one")
	s := newSession(Config{Dir: dir}, newPrinter(Config{Out: t.Output()}), nil)
	deploys := 0
	s.deploy = func(context.Context, *app.Package) error {
		if deploys++; deploys == 1 {
			put(t, dir, "public/a.txt", "two")
		}
		return nil
	}
	if err := s.update(t.Context()); err != nil || deploys != 2 {
		t.Errorf("update = %v after %d deploys, want 2", err, deploys)
	}
}

func put(t *testing.T, dir, name, content string) {
	t.Helper()
	path := filepath.Join(dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
