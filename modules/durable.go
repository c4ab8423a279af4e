package modules

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// markerName is the file in a session's folder that says "blobs written since my
// time may not be durable".
const markerName = "unsynced"

// markerSlack covers file systems and kernels with coarse timestamps.
const markerSlack = 2 * time.Second

// dirtyState tracks what a power failure could damage.
type dirtyState struct {
	mu      sync.Mutex // guards what follows
	marked  bool       // the marker is on disk, durably
	writers int        // open writers
	commits uint64     // blobs committed in this session
	paths   []string   // committed since the last Sync; only where the system has no syncfs
	folders [256]bool  // of blobs, by the first byte of the digest, that are durable themselves
}

// beginWrite counts a writer, and makes the marker durable before the first one
// after a Sync, so that each blob's time is later than the marker's.
func (d *Dir) beginWrite() error {
	s := &d.dirty
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.marked {
		if err := writeMarker(d.session.path); err != nil {
			return err
		}
		s.marked = true
	}
	s.writers++
	return nil
}

// endWrite counts a writer out; path is the blob that it committed, if it did.
func (d *Dir) endWrite(path string) {
	s := &d.dirty
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writers--
	if path == "" {
		return
	}
	s.commits++
	if !haveSyncfs {
		s.paths = append(s.paths, path)
	}
}

// PutDurable is [Dir.Put] for a single blob that shall survive a power failure when it
// returns. It costs one write to the disk if the blob is small, where Put and Sync take a
// marker and everything that the disk has to write.
func (d *Dir) PutDurable(b []byte) (Digest, error) {
	p, err := d.Begin(b)
	if err != nil {
		return Digest{}, err
	}
	written := make(chan error, 1)
	go func() { written <- p.Write() }()
	return p.digest, errors.Join(p.Sync(), <-written)
}

// Pending is a blob that is being put in steps, by one goroutine or several.
type Pending struct {
	d      *Dir
	digest Digest
	b      []byte
	place  func() error // writes the blob to its place, once

	file *journalFile // nil: the journal does not have it
	end  int64        // where in it
}

