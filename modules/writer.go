package modules

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Writer takes one blob. Its methods are for one goroutine. It ends with
// [Writer.Commit] or [Writer.Abort]; after a failed Write nothing is left on disk.
type Writer struct {
	dir  *Dir
	file *os.File
	hash hash.Hash
	size int64
	err  error // why the writer ended; nil while it is open
}

var _ io.Writer = (*Writer)(nil)

// Create starts a blob. The caller commits or aborts it.
func (d *Dir) Create() (*Writer, error) {
	if d.session.closed() {
		return nil, fmt.Errorf("create blob: %w", ErrClosed)
	}
	if err := d.beginWrite(); err != nil {
		return nil, fmt.Errorf("create blob: %w", err)
	}
	f, err := d.session.create()
	if err != nil {
		d.endWrite("")
		return nil, fmt.Errorf("create blob: %w", err)
	}
	return &Writer{dir: d, file: f, hash: sha256.New()}, nil
}

// Write appends b. An error, which wraps [syscall.ENOSPC] if the disk is full,
// ends the writer and removes what was written.
func (w *Writer) Write(b []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	n, err := w.file.Write(b)
	w.hash.Write(b[:n])
	w.size += int64(n)
	if err != nil {
		w.discard(fmt.Errorf("write blob: %w", err))
		return n, w.err
	}
	return n, nil
}

// Sum returns the digest of what was written so far.
func (w *Writer) Sum() Digest { return Digest(w.hash.Sum(nil)) }

// Commit makes the blob visible under the digest of its bytes and returns its
// size. If want is not zero and the bytes differ it returns [ErrDigest] and keeps
// nothing. Commits of one digest may race: either one's bytes are kept. The blob
// survives a crash of the process from now on, a power failure after [Dir.Sync].
func (w *Writer) Commit(want Digest) (int64, error) {
	if w.err != nil {
		return 0, w.err
	}
	got := w.Sum()
	if !want.IsZero() && got != want {
		w.discard(fmt.Errorf("commit blob: %w: announced %s, received %d bytes of %s", ErrDigest, want, w.size, got))
		return 0, w.err
	}
	err := w.file.Close()
	if err == nil {
		err = w.dir.publish(w.file.Name(), got)
	}
	if err != nil {
		w.discard(fmt.Errorf("commit blob %s: %w", got, err))
		return 0, w.err
	}
	w.err = ErrClosed
	w.dir.endWrite(w.dir.path(got))
	return w.size, nil
}

// Abort drops the blob. After a commit, or a second time, it does nothing.
func (w *Writer) Abort() {
	if w.err == nil {
		w.discard(ErrClosed)
	}
}

func (w *Writer) discard(why error) {
	w.err = why
	w.file.Close()           //nolint:errcheck,gosec // nobody will read it
	os.Remove(w.file.Name()) //nolint:errcheck,gosec // at worst the next OpenDir does it
	w.dir.endWrite("")
}

// publish moves a complete temporary file to its place.
func (d *Dir) publish(tmp string, digest Digest) error {
	d.mu.RLock()
	defer d.mu.RUnlock()
	path := d.path(digest)
	err := os.Rename(tmp, path)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return os.Rename(tmp, path)
}

// Put stores b and returns its digest. Bytes that the store has already are not
// written again.
func (d *Dir) Put(b []byte) (Digest, error) {
	digest := Sum(b)
	if size, err := d.Use(digest); err == nil && size == int64(len(b)) {
		return digest, nil
	}
	w, err := d.Create()
	if err != nil {
		return Digest{}, err
	}
	defer w.Abort()
	if _, err := io.Copy(w, bytes.NewReader(b)); err != nil {
		return Digest{}, err
	}
	if _, err := w.Commit(digest); err != nil {
		return Digest{}, err
	}
	return digest, nil
}
