package compile

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/orla-edge/orla/runtime/wasm"
)

type digest [sha256.Size]byte

func (d digest) String() string { return hex.EncodeToString(d[:]) }

func sum(s string) digest { return sha256.Sum256([]byte(s)) }

// store is the folder of one engine's code.
type store struct {
	dir    string // of all engines
	root   string // of this one; the engine's own cache
	engine string
}

const (
	indexDir    = "index"
	stagePrefix = "stage-"
	probePrefix = "probe-"
)

// openStore makes what is missing of dir.
func openStore(dir string) (_ *store, err error) {
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, fmt.Errorf("open code cache: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make folder of the code cache: %w", err)
	}
	if err := private(dir); err != nil {
		return nil, err
	}
	tmp, err := os.MkdirTemp(dir, probePrefix)
	if err != nil {
		return nil, fmt.Errorf("make folder in the code cache: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	engine, err := probe(context.Background(), tmp)
	if err != nil {
		return nil, err
	}
	s := &store{dir: dir, root: filepath.Join(dir, "p"+wasm.Version+"-"+engine), engine: engine}
	if err := os.MkdirAll(filepath.Join(s.root, indexDir), 0o700); err != nil {
		return nil, fmt.Errorf("make folder in the code cache: %w", err)
	}
	return s, private(s.root)
}

// private refuses a folder that others can write to: its content is executed.
func private(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("look at the code cache: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("code cache %s is no folder; remove it or name another one", dir)
	}
	if othersWrite(info) {
		return fmt.Errorf("code cache %s can be written by others (%s), and what is in it is executed; chmod 700 it, or name another folder", dir, info.Mode().Perm())
	}
	if !ownedByUs(info) {
		return fmt.Errorf("code cache %s belongs to another user, and what is in it is executed; chown it, or name another folder", dir)
	}
	return nil
}

// stage makes a folder for one compilation.
func (s *store) stage() (string, error) {
	dir, err := os.MkdirTemp(s.root, stagePrefix)
	if err != nil {
		return "", fmt.Errorf("make folder in the code cache: %w", err)
	}
	return dir, nil
}

func (s *store) index(d digest) string { return filepath.Join(s.root, indexDir, d.String()) }

// code returns the path of what entry e describes.
func (s *store) code(e entry) string { return filepath.Join(s.root, filepath.FromSlash(e.name)) }

// install moves what [build] left in stage to where the engine looks for it, the code
// first: an entry speaks of code that is there.
func (s *store) install(stage string, d digest) (size int64, err error) {
	e, err := readEntry(filepath.Join(stage, codeFile))
	if err != nil {
		return 0, err
	}
	if err := os.MkdirAll(filepath.Dir(s.code(e)), 0o700); err != nil {
		return 0, err
	}
	if err := os.Rename(filepath.Join(stage, codeDir, filepath.FromSlash(e.name)), s.code(e)); err != nil {
		return 0, err
	}
	return e.size, os.Rename(filepath.Join(stage, codeFile), s.index(d))
}

// verify returns nil if the code of d is what was once written, and an error that
// wraps [fs.ErrNotExist] if there is no entry.
func (s *store) verify(d digest) error {
	e, err := readEntry(s.index(d))
	if err != nil {
		return err
	}
	found, err := describe(s.code(e))
	if errors.Is(err, fs.ErrNotExist) {
		return errors.New("the entry's code is missing") // its own kind: there is an entry to discard
	}
	if err != nil {
		return err
	}
	if found != e {
		return fmt.Errorf("%d bytes with digest %s, expected %d with %s", found.size, found.sum, e.size, e.sum)
	}
	return nil
}

// discard removes the entry and the code of d, as far as they are there.
func (s *store) discard(d digest) error {
	e, err := readEntry(s.index(d))
	gone := os.RemoveAll(s.index(d))
	if err != nil {
		return gone // no telling where the code is; it will be written over or cleaned away
	}
	return errors.Join(gone, os.RemoveAll(s.code(e)))
}

// touch notes that the code of d was used.
func (s *store) touch(d digest) {
	now := time.Now()
	_ = os.Chtimes(s.index(d), now, now) // it may be gone, and then needs no time
}

// only returns the path of the one file in the engine's cache at dir.
func only(dir string) (string, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*", "*"))
	if err != nil || len(paths) != 1 {
		return "", fmt.Errorf("expected one file of code in %s, found %d", dir, len(paths))
	}
	return paths[0], nil
}

// entry describes the code of a module.
type entry struct {
	name string // of its file, below the folder of the engine's cache, with a slash
	size int64
	sum  digest
}

// maxEntry is the size in bytes of the largest entry there can be.
const maxEntry = 512

const entryFormat = "orla-code 1 %s %d %s\n"

// describe reads a file of code, which must be ours alone.
func describe(path string) (entry, error) {
	f, err := os.Open(path)
	if err != nil {
		return entry{}, err
	}
	defer f.Close() //nolint:errcheck // only read
	info, err := f.Stat()
	if err != nil {
		return entry{}, err
	}
	if !info.Mode().IsRegular() || othersWrite(info) || !ownedByUs(info) {
		return entry{}, fmt.Errorf("%s is no regular file that only we can write", path)
	}
	h := sha256.New()
	e := entry{name: filepath.Base(filepath.Dir(path)) + "/" + filepath.Base(path)}
	if e.size, err = io.Copy(h, f); err != nil {
		return entry{}, fmt.Errorf("read code %s: %w", path, err)
	}
	h.Sum(e.sum[:0])
	return e, nil
}

func (e entry) write(path string) error {
	return os.WriteFile(path, fmt.Appendf(nil, entryFormat, e.name, e.size, e.sum), 0o600)
}

func readEntry(path string) (entry, error) {
	f, err := os.Open(path)
	if err != nil {
		return entry{}, err
	}
	defer f.Close() //nolint:errcheck // only read
	b, err := io.ReadAll(io.LimitReader(f, maxEntry+1))
	if err != nil {
		return entry{}, fmt.Errorf("read entry %s: %w", path, err)
	}
	return parseEntry(b)
}

// parseEntry takes exactly what write writes.
func parseEntry(b []byte) (entry, error) {
	var e entry
	var hexSum string
	if len(b) > maxEntry {
		return entry{}, errors.New("entry is too long")
	}
	if _, err := fmt.Sscanf(string(b), entryFormat, &e.name, &e.size, &hexSum); err != nil {
		return entry{}, fmt.Errorf("parse entry: %w", err)
	}
	if n, err := hex.Decode(e.sum[:], []byte(hexSum[:min(len(hexSum), 2*len(e.sum))])); err != nil || n != len(e.sum) {
		return entry{}, errors.New("parse entry: digest is malformed")
	}
	dir, file := filepath.Split(filepath.FromSlash(e.name))
	if e.size < 0 || dir != filepath.Base(dir)+string(filepath.Separator) || !filepath.IsLocal(file) || !filepath.IsLocal(dir) {
		return entry{}, errors.New("parse entry: name or size is impossible")
	}
	if !bytes.Equal(b, fmt.Appendf(nil, entryFormat, e.name, e.size, e.sum)) {
		return entry{}, errors.New("parse entry: it is not in canonical form")
	}
	return e, nil
}
