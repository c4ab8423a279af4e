package app

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/orla-edge/orla/modules"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

// ErrChanged is returned while a file is read that is no longer what was hashed.
var ErrChanged = errors.New("app: file changed since it was packed")

// Package is a release ready to be sent: its manifest, and where the content is
// that the manifest names. It is immutable and safe for concurrent use.
type Package struct {
	// Manifest is the release as the node validates it.
	Manifest *orlav1.Manifest
	// Blobs is the content that the manifest names, each digest once, in the
	// manifest's order.
	Blobs []Blob
	// Skipped are the files and folders of the site that are not deployed, with
	// paths below the app's folder: names that begin with a dot, and what
	// belongs to Orla.
	Skipped []string

	source *source
	byHash map[modules.Digest]int
}

// Blob is one content with a file that has it.
type Blob struct {
	Digest modules.Digest
	Size   int64  // in bytes
	Path   string // below the app's folder, with slashes
}

// Locate returns where a field of the manifest was written, as "orla.toml:14" or
// "public/a.css".
func (p *Package) Locate(field string) string {
	q := p.source.problem(field, "")
	if q.Line == 0 {
		return q.File
	}
	return fmt.Sprintf("%s:%d", q.File, q.Line)
}

// Problem returns what a node says about a field of the manifest as a problem of
// the file that it was written in.
func (p *Package) Problem(field, message string) Problem { return p.source.problem(field, message) }

// Size returns the bytes of all blobs together.
func (p *Package) Size() int64 {
	var sum int64
	for _, b := range p.Blobs {
		sum += b.Size
	}
	return sum
}

// Open returns the content with that digest and its size in bytes. The content
// is verified while it is read: where it is not what was packed, Read returns an
// error that wraps [ErrChanged] and names the file, in place of io.EOF.
func (p *Package) Open(d modules.Digest) (io.ReadCloser, int64, error) {
	i, ok := p.byHash[d]
	if !ok {
		return nil, 0, fmt.Errorf("open %s: not in this release", d)
	}
	b := p.Blobs[i]
	root, err := os.OpenRoot(p.source.dir)
	if err != nil {
		return nil, 0, fmt.Errorf("open app's folder: %w", err)
	}
	defer root.Close() //nolint:errcheck // only read
	name := filepath.Join(p.source.dir, b.Path)
	f, err := openRegular(root, b.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, fmt.Errorf("%s vanished while it was being deployed; deploy again: %w", name, ErrChanged)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %s", name, reason(err, false))
	}
	return &verifier{file: f, name: name, blob: b, sum: sha256.New()}, b.Size, nil
}

// verifier reads a file and answers io.EOF only if it was what the blob says.
type verifier struct {
	file *os.File
	name string
	blob Blob
	sum  hash.Hash
	size int64
}

// Read reads the file; see [Package.Open].
func (v *verifier) Read(p []byte) (int, error) {
	n, err := v.file.Read(p)
	v.sum.Write(p[:n])
	v.size += int64(n)
	ended := errors.Is(err, io.EOF)
	if v.size > v.blob.Size || ended && modules.Digest(v.sum.Sum(nil)) != v.blob.Digest {
		return 0, fmt.Errorf("%s changed while it was being deployed; deploy again: %w", v.name, ErrChanged)
	}
	if err != nil && !ended {
		return n, fmt.Errorf("%s: %s", v.name, reason(err, false))
	}
	return n, err
}

// Close closes the file.
func (v *verifier) Close() error { return v.file.Close() }
