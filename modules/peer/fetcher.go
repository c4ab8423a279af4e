package peer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/orla-edge/orla/modules"
)

var (
	// ErrUnavailable means that no source gave a blob's bytes. The error that wraps
	// it names the blob, each source that was asked and what it answered.
	ErrUnavailable = errors.New("peer: blob is not available")
	// ErrSize means that a blob has another size than was announced.
	ErrSize = errors.New("peer: blob has another size than announced")
)

// Config says what a [Fetcher] works with.
type Config struct {
	Blobs    *modules.Dir    // where the blobs go; required
	Client   *http.Client    // reaches the peers and proves who this node is; [NewClient] makes one
	Peers    func() []string // base URLs such as https://10.0.0.5:7071, best first, for one call; nil means none
	Stores   []Store         // asked after the peers
	Parallel int             // transfers at a time of one call; zero means 8
	Stall    time.Duration   // a source that sends nothing for so long has failed; zero means 15 s
	Logger   *slog.Logger    // nil means none
}

// Blob names a blob and its size in bytes.
type Blob struct {
	Digest modules.Digest
	Size   int64
}

// Fetcher gets blobs that a node lacks. Its methods may be called concurrently;
// calls that need the same blob share one transfer.
type Fetcher struct {
	blobs    *modules.Dir
	client   *http.Client
	peers    func() []string
	stores   []Store
	parallel int
	stall    time.Duration
	log      *slog.Logger

	health  health
	flights flights
	buffers sync.Pool // of *[]byte, each for a transfer
}

const bufferSize = 64 << 10

// New returns a Fetcher. It starts nothing.
func New(cfg Config) *Fetcher {
	client := new(http.Client)
	if cfg.Client != nil {
		*client = *cfg.Client
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	f := &Fetcher{
		blobs:    cfg.Blobs,
		client:   client,
		peers:    cfg.Peers,
		stores:   cfg.Stores,
		parallel: orDefaultParallel(cfg.Parallel),
		stall:    cmp.Or(cfg.Stall, 15*time.Second),
		log:      cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler)),
		health:   health{until: map[string]time.Time{}},
		flights:  flights{running: map[modules.Digest]*flight{}},
		buffers:  sync.Pool{New: func() any { b := make([]byte, bufferSize); return &b }},
	}
	if f.peers == nil {
		f.peers = func() []string { return nil }
	}
	return f
}

func orDefaultParallel(n int) int {
	if n <= 0 {
		return 8
	}
	return n
}

// maxRounds is how often a call starts again because of what other calls did: those
// that it waited for were cancelled, or a blob was collected meanwhile.
const maxRounds = 8

// Ensure fetches what the store lacks of the blobs, each verified, and makes it
// durable. It stops at the first blob that it cannot get, with an error that wraps
// [ErrUnavailable] or [ErrSize], or [syscall.ENOSPC] if the disk is full; blobs that
// came before stay. What was there already counts as used now: a collection by
// age leaves all of the blobs alone for that long.
func (f *Fetcher) Ensure(ctx context.Context, blobs []Blob, options ...Option) error {
	return f.EnsureFrom(ctx, nil, blobs, options...)
}

// EnsureFrom is [Fetcher.Ensure] with peers, by base URL, that are asked before the others.
func (f *Fetcher) EnsureFrom(ctx context.Context, preferred []string, blobs []Blob, options ...Option) error {
	wants := make([]want, len(blobs))
	for i, b := range blobs {
		if b.Size < 0 || b.Digest.IsZero() {
			return fmt.Errorf("fetch blob %s: a size of %d is not one", b.Digest, b.Size)
		}
		wants[i] = want{digest: b.Digest, size: b.Size, limit: b.Size}
	}
	return f.ensure(ctx, call{preferred: preferred, progress: newTracker(options)}, wants)
}

// Read returns a blob's bytes, verified: from the store, or else fetched into it
// first. It returns an error that wraps [modules.ErrTooLarge] if there are more
// than limit bytes.
func (f *Fetcher) Read(ctx context.Context, digest modules.Digest, limit int64) ([]byte, error) {
	return f.ReadFrom(ctx, nil, digest, limit)
}

// ReadFrom is [Fetcher.Read] with peers, by base URL, that are asked before the others.
func (f *Fetcher) ReadFrom(ctx context.Context, preferred []string, digest modules.Digest, limit int64) ([]byte, error) {
	b, err := f.blobs.Read(digest, limit)
	if !errors.Is(err, modules.ErrNotFound) && !errors.Is(err, modules.ErrCorrupt) {
		return b, err
	}
	if err := f.ensure(ctx, call{preferred: preferred, progress: newTracker(nil)}, []want{{digest: digest, size: unknown, limit: limit}}); err != nil {
		return nil, err
	}
	return f.blobs.Read(digest, limit)
}

