package modules

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
)

const (
	// journalPrefix is how the names of the journal's two files in a session's folder begin.
	journalPrefix = "journal-"
	// journalBytes is the size of each of them.
	journalBytes = 512 << 10
	// journalMost is the size in bytes up to which a blob goes into the journal.
	journalMost = 64 << 10
	// A record is the blob's digest, its length (4 bytes, big-endian) and the blob.
	recordHeader = len(Digest{}) + 4
)

// journal makes small blobs durable by a second copy, in a file that has its place on the
// disk beforehand: to sync that is one write. To sync a blob's own new file, and the folder
// that it is in, has the file system commit all metadata that anybody has changed.
//
// There are two files, in turns. When one is full, everything is synced in the background
// before it is written anew. What a process that ends leaves in them, the next OpenDir
// looks through.
type journal struct {
	d *Dir

	mu      sync.Mutex // guards what follows
	files   [2]*journalFile
	turn    int  // the one that is written
	used    bool // there are records
	closed  bool
	freeing sync.WaitGroup // syncs what the other one has
	unfree  error          // why the other one may not be overwritten; while freeing runs, its
}

// journalFile is one of the files. Records that come while the disk is busy share the
// next sync.
type journalFile struct {
	file    *os.File
	end     atomic.Int64   // of the last record; grows under the journal's mu
	pending sync.WaitGroup // blobs in it that are not in their place yet
	paths   []string       // of the blobs in it, only where the system has no syncfs; guarded likewise

	sync   sync.Mutex // guards what follows, and is held while the file is synced
	synced int64      // up to where
	broken error      // of a sync: nobody knows what is on the disk
}

// write writes a record, and returns where it ends. The blob has to be written to its place
// and then counted out of the file's pending ones.
func (j *journal) write(digest Digest, b []byte) (f *journalFile, end int64, err error) {
	record := append(digest.record(len(b)), b...)
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return nil, 0, ErrClosed
	}
	if f, err = j.current(int64(len(record))); err != nil {
		return nil, 0, err
	}
	if _, err := f.file.WriteAt(record, f.end.Load()); err != nil {
		return nil, 0, err
	}
	if !haveSyncfs {
		f.paths = append(f.paths, j.d.path(digest))
	}
	j.used = true
	f.pending.Add(1)
	return f, f.end.Add(int64(len(record))), nil
}

// record begins a record of so many bytes.
func (d Digest) record(size int) []byte {
	b := append(make([]byte, 0, recordHeader+min(size, journalMost)), d[:]...)
	return binary.BigEndian.AppendUint32(b, uint32(size)) //nolint:gosec // at most journalMost
}

// current returns the file that has room for so many bytes. It is called with mu.
func (j *journal) current(size int64) (*journalFile, error) {
	f := j.files[j.turn]
	if f != nil && f.end.Load()+size > journalBytes {
		j.freeing.Wait()
		other := j.files[1-j.turn]
		if j.unfree != nil {
			if j.unfree = syncBlobs(j.d.root, other.paths); j.unfree != nil {
				return nil, j.unfree
			}
		}
		full := f
		j.freeing.Go(func() {
			full.pending.Wait()
			j.unfree = syncBlobs(j.d.root, full.paths)
		})
		if f = other; f != nil {
			f.rewind()
		}
		j.turn = 1 - j.turn
	}
	if f == nil {
		var err error
		if f, err = newJournalFile(filepath.Join(j.d.session.path, journalPrefix+strconv.Itoa(j.turn))); err != nil {
			return nil, err
		}
		j.files[j.turn] = f
	}
	return f, nil
}

// newJournalFile makes a file that has its place on the disk.
func newJournalFile(path string) (*journalFile, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	_, err = file.Write(make([]byte, journalBytes))
	if err == nil {
		folder := filepath.Dir(path) // it may be as new
		err = errors.Join(file.Sync(), syncPath(folder), syncPath(filepath.Dir(folder)))
	}
	if err != nil {
		os.Remove(path) //nolint:errcheck,gosec // it holds nothing
		return nil, errors.Join(err, file.Close())
	}
	return &journalFile{file: file}, nil
}

// rewind has the file written from its beginning. What is left of the records that it had
// ends what [Dir.replay] reads, or is of a blob that the store had.
func (f *journalFile) rewind() {
	f.sync.Lock()
	defer f.sync.Unlock()
	f.synced, f.paths = 0, nil
	f.end.Store(0)
}

// settle returns when all up to an offset is on the disk.
func (f *journalFile) settle(end int64) error {
	f.sync.Lock()
	defer f.sync.Unlock()
	if f.broken != nil || f.synced >= end {
		return f.broken
	}
	upTo := f.end.Load()
	if f.broken = syncData(f.file); f.broken == nil {
		f.synced = upTo
	}
	return f.broken
}

// close is for when no more records come. Who syncs one from now on is told so.
func (f *journalFile) close() error {
	f.sync.Lock()
	defer f.sync.Unlock()
	f.broken = ErrClosed
	return f.file.Close()
}

// close makes durable, where they belong, all blobs that the journal has. After an error
// the files are still needed.
func (j *journal) close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.closed = true
	j.freeing.Wait()
	var errs []error
	var paths []string
	for i, f := range j.files {
		if f != nil {
			f.pending.Wait()
			errs, paths = append(errs, f.close()), append(paths, f.paths...)
			j.files[i] = nil
		}
	}
	if j.used {
		errs = append(errs, syncBlobs(j.d.root, paths))
	}
	return errors.Join(errs...)
}

// replay writes the blobs anew that the journal of a dead process has and the store has
// not, or not as they were. It returns where all blobs of the journal are, which are not
// durable there yet.
func (d *Dir) replay(session string) (paths []string, err error) {
	for i := range len(journal{}.files) {
		b, err := os.ReadFile(filepath.Join(session, journalPrefix+strconv.Itoa(i)))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("read the journal of an ended process: %w", err)
		}
		for {
			digest, blob, rest := nextRecord(b)
			if rest == nil {
				break
			}
			b = rest
			if _, err := d.Read(digest, journalMost); err != nil {
				if err := d.restore(session, digest, blob); err != nil {
					return nil, err
				}
			}
			paths = append(paths, d.path(digest))
		}
	}
	return paths, nil
}

// nextRecord returns the first record in b, and what follows; nil if there is none.
func nextRecord(b []byte) (digest Digest, blob, rest []byte) {
	if len(b) < recordHeader {
		return digest, nil, nil
	}
	digest = Digest(b[:len(digest)])
	size := int(binary.BigEndian.Uint32(b[len(digest):]))
	b = b[recordHeader:]
	if size > min(len(b), journalMost) || Sum(b[:size]) != digest {
		return digest, nil, nil
	}
	return digest, b[:size], b[size:]
}

func (d *Dir) restore(session string, digest Digest, blob []byte) error {
	file := filepath.Join(session, "restored")
	err := os.WriteFile(file, blob, 0o400)
	if err == nil {
		err = d.publish(file, digest)
	}
	if err != nil {
		os.Remove(file) //nolint:errcheck,gosec // the next OpenDir removes it, too
		return fmt.Errorf("restore blob %s from the journal of an ended process: %w", digest, err)
	}
	return nil
}
