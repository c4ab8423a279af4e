package dev

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	// maxHashed is the size in bytes of the largest file that is read to find out
	// whether it has changed; of a larger one size and time are compared.
	maxHashed = 64 << 20
	// tick is longer than that of any clock that file systems stamp files with.
	tick = 50 * time.Millisecond
	// maxTree is how many files and folders are watched.
	maxTree = 100_000
)

var errTreeSize = errors.New("dev: too many files to watch")

// file is what is known of a file that is watched.
type file struct {
	size     int64
	modified time.Time
	sum      [sha256.Size]byte // zero above maxHashed
	// young reports whether the file had been written so shortly before it was read
	// that a later write may have left size and time as they are.
	young bool
}

// same reports whether the contents are.
func (f file) same(g file) bool {
	if f.size != g.size {
		return false
	}
	return f.sum == g.sum && (f.size <= maxHashed || f.modified.Equal(g.modified))
}

// tree holds the files of a folder, by their paths below it, with slashes.
type tree map[string]file

// ignored reports whether changes below dir mean nothing: what package managers and
// tools keep to themselves. name is a file or folder in it.
func ignored(dir, name string, folder bool) bool {
	if !folder {
		return name == ".DS_Store" || name == "4913" || strings.HasPrefix(name, ".#") || strings.HasSuffix(name, "~") ||
			strings.HasSuffix(name, ".swp") || strings.HasSuffix(name, ".swx")
	}
	switch name {
	case "node_modules", "__pycache__":
		return true
	case "target": // of cargo
		_, err := os.Lstat(filepath.Join(dir, "Cargo.toml"))
		return err == nil
	}
	return strings.HasPrefix(name, ".") && name != ".well-known"
}

// walk calls visit for dir and each folder and file below it that is not ignored. Links
// are not followed; what vanishes meanwhile is left out.
func walk(dir string, visit func(below string, d fs.DirEntry) error) error {
	count := 0
	return filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist) && name != dir:
			return nil
		case err != nil && name == dir:
			return err
		case err != nil:
			return nil //nolint:nilerr // the build or the deploy tells what it cannot read
		}
		if name != dir && ignored(filepath.Dir(name), d.Name(), d.IsDir()) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if count++; count > maxTree {
			return fmt.Errorf("%w: %s has more than %d; name the app's own folder", errTreeSize, dir, maxTree)
		}
		below, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		return visit(filepath.ToSlash(below), d)
	})
}

// scan reads the tree below dir. Files that look as they did in known are not read
// again.
func scan(dir string, known tree) (tree, error) {
	now := make(tree, len(known))
	err := walk(dir, func(below string, d fs.DirEntry) error {
		if !d.Type().IsRegular() {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return nil //nolint:nilerr // it has vanished
		}
		f := file{size: info.Size(), modified: info.ModTime(), young: time.Since(info.ModTime()) < tick}
		old, ok := known[below]
		switch {
		case ok && !old.young && old.size == f.size && old.modified.Equal(f.modified):
			f.sum = old.sum
		case f.size <= maxHashed:
			if f.sum, err = digest(filepath.Join(dir, filepath.FromSlash(below))); err != nil {
				return nil //nolint:nilerr // as above
			}
		}
		now[below] = f
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look through %s: %w", dir, err)
	}
	return now, nil
}

func digest(name string) (sum [sha256.Size]byte, err error) {
	f, err := os.Open(name)
	if err != nil {
		return sum, err
	}
	defer f.Close() //nolint:errcheck // only read
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return sum, err
	}
	h.Sum(sum[:0])
	return sum, nil
}

// changes returns the paths in which two trees differ, sorted.
func changes(a, b tree) []string {
	var paths []string
	for p, f := range b {
		if old, ok := a[p]; !ok || !f.same(old) {
			paths = append(paths, p)
		}
	}
	for p := range a {
		if _, ok := b[p]; !ok {
			paths = append(paths, p)
		}
	}
	slices.Sort(paths)
	return paths
}

// builds tells what a build writes from what a person does meanwhile.
type builds struct {
	outputs  map[string]bool
	suspects map[string]bool
}

func newBuilds() *builds { return &builds{outputs: make(map[string]bool)} }

// edits returns the files that somebody else than the build has changed while it ran,
// as far as can be told: a file that was not there before comes from the build, and so
// does one that changes in two builds running. Everything else counts as an edit,
// which costs another build at most.
func (b *builds) edits(before, after tree) []string {
	suspects := make(map[string]bool)
	var edits []string
	for _, p := range changes(before, after) {
		_, existed := before[p]
		if !existed || b.suspects[p] {
			b.outputs[p] = true
		}
		if !b.outputs[p] {
			suspects[p] = true
			edits = append(edits, p)
		}
	}
	b.suspects = suspects
	return edits
}

// named returns "a.go", "a.go and b.go" or "a.go and 3 more".
func named(paths []string) string {
	switch len(paths) {
	case 0:
		return "nothing"
	case 1:
		return plain(paths[0])
	case 2:
		return plain(paths[0]) + " and " + plain(paths[1])
	}
	return fmt.Sprintf("%s and %d more", plain(paths[0]), len(paths)-1)
}
