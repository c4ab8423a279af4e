package compile

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

const (
	// abandoned is how old a file must be that nothing refers to: a younger one may be
	// somebody's who is about to.
	abandoned = time.Hour
	// foreignAge is how long the code of other engines is kept: an upgrade may be taken
	// back.
	foreignAge = 24 * time.Hour
)

// ours matches the folders that a Compiler of any version may have made in its folder.
var ours = regexp.MustCompile(`^(p[0-9A-Za-z.]+-[0-9a-f]{16}|wazero-.+|` + probePrefix + `.+)$`)

// kept is something in the cache that goes or stays as a whole.
type kept struct {
	paths []string // in the order in which they are to be removed
	key   string   // of an entry: the digest of the module
	size  int64
	used  time.Time
}

// Clean removes what nobody has used for the configured age, what other versions of
// the pipeline or the engine left a day ago, what dead children left, and then what was
// used least recently, until the cache is within its bound. Code that is in use stays
// usable: the engine has its own copy. Clean may run beside everything else; it also
// runs by itself each time that an eighth of the bound has been added.
func (c *Compiler) Clean(ctx context.Context) error {
	if c.store == nil {
		return nil
	}
	c.added.Store(0)
	now := time.Now()
	all, err := c.store.foreign()
	problems := []error{err}
	for i, k := range all {
		if now.Sub(k.used) > foreignAge {
			problems = append(problems, k.remove())
			all[i].size = 0
		}
	}
	own, err := c.store.entries(now)
	problems = append(problems, err)
	// Other versions' code goes first, if there is too much.
	slices.SortStableFunc(own, func(a, b kept) int { return a.used.Compare(b.used) })
	all = append(all, own...)
	var total int64
	for _, k := range all {
		total += k.size
	}
	removed := 0
	for _, k := range all {
		if err := context.Cause(ctx); err != nil {
			return errors.Join(append(problems, err)...)
		}
		if k.size == 0 || total <= c.cfg.MaxBytes && now.Sub(k.used) <= c.cfg.MaxAge || c.pinned(k.key) {
			continue
		}
		problems = append(problems, k.remove())
		total -= k.size
		removed++
	}
	if removed > 0 {
		c.cfg.Logger.DebugContext(ctx, "code cache cleaned", "removed", removed, "bytes", total)
	}
	if err := errors.Join(problems...); err != nil {
		return fmt.Errorf("clean code cache %q: %w", c.cfg.Dir, err)
	}
	return nil
}

func (k kept) remove() error {
	var problems []error
	for _, p := range k.paths {
		problems = append(problems, os.RemoveAll(p))
	}
	return errors.Join(problems...)
}

// foreign returns the folders of other engines, least recently used first.
func (s *store) foreign() ([]kept, error) {
	dirs, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, err
	}
	var all []kept
	var problems []error
	for _, d := range dirs {
		path := filepath.Join(s.dir, d.Name())
		if !d.IsDir() || path == s.root || !ours.MatchString(d.Name()) {
			continue
		}
		k, err := weigh(path)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		all = append(all, k)
	}
	slices.SortFunc(all, func(a, b kept) int { return a.used.Compare(b.used) })
	return all, errors.Join(problems...)
}

// weigh returns a folder with all that is in it.
func weigh(path string) (kept, error) {
	k := kept{paths: []string{path}}
	err := filepath.WalkDir(path, func(_ string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // somebody is at work there
		}
		if err != nil {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		k.size += max(1, info.Size())
		if info.ModTime().After(k.used) {
			k.used = info.ModTime()
		}
		return nil
	})
	return k, err
}

// entries returns the cache's entries, and removes what belongs to none.
func (s *store) entries(now time.Time) ([]kept, error) {
	paths, err := filepath.Glob(filepath.Join(s.root, "*", "*"))
	if err != nil {
		return nil, err
	}
	code := make(map[string]fs.FileInfo)
	var index []string
	var problems []error
	for _, p := range paths {
		dir := filepath.Base(filepath.Dir(p))
		info, err := os.Lstat(p)
		switch {
		case errors.Is(err, fs.ErrNotExist), strings.HasPrefix(dir, stagePrefix):
		case err != nil:
			problems = append(problems, err)
		case dir == indexDir:
			index = append(index, p)
		default:
			code[p] = info
		}
	}
	var all []kept
	for _, p := range index {
		k, err := s.entryAt(p, code)
		all, problems = append(all, k), append(problems, err)
	}
	stages, err := filepath.Glob(filepath.Join(s.root, stagePrefix+"*"))
	problems = append(problems, err, s.sweep(now, code, stages))
	return slices.DeleteFunc(all, func(k kept) bool { return k.size == 0 }), errors.Join(problems...)
}

// entryAt returns the entry in the file p of the index, and takes its code out of
// code.
func (s *store) entryAt(p string, code map[string]fs.FileInfo) (kept, error) {
	info, err := os.Stat(p)
	if errors.Is(err, fs.ErrNotExist) {
		return kept{}, nil
	}
	if err != nil {
		return kept{}, err
	}
	k := kept{paths: []string{p}, key: filepath.Base(p), size: max(1, info.Size()), used: info.ModTime()}
	e, err := readEntry(p)
	if err != nil {
		return k, nil //nolint:nilerr // it is discarded when it is asked for, or by age
	}
	path := s.code(e)
	if c, ok := code[path]; ok {
		k.paths, k.size = append(k.paths, path), k.size+c.Size()
		delete(code, path)
	}
	return k, nil
}

// sweep removes code without an entry and stages, if they are old enough.
func (s *store) sweep(now time.Time, code map[string]fs.FileInfo, stages []string) error {
	var problems []error
	for p, info := range code {
		if now.Sub(info.ModTime()) > abandoned {
			problems = append(problems, os.RemoveAll(p))
		}
	}
	for _, p := range stages {
		k, err := weigh(p)
		problems = append(problems, err)
		if now.Sub(cmp.Or(k.used, now)) > abandoned {
			problems = append(problems, os.RemoveAll(p))
		}
	}
	return errors.Join(problems...)
}
