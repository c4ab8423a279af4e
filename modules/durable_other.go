//go:build !linux

package modules

import (
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
)

const haveSyncfs = false

// syncBlobs syncs each blob and each folder that holds one.
func syncBlobs(root string, paths []string) error {
	folders := map[string]bool{filepath.Join(root, blobsName): true}
	for _, path := range paths {
		if err := syncPath(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		folders[filepath.Dir(path)] = true
	}
	for folder := range folders {
		if err := syncPath(folder); err != nil {
			return err
		}
	}
	return nil
}

// syncData writes back a file's data.
func syncData(f *os.File) error { return f.Sync() }

// freeBytes is not asked for: blobs say themselves that there is no room for them, later.
func freeBytes(string) (uint64, error) { return math.MaxUint64, nil }
