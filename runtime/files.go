package runtime

import (
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/tetratelabs/wazero/sys"

	"github.com/orla-edge/orla/modules"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

const (
	// maxFiles is how many files a function may have.
	maxFiles = 100_000
	// maxOpen is how many of them one instance may have open at a time.
	maxOpen = 128
)

var (
	errFilePath     = errors.New("the path is not a clean path below /")
	errFileTwice    = errors.New("the path is there twice")
	errFileDamaged  = errors.New("the stored content is damaged; deploy again")
	errFileAsFolder = errors.New("a file stands where a folder is needed")
)

// tree is the files of a function as a guest sees them: read only, without links.
// It is immutable.
type tree struct {
	blobs Blobs
	nodes map[string]*node // by fs.FS path; the root is "."
}

// node is a file or a folder.
type node struct {
	name     string
	inode    uint64
	size     int64
	digest   modules.Digest
	children []*node // sorted by name; nil for a file
	dir      bool
}

// newTree checks the files of a function and that their contents are there, whole.
func newTree(files []*orlav1.File, blobs Blobs) (*tree, error) {
	if len(files) > maxFiles {
		return nil, &FunctionError{Field: "files", Problem: "more than 100000 files; leave out what the guest does not read"}
	}
	t := &tree{blobs: blobs, nodes: map[string]*node{".": {name: ".", inode: 1, dir: true}}}
	for _, f := range files {
		if err := t.add(f); err != nil {
			return nil, &FunctionError{Field: "files[" + f.GetPath() + "]", Problem: err.Error()}
		}
	}
	for _, n := range t.nodes {
		slices.SortFunc(n.children, func(a, b *node) int { return strings.Compare(a.name, b.name) })
	}
	return t, nil
}

func (t *tree) add(f *orlav1.File) error {
	name := strings.TrimPrefix(f.GetPath(), "/")
	if !fs.ValidPath(name) || name == "." || strings.ContainsRune(name, 0) {
		return errFilePath
	}
	if t.nodes[name] != nil {
		return errFileTwice
	}
	digest, err := modules.ParseDigest(f.GetDigest())
	if err != nil {
		return err
	}
	size, err := verify(t.blobs, digest)
	if err != nil {
		return err
	}
	parent, err := t.folder(path.Dir(name))
	if err != nil {
		return err
	}
	t.insert(parent, name, &node{size: size, digest: digest})
	return nil
}

// verify reads a blob to its end and returns its size.
func verify(blobs Blobs, d modules.Digest) (int64, error) {
	f, err := blobs.Open(d)
	if err != nil {
		return 0, err
	}
	defer f.Close() //nolint:errcheck // only read
	sum := sha256.New()
	n, err := io.Copy(sum, f)
	if err != nil {
		return 0, err
	}
	if modules.Digest(sum.Sum(nil)) != d {
		return 0, errFileDamaged
	}
	return n, nil
}

// folder returns the folder called name, made with those above it if need be.
func (t *tree) folder(name string) (*node, error) {
	if n := t.nodes[name]; n != nil {
		if !n.dir {
			return nil, errFileAsFolder
		}
		return n, nil
	}
	parent, err := t.folder(path.Dir(name))
	if err != nil {
		return nil, err
	}
	return t.insert(parent, name, &node{dir: true}), nil
}

func (t *tree) insert(parent *node, name string, n *node) *node {
	n.name, n.inode = path.Base(name), uint64(len(t.nodes)+1)
	t.nodes[name] = n
	parent.children = append(parent.children, n)
	return n
}

// mount returns the tree for one instance.
func (t *tree) mount() *mount { return &mount{tree: t} }

type mount struct {
	*tree
	open atomic.Int64
}

// Open implements [fs.FS].
func (m *mount) Open(name string) (fs.File, error) {
	n := m.nodes[name]
	if n == nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	if m.open.Add(1) > maxOpen {
		m.open.Add(-1)
		return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.EMFILE}
	}
	f := &file{node: n, mount: m}
	if !n.dir {
		blob, err := m.blobs.Open(n.digest)
		if err != nil {
			m.open.Add(-1)
			return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.EIO}
		}
		f.blob = blob
	}
	return f, nil
}

// file is an open file or folder. It hides the [os.File], which could be written to,
// changed in mode, or seen in the host's file system.
type file struct {
	*node
	mount *mount
	blob  *os.File
	next  int // of children
}

var (
	_ io.ReaderAt = (*file)(nil)
	_ io.Seeker   = (*file)(nil)
)

// Stat implements [fs.File].
func (f *file) Stat() (fs.FileInfo, error) { return info{f.node}, nil }

// Close implements [fs.File].
func (f *file) Close() error {
	f.mount.open.Add(-1)
	if f.dir {
		return nil
	}
	return f.blob.Close()
}

// Read implements [fs.File].
func (f *file) Read(p []byte) (int, error) {
	if f.dir {
		return 0, syscall.EISDIR
	}
	return f.blob.Read(p)
}

// ReadAt implements [io.ReaderAt].
func (f *file) ReadAt(p []byte, off int64) (int, error) {
	if f.dir {
		return 0, syscall.EISDIR
	}
	return f.blob.ReadAt(p, off)
}

// Seek implements [io.Seeker].
func (f *file) Seek(offset int64, whence int) (int64, error) {
	if f.dir {
		return 0, syscall.EISDIR
	}
	return f.blob.Seek(offset, whence)
}

// Readdir is what the engine lists folders with, as [os.File.Readdir].
func (f *file) Readdir(n int) ([]fs.FileInfo, error) {
	rest := f.children[f.next:]
	if n > 0 {
		if len(rest) == 0 {
			return nil, io.EOF
		}
		rest = rest[:min(n, len(rest))]
	}
	f.next += len(rest)
	list := make([]fs.FileInfo, len(rest))
	for i, c := range rest {
		list[i] = info{c}
	}
	return list, nil
}

// info is what a guest learns of a node: no owner, no time.
type info struct{ n *node }

// Name implements [fs.FileInfo].
func (i info) Name() string { return i.n.name }

// Size implements [fs.FileInfo].
func (i info) Size() int64 { return i.n.size }

// ModTime implements [fs.FileInfo].
func (i info) ModTime() time.Time { return time.Unix(0, 0) }

// IsDir implements [fs.FileInfo].
func (i info) IsDir() bool { return i.n.dir }

// Mode implements [fs.FileInfo].
func (i info) Mode() fs.FileMode {
	if i.n.dir {
		return fs.ModeDir | 0o555
	}
	return 0o444
}

// Sys gives the engine an inode, by which guests tell files apart.
func (i info) Sys() any {
	return &sys.Stat_t{Ino: i.n.inode, Mode: i.Mode(), Nlink: 1, Size: i.n.size}
}