// want is a blob that a call needs.
type want struct {
	digest modules.Digest
	size   int64 // unknown if nobody announced it
	limit  int64 // on its size
}

const unknown = -1

// call is what the transfers of one call have in common.
type call struct {
	preferred []string
	peers     []string // preferred and the others, as they were when the call began
	progress  *tracker
}

func (f *Fetcher) ensure(ctx context.Context, c call, wants []want) error {
	fetched := false
	for range maxRounds {
		missing, err := f.missing(wants)
		if err != nil {
			return err
		}
		if len(missing) == 0 {
			if !fetched {
				return nil
			}
			return f.blobs.Sync()
		}
		if !fetched {
			c.progress.begin(missing)
			c.peers = slices.Concat(c.preferred, f.peers())
		}
		fetched = true
		own, others := f.flights.join(missing, c.preferred)
		if err := f.fetch(ctx, c, own); err != nil {
			return err
		}
		if err := c.await(ctx, others); err != nil {
			return err
		}
	}
	return fmt.Errorf("fetch %d blobs: they vanish as fast as they come: %w; is the store collected too eagerly?", len(wants), ErrUnavailable)
}

// missing returns those that the store lacks, each once, and marks the others as used.
func (f *Fetcher) missing(wants []want) ([]want, error) {
	var missing []want
	seen := make(map[modules.Digest]bool, len(wants))
	for _, w := range wants {
		if seen[w.digest] {
			continue
		}
		seen[w.digest] = true
		ok, err := f.has(w)
		if err != nil {
			return nil, err
		}
		if !ok {
			missing = append(missing, w)
		}
	}
	return missing, nil
}

// has reports whether the store has the blob in its size. One of another size is
// corrupt, and then set aside, or was announced wrongly.
func (f *Fetcher) has(w want) (bool, error) {
	size, err := f.blobs.Use(w.digest)
	if err != nil {
		return false, nil //nolint:nilerr // a store that cannot be read says so when it is written to
	}
	if w.size == unknown || w.size == size {
		return true, nil
	}
	err = f.blobs.Verify(w.digest)
	if errors.Is(err, modules.ErrCorrupt) || errors.Is(err, modules.ErrNotFound) {
		return false, nil
	}
	if err == nil {
		err = fmt.Errorf("fetch blob %s: %w: %d bytes, not %d", w.digest, ErrSize, size, w.size)
	}
	return false, err
}

// fetch gets the blobs of own into the store and ends their flights.
func (f *Fetcher) fetch(ctx context.Context, c call, own []*flight) error {
	defer f.flights.abandon(own)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(f.parallel)
	together, alone := batches(own)
	for _, fl := range alone {
		group.Go(func() error {
			return f.fly(ctx, fl, func() error { return f.fetchOne(ctx, c, fl.want, nil) })
		})
	}
	for _, items := range together {
		group.Go(func() error { return f.fetchBatch(ctx, c, items) })
	}
	return group.Wait()
}

// fly fetches one blob and ends its flight, unless the call is over.
func (f *Fetcher) fly(ctx context.Context, fl *flight, fetch func() error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("fetch blob %s: %w", fl.want.digest, context.Cause(ctx))
	}
	err := fetch()
	if err == nil || ctx.Err() == nil {
		f.flights.end(fl, err)
	}
	return err
}

// Missing returns those of the digests, at most 10,000, that the peer at the base
// URL lacks; what it has it counts as used now.
func (f *Fetcher) Missing(ctx context.Context, base string, digests []modules.Digest) ([]modules.Digest, error) {
	ctx, watch := f.watch(ctx)
	defer watch.stop()
	body, err := f.post(ctx, base, "/blobs/missing", digests)
	if err != nil {
		return nil, fmt.Errorf("ask %s which blobs it lacks: %w", base, watch.cause(err))
	}
	defer body.Close() //nolint:errcheck // read to its end
	lacks, err := readDigests(watch.reader(body))
	if err != nil {
		return nil, fmt.Errorf("ask %s which blobs it lacks: %w", base, watch.cause(err))
	}
	return lacks, nil
}

// copyTo copies at most limit bytes from r to w. A disk's error is told from a source's.
func (f *Fetcher) copyTo(w io.Writer, r io.Reader, limit int64, moved func(int)) (n int64, err error) {
	buf := f.buffers.Get().(*[]byte)
	defer f.buffers.Put(buf)
	for n < limit {
		got, err := r.Read((*buf)[:min(limit-n, bufferSize)])
		if got > 0 {
			if _, err := w.Write((*buf)[:got]); err != nil {
				return n, &localError{err}
			}
			n += int64(got)
			moved(got)
		}
		if err != nil {
			return n, err
		}
	}
	return n, nil
}
