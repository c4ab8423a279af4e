package dev

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// quiet is how long nothing may happen before a change is looked at: editors and
	// version control write many files.
	quiet = 80 * time.Millisecond
	// longest is how long it is put off at most.
	longest = time.Second
)

// watcher says that something below a folder may have changed.
type watcher struct {
	dir     string
	notify  *fsnotify.Watcher
	changed chan struct{} // room for one: it means "look"
}

func newWatcher(dir string) (*watcher, error) {
	n, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", dir, err)
	}
	w := &watcher{dir: dir, notify: n, changed: make(chan struct{}, 1)}
	if err := w.add(dir); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return w, nil
}

// add watches a folder and all below it.
func (w *watcher) add(dir string) error {
	err := walk(dir, func(below string, d fs.DirEntry) error {
		if !d.IsDir() {
			return nil
		}
		err := w.notify.Add(filepath.Join(dir, filepath.FromSlash(below)))
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it has gone meanwhile
		}
		return err
	})
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EMFILE) {
		return fmt.Errorf("watch %s: this system watches no more folders; raise the limit (sysctl fs.inotify.max_user_watches): %w", dir, err)
	}
	if err != nil {
		return fmt.Errorf("watch %s: %w", dir, err)
	}
	return nil
}

// run passes events on until ctx ends, when they have been quiet for a moment.
func (w *watcher) run(ctx context.Context) error {
	defer w.notify.Close() //nolint:errcheck // nothing is lost
	var due <-chan time.Time
	var first time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case e := <-w.notify.Events:
			take, err := w.take(e)
			if err != nil {
				return err
			}
			if !take {
				continue
			}
		case err := <-w.notify.Errors:
			// Events are lost at times; looking finds out what has changed.
			if err != nil && !errors.Is(err, fsnotify.ErrEventOverflow) {
				return fmt.Errorf("watch %s: %w", w.dir, err)
			}
		case <-due:
			due = nil
			select {
			case w.changed <- struct{}{}:
			default: // somebody is about to look
			}
			continue
		}
		if due == nil {
			first = time.Now()
		}
		due = time.After(max(0, min(quiet, longest-time.Since(first))))
	}
}

// take reports whether an event matters, and watches folders that are new.
func (w *watcher) take(e fsnotify.Event) (bool, error) {
	if e.Op == fsnotify.Chmod || e.Name == "" {
		return false, nil
	}
	info, err := os.Lstat(e.Name)
	folder := err == nil && info.IsDir()
	if ignored(filepath.Dir(e.Name), filepath.Base(e.Name), folder) {
		return false, nil
	}
	if folder && e.Has(fsnotify.Create) {
		if err := w.add(e.Name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
	}
	return true, nil
}
