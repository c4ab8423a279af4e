package modules

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"
)

var (
	// ErrNotFound means that the store has no such blob. It matches [fs.ErrNotExist] too.
	ErrNotFound = fmt.Errorf("modules: no such blob: %w", fs.ErrNotExist)
	// ErrCorrupt means that a blob's bytes do not match its digest. The blob has been set
	// aside: the store no longer has it, the next upload heals it.
	ErrCorrupt = errors.New("modules: blob is corrupt")
	// ErrDigest means that the bytes written are not those that were announced.
	ErrDigest = errors.New("modules: bytes do not match the digest")
	// ErrTooLarge means that a blob is larger than the reader's limit.
	ErrTooLarge = errors.New("modules: blob is too large")
	// ErrClosed means that the writer or the directory is closed.
	ErrClosed = errors.New("modules: closed")
)

const (
	blobsName   = "sha256"
	tmpName     = "tmp"
	corruptName = "corrupt"
)

// touchAfter is the age from which [Dir.Use] renews a blob's time. A deploy asks for all
// blobs of its release: those that the last one asked for are not written to again.
const touchAfter = time.Hour

// Dir is a store in a local directory. All methods may be called concurrently,
// also by several processes on one directory, except that [Dir.Collect] and
// [Dir.Has] only know of each other within a process.
type Dir struct {
	root    string
	base    string // of the blobs' paths
	session *session
	journal journal

	// mu orders the moves of files: a commit or a look-up (shared) against a
	// removal or a setting aside (exclusive), so that neither removes what the
	// other has just promised. The operations under it are single system calls.
	mu sync.RWMutex

	dirty dirtyState
}

// OpenDir opens the store at path and creates it, with mode 0700, if there is
// none. It removes what uploads of dead processes left behind, and verifies the
// blobs that such a process had not made durable. The caller closes the Dir.
func OpenDir(path string) (*Dir, error) {
	root, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open blob store %q: %w", path, err)
	}
	for _, name := range []string{blobsName, tmpName, corruptName} {
		if err := os.MkdirAll(filepath.Join(root, name), 0o700); err != nil {
			return nil, fmt.Errorf("open blob store: %w", err)
		}
	}
	d := &Dir{root: root, base: filepath.Join(root, blobsName) + string(filepath.Separator)}
	d.journal.d = d
	d.makeFolders()
	if err := d.recoverSessions(); err != nil {
		return nil, fmt.Errorf("open blob store %q: %w", path, err)
	}
	if d.session, err = newSession(filepath.Join(root, tmpName)); err != nil {
		return nil, fmt.Errorf("open blob store %q: %w", path, err)
	}
	return d, nil
}

// makeFolders makes the folders of blobs beforehand, so that to put one does not have to,
// nor to make its folder durable. What fails here, as on a full disk, is for who needs it.
func (d *Dir) makeFolders() {
	base := filepath.Join(d.root, blobsName)
	var there [len(d.dirty.folders)]bool
	for i := range there {
		err := os.Mkdir(filepath.Join(base, fmt.Sprintf("%02x", i)), 0o700)
		there[i] = err == nil || errors.Is(err, fs.ErrExist)
	}
	if syncPath(base) == nil {
		d.dirty.folders = there
	}
}

// Close makes durable what was committed and ends the session. Writers still open
// fail from then on. It is idempotent.
func (d *Dir) Close() error {
	if d.session.closed() {
		return nil
	}
	err := d.journal.close()
	return errors.Join(err, d.Sync(), d.session.close(err != nil))
}

func (d *Dir) path(digest Digest) string {
	hex := digest.Hex()
	return d.base + hex[:2] + string(filepath.Separator) + hex[2:]
}

// Use returns the blob's size in bytes, and renews its time if that is more than an hour
// ago, so that a [Dir.Collect] of older blobs leaves it alone while the caller builds on
// the answer. It returns [ErrNotFound] if there is no such blob.
func (d *Dir) Use(digest Digest) (size int64, err error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	path := d.path(digest)
	info, err := os.Stat(path)
	if err != nil {
		return 0, blobError("stat", digest, err)
	}
	now := time.Now()
	if now.Sub(info.ModTime()) < touchAfter {
		return info.Size(), nil
	}
	if err := os.Chtimes(path, now, now); errors.Is(err, fs.ErrNotExist) {
		return 0, blobError("use", digest, err)
	}
	return info.Size(), nil // on a read-only disk nothing is collected either
}

