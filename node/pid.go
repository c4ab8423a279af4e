package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// pidFile is in the data directory and tells which process serves. That process
// holds a lock on it, so that a note which outlived its process is known for one.
const pidFile = "orla.pid"

// ErrNotRunning means that no node serves from the data directory.
var ErrNotRunning = errors.New("no node is running")

// writePid notes that this process serves, and returns the locked note.
func writePid(dir string) (_ *os.File, err error) {
	f, err := os.CreateTemp(dir, "."+pidFile+"-")
	if err != nil {
		return nil, fmt.Errorf("write process number: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("write process number: %w", err), f.Close(), os.Remove(f.Name()))
		}
	}()
	if _, err := lockNote(f); err != nil {
		return nil, err
	}
	if _, err := fmt.Fprintln(f, os.Getpid()); err != nil {
		return nil, err
	}
	if err := f.Chmod(0o644); err != nil {
		return nil, err
	}
	return f, os.Rename(f.Name(), filepath.Join(dir, pidFile))
}

// removePid removes the note, unless a successor has put its own there, and
// unlocks it.
func removePid(dir string, note *os.File) error {
	path := filepath.Join(dir, pidFile)
	own, err := note.Stat()
	now, gone := os.Stat(path)
	if err == nil && gone == nil && os.SameFile(own, now) {
		err = os.Remove(path)
	}
	return errors.Join(err, note.Close())
}

// runningPid returns the process that serves.
func runningPid(dir string) (int, error) {
	path := filepath.Join(dir, pidFile)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("%w on %s, or it has just been started", ErrNotRunning, dir)
	}
	if err != nil {
		return 0, fmt.Errorf("find the node's process: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read
	stale, err := lockNote(f)
	if err != nil {
		return 0, fmt.Errorf("find the node's process: %w", err)
	}
	if stale {
		return 0, fmt.Errorf("%w on %s", ErrNotRunning, dir)
	}
	b := make([]byte, 32)
	n, err := f.ReadAt(b, 0)
	if n == 0 {
		return 0, fmt.Errorf("find the node's process: %w", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b[:n])))
	if err != nil || pid <= 0 {
		return 0, fmt.Errorf("find the node's process: %s has %q, not a number", path, b[:n])
	}
	return pid, nil
}