// Begin begins to put a blob, which the caller does not change any more. When it returns,
// the blob survives the end of the process: the next [OpenDir] has it. The caller calls
// [Pending.Write], in any case and soon, for the journal's place is not free before, and
// [Pending.Sync] if the blob shall survive a power failure.
func (d *Dir) Begin(b []byte) (*Pending, error) {
	p := &Pending{d: d, digest: Sum(b), b: b}
	p.place = sync.OnceValue(p.write)
	if d.session.closed() {
		return nil, fmt.Errorf("store blob: %w", ErrClosed)
	}
	var err error
	if len(b) <= journalMost && d.roomy() {
		p.file, p.end, err = d.journal.write(p.digest, b)
	}
	if p.file == nil || err != nil { // it goes to its place at once
		p.file = nil
		if err := p.place(); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// roomy reports whether there is room for a small blob: the journal has its place even on
// a full disk, where who puts the blob has to hear that it cannot be kept.
func (d *Dir) roomy() bool {
	free, err := freeBytes(d.root)
	return err == nil && free > 2*journalBytes
}

// Write writes the blob to its place, from where the store's other methods have it.
func (p *Pending) Write() error { return p.place() }

func (p *Pending) write() error {
	if p.file != nil {
		defer p.file.pending.Done()
	}
	if _, err := p.d.Read(p.digest, int64(len(p.b))); err == nil && p.d.Has(p.digest) {
		return nil
	}
	f, err := p.d.session.create()
	if err != nil {
		return fmt.Errorf("store blob: %w", err)
	}
	_, err = f.Write(p.b)
	if err = errors.Join(err, f.Close()); err == nil {
		err = p.d.publish(f.Name(), p.digest)
	}
	if err != nil {
		os.Remove(f.Name()) //nolint:errcheck,gosec // at worst the next OpenDir does it
		return fmt.Errorf("store blob %s: %w", p.digest, err)
	}
	return nil
}

// Sync makes the blob durable.
func (p *Pending) Sync() error {
	if p.file != nil && p.file.settle(p.end) == nil {
		return nil
	}
	err := p.place()
	if err == nil {
		err = p.d.settle(p.digest)
	}
	if err != nil {
		return fmt.Errorf("store blob %s: %w", p.digest, err)
	}
	return nil
}

// settle makes durable a blob and, meanwhile, what leads to it: the disk writes both at
// once.
func (d *Dir) settle(digest Digest) error {
	way := make(chan error, 1)
	go func() { way <- d.syncWay(digest) }()
	return errors.Join(syncPath(d.path(digest)), <-way)
}

// syncWay makes durable that a blob is in its folder, and, once in the life of d, that
// the folder is there.
func (d *Dir) syncWay(digest Digest) error {
	folder := filepath.Dir(d.path(digest))
	if err := syncPath(folder); err != nil {
		return fmt.Errorf("sync blob store: %w", err)
	}
	s := &d.dirty
	s.mu.Lock()
	known := s.folders[digest[0]]
	s.mu.Unlock()
	if known {
		return nil
	}
	if err := syncPath(filepath.Dir(folder)); err != nil {
		return fmt.Errorf("sync blob store: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.folders[digest[0]] = true
	return nil
}

// Sync makes everything that was committed before the call durable: one syncfs
// where the system has it (Linux), else an fsync of each blob committed since the
// last Sync. Call it once at the end of an upload.
func (d *Dir) Sync() error {
	s := &d.dirty
	s.mu.Lock()
	marked, commits, paths := s.marked, s.commits, s.paths
	s.paths = nil
	s.mu.Unlock()
	if !marked {
		return nil
	}
	if err := syncBlobs(d.root, paths); err != nil {
		s.mu.Lock()
		s.paths = append(s.paths, paths...)
		s.mu.Unlock()
		return fmt.Errorf("sync blob store: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.writers > 0 || s.commits != commits {
		return nil // the marker stays, for them
	}
	s.marked = false
	err := os.Remove(filepath.Join(d.session.path, markerName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("sync blob store: %w", err)
	}
	return nil
}

func writeMarker(session string) error {
	f, err := os.OpenFile(filepath.Join(session, markerName), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	// The session's folder is as new as the marker.
	return errors.Join(syncPath(session), syncPath(filepath.Dir(session)))
}

func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// recoverSessions removes what dead processes left in tmp, after verifying what
// they had not made durable.
func (d *Dir) recoverSessions() error {
	dead, err := deadSessions(filepath.Join(d.root, tmpName))
	if err != nil {
		return err
	}
	var since time.Time
	for _, s := range dead {
		defer s.lock.Close() //nolint:errcheck // nothing was written
		if at := s.unsynced; !at.IsZero() && (since.IsZero() || at.Before(since)) {
			since = at
		}
	}
	if !since.IsZero() {
		if err := d.verifySince(since); err != nil {
			return err
		}
	}
	var journaled []string
	for _, s := range dead {
		paths, err := d.replay(s.path)
		if err != nil {
			return nil // as on a full disk: the next OpenDir tries again, and others have the blob
		}
		journaled = append(journaled, paths...)
	}
	if len(journaled) > 0 {
		if err := syncBlobs(d.root, journaled); err != nil {
			return fmt.Errorf("sync blob store: %w", err)
		}
	}
	var errs []error
	for _, s := range dead {
		errs = append(errs, s.remove())
	}
	return errors.Join(errs...)
}

// verifySince verifies the blobs that were written at or after since, and sets
// aside those that a power failure damaged.
func (d *Dir) verifySince(since time.Time) error {
	since = since.Add(-markerSlack)
	return d.walk(func(digest Digest, info fs.FileInfo) error {
		if info.ModTime().Before(since) {
			return nil
		}
		err := d.Verify(digest)
		if errors.Is(err, ErrCorrupt) || errors.Is(err, ErrNotFound) {
			return nil // set aside: the next deploy that needs it uploads it
		}
		return err
	})
}