// Has reports whether the store has the blob, and renews its time as [Dir.Use] does. An
// unreadable store reports false.
func (d *Dir) Has(digest Digest) bool {
	_, err := d.Use(digest)
	return err == nil
}

// Size returns the blob's size in bytes, or [ErrNotFound].
func (d *Dir) Size(digest Digest) (int64, error) {
	info, err := os.Stat(d.path(digest))
	if err != nil {
		return 0, blobError("stat", digest, err)
	}
	return info.Size(), nil
}

// Open opens the blob for streaming, or returns [ErrNotFound]. The bytes are not
// verified: call [Dir.Verify] once before relying on a blob, or use [Dir.Read].
// The caller closes the file; it stays readable if the blob is collected meanwhile.
func (d *Dir) Open(digest Digest) (*os.File, error) {
	f, err := os.Open(d.path(digest))
	if err != nil {
		return nil, blobError("open", digest, err)
	}
	return f, nil
}

// Read returns the blob's bytes, verified. It returns [ErrNotFound],
// [ErrTooLarge] if there are more than limit bytes, or [ErrCorrupt].
func (d *Dir) Read(digest Digest, limit int64) ([]byte, error) {
	f, err := d.Open(digest)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // opened for reading
	info, err := f.Stat()
	if err != nil {
		return nil, blobError("read", digest, err)
	}
	if info.Size() > limit {
		return nil, fmt.Errorf("read blob %s of %d bytes, limit %d: %w", digest, info.Size(), limit, ErrTooLarge)
	}
	b := make([]byte, info.Size())
	if _, err := io.ReadFull(f, b); err != nil {
		return nil, blobError("read", digest, err)
	}
	if Sum(b) != digest {
		return nil, d.setAside(digest, f)
	}
	return b, nil
}

// Verify reads the whole blob and compares it with its digest. It returns
// [ErrNotFound] or [ErrCorrupt].
func (d *Dir) Verify(digest Digest) error {
	f, err := d.Open(digest)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // opened for reading
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return blobError("verify", digest, err)
	}
	if Digest(h.Sum(nil)) != digest {
		return d.setAside(digest, f)
	}
	return nil
}

// setAside moves the blob, whose bytes were read from f and are wrong, out of the
// way, unless an upload has replaced it meanwhile.
func (d *Dir) setAside(digest Digest, f *os.File) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	read, err := f.Stat()
	if err != nil {
		return errors.Join(fmt.Errorf("%w: %s", ErrCorrupt, digest), err)
	}
	if now, err := os.Stat(d.path(digest)); err == nil && os.SameFile(read, now) {
		if err := os.Rename(d.path(digest), filepath.Join(d.root, corruptName, digest.Hex())); err != nil {
			return errors.Join(fmt.Errorf("%w: %s", ErrCorrupt, digest), fmt.Errorf("set it aside: %w", err))
		}
	}
	return fmt.Errorf("%w: %s", ErrCorrupt, digest)
}

// walk calls visit for each blob, in order of the digests.
func (d *Dir) walk(visit func(Digest, fs.FileInfo) error) error {
	base := filepath.Join(d.root, blobsName)
	fans, err := os.ReadDir(base)
	if err != nil {
		return fmt.Errorf("list blobs: %w", err)
	}
	for _, fan := range fans {
		blobs, err := os.ReadDir(filepath.Join(base, fan.Name()))
		if err != nil {
			return fmt.Errorf("list blobs: %w", err)
		}
		for _, blob := range blobs {
			digest, err := ParseDigest(digestPrefix + fan.Name() + blob.Name())
			if err != nil {
				continue // not ours
			}
			info, err := blob.Info()
			if errors.Is(err, fs.ErrNotExist) {
				continue // removed since
			}
			if err != nil {
				return blobError("stat", digest, err)
			}
			if err := visit(digest, info); err != nil {
				return err
			}
		}
	}
	return nil
}

func blobError(verb string, digest Digest, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s blob %s: %w", verb, digest, ErrNotFound)
	}
	return fmt.Errorf("%s blob %s: %w", verb, digest, err)
}
