package peer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"time"

	"github.com/orla-edge/orla/modules"
)

var (
	// errWrong means that a source's bytes are not the blob's.
	errWrong = errors.New("sends wrong bytes")
	// errMixed means that bytes of several sources together are not the blob's.
	errMixed = errors.New("the parts of several sources do not fit together")
	errStall = errors.New("has been silent for too long")
)

// localError is an error of this node's disk, which no other source can help.
type localError struct{ err error }

func (e *localError) Error() string { return e.err.Error() }
func (e *localError) Unwrap() error { return e.err }

// explain says what to do about an error of the disk.
func (e *localError) explain(digest modules.Digest) error {
	if errors.Is(e.err, syscall.ENOSPC) || errors.Is(e.err, syscall.EDQUOT) {
		return fmt.Errorf("fetch blob %s: the disk of this node's blob store is full; make room there and try again: %w", digest, e.err)
	}
	return fmt.Errorf("fetch blob %s: %w", digest, e.err)
}

// download is one blob on its way.
type download struct {
	f        *Fetcher
	want     want
	progress *tracker

	w       *modules.Writer // nil before the first byte and after a failure
	written int64
	from    []string // the sources of what was written

	tried  []string         // sources, in the order in which they were asked first
	failed map[string]error // each one's last answer
}

const (
	// maxPasses is how often the sources are asked for one blob, as long as one of
	// them sends a part or is busy.
	maxPasses = 16
	// busyPause is how long to leave sources alone that all have too much to do.
	busyPause = time.Second
)

// fetchOne gets one blob into the store. Skip holds what sources answered already
// that need not be asked again.
func (f *Fetcher) fetchOne(ctx context.Context, c call, w want, skip []answer) error {
	d := &download{f: f, want: w, progress: c.progress, failed: map[string]error{}}
	defer d.restart()
	for _, a := range skip {
		d.note(a.source, a.err)
	}
	for range maxPasses {
		again, err := d.pass(ctx, f.sources(c))
		if err != nil || !again {
			return err
		}
	}
	return d.unavailable()
}

// answer is what a source said that gave no blob.
type answer struct {
	source string
	err    error
}

// pass asks each source once. It reports whether another pass may help; false
// with a nil error means that the blob is there.
func (d *download) pass(ctx context.Context, sources []source) (again bool, err error) {
	busy := false
	for _, src := range sources {
		if final(d.failed[src.name]) {
			continue
		}
		before := d.written
		err := d.take(ctx, src)
		if err == nil {
			d.f.health.worked(src.name)
			d.progress.add(1, 0)
			return false, nil
		}
		if ctx.Err() != nil {
			return false, fmt.Errorf("fetch blob %s: %w", d.want.digest, context.Cause(ctx))
		}
		if local, ok := errors.AsType[*localError](err); ok {
			return false, local.explain(d.want.digest)
		}
		d.f.judge(ctx, src, d.want.digest, err)
		d.note(src.name, err)
		busy = busy || errors.Is(err, errBusy)
		again = again || d.written > before || errors.Is(err, errMixed)
	}
	if again {
		return true, nil
	}
	if !busy {
		return false, d.unavailable()
	}
	return true, pause(ctx, busyPause)
}

// final reports whether a source that answered so need not be asked again.
func final(err error) bool {
	return errors.Is(err, errWrong) || errors.Is(err, modules.ErrNotFound) || errors.Is(err, modules.ErrTooLarge)
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// judge remembers what a source's failure says of it for other blobs.
func (f *Fetcher) judge(ctx context.Context, src source, digest modules.Digest, err error) {
	switch {
	case errors.Is(err, modules.ErrNotFound), errors.Is(err, errBusy), errors.Is(err, errMixed), errors.Is(err, modules.ErrTooLarge):
	case errors.Is(err, errWrong):
		f.health.failed(src.name, time.Now().Add(wrongFor))
		f.log.ErrorContext(ctx, "blob source sends wrong bytes", "source", src.name, "digest", digest.String(), "error", err)
	default:
		f.health.failed(src.name, time.Now().Add(failedFor))
		f.log.WarnContext(ctx, "blob transfer failed", "source", src.name, "digest", digest.String(), "error", err)
	}
}

func (d *download) note(source string, err error) {
	if _, ok := d.failed[source]; !ok {
		d.tried = append(d.tried, source)
	}
	d.failed[source] = err
}

func (d *download) unavailable() error {
	if len(d.tried) == 0 {
		return fmt.Errorf("fetch blob %s: %w: this node knows no other node and no store that could have it", d.want.digest, ErrUnavailable)
	}
	var why strings.Builder
	for i, name := range d.tried {
		if i > 0 {
			why.WriteString("; ")
		}
		fmt.Fprintf(&why, "%s: %v", name, d.failed[name])
	}
	err := ErrUnavailable
	for _, failed := range d.failed {
		if errors.Is(failed, modules.ErrTooLarge) {
			err = fmt.Errorf("%w: %w", err, modules.ErrTooLarge)
			break
		}
	}
	return fmt.Errorf("fetch blob %s: %w: %s", d.want.digest, err, why.String())
}

// restart drops what was written.
func (d *download) restart() {
	if d.w != nil {
		d.w.Abort()
		d.progress.add(0, -d.written)
	}
	d.w, d.written, d.from = nil, 0, nil
}

// take continues the blob with what src has from there on.
func (d *download) take(ctx context.Context, src source) error {
	if d.w == nil {
		w, err := d.f.blobs.Create()
		if err != nil {
			return &localError{err}
		}
		d.w = w
	}
	if err := d.transfer(ctx, src); err != nil {
		return err
	}
	return d.commit()
}

// transfer appends what src has from d.written on, and nothing but all of it is success.
func (d *download) transfer(ctx context.Context, src source) error {
	ctx, watch := d.f.watch(ctx)
	defer watch.stop()
	body, err := src.get(ctx, d.want.digest, d.written)
	if err != nil {
		return watch.cause(err)
	}
	defer body.Close() //nolint:errcheck // read as far as it is wanted
	r := watch.reader(body)
	n, err := d.f.copyTo(d.w, r, d.want.limit-d.written, func(n int) { d.progress.add(0, int64(n)) })
	d.written += n
	if n > 0 {
		d.from = append(d.from, src.name)
	}
	switch {
	case err != nil && !errors.Is(err, io.EOF):
		return watch.cause(err)
	case err == nil: // the limit is reached; nothing may follow
		var more [1]byte
		if k, _ := io.ReadFull(r, more[:]); k == 0 {
			return nil
		}
		if d.want.size == unknown {
			return fmt.Errorf("%w: more than %d bytes", modules.ErrTooLarge, d.want.limit)
		}
		return d.wrong(fmt.Sprintf("more than the %d bytes announced", d.want.size))
	case d.want.size != unknown && d.written != d.want.size:
		return d.wrong(fmt.Sprintf("%d bytes instead of the %d announced", d.written, d.want.size))
	}
	return nil
}

// commit makes the blob visible if its bytes are right.
func (d *download) commit() error {
	_, err := d.w.Commit(d.want.digest)
	if errors.Is(err, modules.ErrDigest) {
		return d.wrong("another digest")
	}
	if err != nil {
		return &localError{err}
	}
	d.w, d.written = nil, 0
	return nil
}

// wrong drops what was written and says whose fault it is: if several sources
// sent parts of it, nobody's in particular. The next pass begins with those that
// did not break off.
func (d *download) wrong(what string) error {
	err := errWrong
	for _, name := range d.from {
		if name != d.from[0] {
			err = errMixed
		}
	}
	d.restart()
	return fmt.Errorf("%w: %s", err, what)
}
