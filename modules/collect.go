package modules

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Collect removes the blobs that keep does not claim and whose time, set by their
// upload and renewed by [Dir.Use], is before the given one. It returns how many
// it removed and their size in bytes. Choose a time further back than an hour and the
// longest deploy: what was uploaded for it, or found, is not yet claimed. A blob that
// cannot be removed does not keep Collect from the others.
func (d *Dir) Collect(keep func(Digest) bool, before time.Time) (n int, freed int64, err error) {
	var errs []error
	walked := d.walk(func(digest Digest, info fs.FileInfo) error {
		if !info.ModTime().Before(before) || keep(digest) {
			return nil
		}
		removed, err := d.removeOlder(d.path(digest), before)
		if err != nil {
			errs = append(errs, blobError("remove", digest, err))
		}
		if removed {
			n++
			freed += info.Size()
		}
		return nil
	})
	errs = append(errs, walked, d.collectCorrupt(before))
	if err := errors.Join(errs...); err != nil {
		return n, freed, fmt.Errorf("collect blobs: %w", err)
	}
	return n, freed, nil
}

// removeOlder removes the file unless its time was renewed since it was listed.
func (d *Dir) removeOlder(path string, before time.Time) (bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if !info.ModTime().Before(before) {
		return false, nil
	}
	err = os.Remove(path)
	return err == nil, err
}

func (d *Dir) collectCorrupt(before time.Time) error {
	base := filepath.Join(d.root, corruptName)
	entries, err := os.ReadDir(base)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		_, err := d.removeOlder(filepath.Join(base, e.Name()), before)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
