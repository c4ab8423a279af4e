package modules

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// session is the folder in tmp/ that one open Dir uploads into, with a lock file
// beside it that is locked as long as the process lives.
type session struct {
	path    string
	created atomic.Uint64 // files

	mu   sync.Mutex // guards lock
	lock *os.File   // nil: closed
}

const lockSuffix = ".lock"

func newSession(tmp string) (*session, error) {
	for {
		f, err := os.CreateTemp(tmp, "*"+lockSuffix)
		if err != nil {
			return nil, err
		}
		// Another process that opens the store may have taken the fresh file for a
		// dead one's; then it is locked, or gone: take another.
		if ok, err := tryLock(f); err != nil || !ok || !stillThere(f) {
			f.Close() //nolint:errcheck,gosec // nothing was written
			if err != nil {
				return nil, err
			}
			continue
		}
		path := strings.TrimSuffix(f.Name(), lockSuffix)
		if err := os.Mkdir(path, 0o700); err != nil {
			f.Close() //nolint:errcheck,gosec // nothing was written
			return nil, err
		}
		return &session{path: path, lock: f}, nil
	}
}

// create creates an empty file, which nobody else will write to.
func (s *session) create() (*os.File, error) {
	name := "blob-" + strconv.FormatUint(s.created.Add(1), 10)
	return os.OpenFile(filepath.Join(s.path, name), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o400)
}

func stillThere(f *os.File) bool {
	mine, err := f.Stat()
	if err != nil {
		return false
	}
	now, err := os.Stat(f.Name())
	return err == nil && os.SameFile(mine, now)
}

func (s *session) closed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lock == nil
}

// close removes the session's folder, unless it is to be kept, and gives up the lock. If
// the last Sync failed the marker is kept for the next OpenDir.
func (s *session) close(keep bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lock == nil {
		return nil
	}
	name := s.lock.Name()
	_, err := os.Stat(filepath.Join(s.path, markerName))
	keep = keep || err == nil
	err = nil
	if !keep {
		err = errors.Join(os.RemoveAll(s.path), os.Remove(name))
	}
	err = errors.Join(err, s.lock.Close())
	s.lock = nil
	return err
}

// deadSession is a session whose process is gone; its lock is ours now.
type deadSession struct {
	path     string
	lock     *os.File
	unsynced time.Time // since when it wrote blobs without a Sync; zero: it did not
}

// deadSessions locks the sessions that nobody holds. The caller closes the locks.
func deadSessions(tmp string) ([]deadSession, error) {
	entries, err := os.ReadDir(tmp)
	if err != nil {
		return nil, err
	}
	var dead []deadSession
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), lockSuffix) {
			continue
		}
		s, err := takeOver(filepath.Join(tmp, e.Name()))
		if err != nil {
			return dead, err
		}
		if s.lock != nil {
			dead = append(dead, s)
		}
	}
	return dead, nil
}

func takeOver(lockPath string) (deadSession, error) {
	f, err := os.OpenFile(lockPath, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return deadSession{}, nil
	}
	if err != nil {
		return deadSession{}, err
	}
	if ok, err := takeAbandoned(f); err != nil || !ok {
		return deadSession{}, errors.Join(err, f.Close())
	}
	s := deadSession{path: strings.TrimSuffix(lockPath, lockSuffix), lock: f}
	if info, err := os.Stat(filepath.Join(s.path, markerName)); err == nil {
		s.unsynced = info.ModTime()
	}
	return s, nil
}

// remove removes the session's files; the lock file goes last, so that a crash in
// between leaves the rest for the next time.
func (s deadSession) remove() error {
	if err := os.RemoveAll(s.path); err != nil {
		return fmt.Errorf("remove an abandoned upload: %w", err)
	}
	if err := os.Remove(s.lock.Name()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove an abandoned upload: %w", err)
	}
	return nil
}
