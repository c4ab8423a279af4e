package peer

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"

	"golang.org/x/sync/errgroup"

	"github.com/orla-edge/orla/modules"
)

// absent is the length in a frame that stands for a blob which the node lacks.
const absent = ^uint64(0)

const (
	// smallSize is the size in bytes up to which blobs travel in batches: the time
	// between two requests matters more for them than that a broken transfer of one
	// begins anew.
	smallSize = 256 << 10
	// batchCount and batchSize end a batch: several go at a time, and one that
	// breaks should not take much with it.
	batchCount = 500
	batchSize  = 8 << 20
	// storeParallel is how many of a batch that no peer has are fetched at a time:
	// stores know no batches, and their answers are slow.
	storeParallel = 4
)

// batch answers with a frame for each digest of the list.
func (h *handler) batch(w http.ResponseWriter, r *http.Request) {
	list, ok := h.list(w, r)
	if !ok {
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	out := bufio.NewWriterSize(h.pace(w), bufferSize)
	for _, digest := range list {
		if err := h.frame(out, digest); err != nil {
			return // the client counts the frames
		}
	}
	out.Flush() //nolint:errcheck,gosec // the client is gone
}

func (h *handler) frame(out *bufio.Writer, digest modules.Digest) error {
	var length [8]byte
	f, err := h.dir.Open(digest)
	if errors.Is(err, modules.ErrNotFound) {
		binary.BigEndian.PutUint64(length[:], absent)
		_, err = out.Write(length[:])
		return err
	}
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // opened for reading
	info, err := f.Stat()
	if err != nil {
		return err
	}
	binary.BigEndian.PutUint64(length[:], uint64(info.Size())) //nolint:gosec // sizes are not negative
	if _, err := out.Write(length[:]); err != nil {
		return err
	}
	_, err = io.CopyN(out, f, info.Size())
	return err
}

// item is a small blob and what sources said that did not give it.
type item struct {
	flight *flight
	said   []answer
}

// batches splits the flights into those that travel together, and alone.
func batches(own []*flight) (together [][]item, alone []*flight) {
	var items []item
	var size int64
	for _, fl := range own {
		if fl.want.size == unknown || fl.want.size > smallSize {
			alone = append(alone, fl)
			continue
		}
		if len(items) == batchCount || size+fl.want.size > batchSize {
			together = append(together, items)
			items, size = nil, 0
		}
		items = append(items, item{flight: fl})
		size += fl.want.size
	}
	if len(items) > 0 {
		together = append(together, items)
	}
	return together, alone
}

// fetchBatch gets the blobs from one peer after the other, each time what is still
// lacking, and at last those that are left one by one.
func (f *Fetcher) fetchBatch(ctx context.Context, c call, items []item) error {
	for range maxPasses {
		var busy bool
		var err error
		if items, busy, err = f.passBatch(ctx, c, items); err != nil {
			return err
		}
		if !busy {
			break
		}
		if err := pause(ctx, busyPause); err != nil { // asking for each of them would be worse
			return fmt.Errorf("fetch %d blobs: %w", len(items), err)
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(storeParallel)
	for _, it := range items {
		group.Go(func() error {
			return f.fly(ctx, it.flight, func() error { return f.fetchOne(ctx, c, it.flight.want, it.said) })
		})
	}
	return group.Wait()
}

// passBatch asks each peer once. It returns the blobs that none gave, and reports
// whether one of them is busy.
func (f *Fetcher) passBatch(ctx context.Context, c call, items []item) (rest []item, busy bool, err error) {
	for _, src := range f.sources(c) {
		if src.base == "" || len(items) < 2 {
			continue
		}
		items, err = f.takeBatch(ctx, c, src, items)
		if errors.Is(err, errBusy) {
			busy = true
		} else if err != nil {
			return items, false, err
		}
	}
	return items, busy && len(items) > 1, nil
}

// takeBatch gets the blobs that src has, ends their flights, and returns the
// others. The error is [errBusy] or ends the whole call.
func (f *Fetcher) takeBatch(ctx context.Context, c call, src source, items []item) (rest []item, err error) {
	parent := ctx
	ctx, watch := f.watch(ctx)
	defer watch.stop()
	digests := make([]modules.Digest, len(items))
	for i, it := range items {
		digests[i] = it.flight.want.digest
	}
	body, err := f.post(ctx, src.base, "/blobs/batch", digests)
	if errors.Is(err, errBusy) {
		return items, err
	}
	if err != nil {
		return f.broken(parent, src, items, watch.cause(err))
	}
	defer body.Close() //nolint:errcheck // read as far as it is wanted
	frames := bufio.NewReaderSize(watch.reader(body), bufferSize)
	right := true
	for i, it := range items {
		err := f.takeFrame(frames, it.flight.want)
		switch {
		case err == nil:
			c.progress.add(1, it.flight.want.size)
			f.flights.end(it.flight, nil)
		case errors.Is(err, modules.ErrNotFound):
			rest = append(rest, it.with(src, err))
		case errors.Is(err, modules.ErrDigest): // the next frame may be right
			err = fmt.Errorf("%w: another digest", errWrong)
			f.judge(ctx, src, it.flight.want.digest, err)
			rest, right = append(rest, it.with(src, err)), false
		default:
			left, err := f.broken(parent, src, items[i:], watch.cause(err))
			return append(rest, left...), err
		}
	}
	if right {
		f.health.worked(src.name)
	}
	return rest, nil
}

// broken deals with an error that ended a batch at the first of items.
func (f *Fetcher) broken(ctx context.Context, src source, items []item, err error) ([]item, error) {
	digest := items[0].flight.want.digest
	if ctx.Err() != nil {
		return items, fmt.Errorf("fetch blob %s: %w", digest, context.Cause(ctx))
	}
	if local, ok := errors.AsType[*localError](err); ok {
		return items, local.explain(digest)
	}
	f.judge(ctx, src, digest, err)
	items[0] = items[0].with(src, err)
	return items, nil
}

func (it item) with(src source, err error) item {
	it.said = append(it.said, answer{src.name, err})
	return it
}

// takeFrame reads one frame and stores its blob. After [modules.ErrNotFound] and
// [modules.ErrDigest] the next frame may follow, after other errors none.
func (f *Fetcher) takeFrame(frames *bufio.Reader, w want) error {
	var length [8]byte
	if _, err := io.ReadFull(frames, length[:]); err != nil {
		return noEOF(err)
	}
	size := binary.BigEndian.Uint64(length[:])
	if size == absent {
		return modules.ErrNotFound
	}
	if size != uint64(w.size) { //nolint:gosec // announced sizes are not negative
		return fmt.Errorf("%w: %d bytes instead of the %d announced", errWrong, size, w.size)
	}
	out, err := f.blobs.Create()
	if err != nil {
		return &localError{err}
	}
	defer out.Abort()
	n, err := f.copyTo(out, frames, w.size, func(int) {})
	if n < w.size {
		return noEOF(err)
	}
	_, err = out.Commit(w.digest)
	if err != nil && !errors.Is(err, modules.ErrDigest) {
		return &localError{err}
	}
	return err
}

// noEOF makes the end of a stream in the middle of a frame an error like others.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
