package app

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"syscall"

	"github.com/orla-edge/orla/modules"
	"github.com/orla-edge/orla/site"
)

// headSize is how much of a file its media type may be told from.
const headSize = 512

// hashed is what reading a file told.
type hashed struct {
	digest    modules.Digest
	mediaType string
	head      []byte // of a module: the first headSize bytes or fewer
}

// hasher reads all inputs, several at a time.
type hasher struct {
	root     *os.Root
	dir      string
	progress func(done, total int64, path string)

	mu       sync.Mutex // guards what follows, and the calls of progress
	done     int64
	total    int64
	problems Problems
}

// run hashes the inputs. The error is that of ctx.
func (h *hasher) run(ctx context.Context, inputs []*input) error {
	for _, in := range inputs {
		h.total += in.size
	}
	work := make(chan *input)
	var workers sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(inputs)) {
		workers.Go(func() {
			buf := make([]byte, 128<<10)
			for in := range work {
				h.report(in, h.hash(ctx, in, buf))
			}
		})
	}
	err := feed(ctx, work, inputs)
	workers.Wait()
	return errors.Join(err, ctx.Err())
}

func feed(ctx context.Context, work chan<- *input, inputs []*input) error {
	defer close(work)
	for _, in := range inputs {
		select {
		case work <- in:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (h *hasher) report(in *input, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.done += in.size
	if err != nil {
		h.problems = append(h.problems, Problem{File: shown(filepath.Join(h.dir, in.path)), Field: in.field, Message: reason(err, false)})
	}
	if h.progress != nil {
		h.progress(h.done, h.total, in.path)
	}
}

// hash reads one file. What changes between here and the upload is found there.
func (h *hasher) hash(ctx context.Context, in *input, buf []byte) error {
	f, err := openRegular(h.root, in.path)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // only read
	sum := sha256.New()
	var size int64
	var head []byte
	for {
		n, err := f.Read(buf)
		if size == 0 {
			head = slices.Clone(buf[:min(n, headSize)])
		}
		sum.Write(buf[:n])
		size += int64(n)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	if size != in.size {
		return errChanged
	}
	in.digest = modules.Digest(sum.Sum(nil))
	if in.name == "" {
		in.head = head
	} else {
		in.mediaType = site.MediaType(in.name, head)
	}
	return nil
}

var errChanged = errors.New("it was written to while it was being packed; wait until that is done, then deploy again")

// openRegular opens a regular file, and does not wait on a pipe that took its
// place.
func openRegular(root *os.Root, path string) (*os.File, error) {
	f, err := root.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("it became %s", typeName(info.Mode()))
	}
	if err != nil {
		f.Close() //nolint:errcheck // only read
		return nil, err
	}
	return f, nil
}
