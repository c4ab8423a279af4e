package site

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"sync"

	"github.com/maypok86/otter/v2"
	"golang.org/x/sync/errgroup"

	"github.com/orla-edge/orla/modules"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

// Store is where a Compressor reads contents and puts their variants.
// [modules.Dir] is one.
type Store interface {
	Has(d modules.Digest) bool
	Open(d modules.Digest) (*os.File, error)
	Create() (*modules.Writer, error)
}

var (
	_ Store = (*modules.Dir)(nil)
	_ Blobs = (*modules.Dir)(nil)
)

// rememberedContents is how many contents' variants a Compressor knows at most:
// some 100 MiB of memory.
const rememberedContents = 500_000

// worthPercent is the largest size of a variant, of the content's.
const worthPercent = 95

// Compressor makes the variants of a release's files. It remembers by digest what
// it made, so that a content is compressed once however many releases have it. It
// is safe for concurrent use and needs no closing.
type Compressor struct {
	store Store
	made  *otter.Cache[modules.Digest, []*orlav1.Variant]
}

// NewCompressor returns a Compressor that works on a store.
func NewCompressor(store Store) *Compressor {
	return &Compressor{
		store: store,
		made:  otter.Must(&otter.Options[modules.Digest, []*orlav1.Variant]{MaximumSize: rememberedContents}),
	}
}

// Remember takes over the variants of files that were compressed before: the
// releases that a starting node finds. Files whose type is not [Compressible] are
// passed over, and those that cannot be read.
func (c *Compressor) Remember(files []*orlav1.File) {
	for _, f := range files {
		d, err := modules.ParseDigest(f.GetDigest())
		if err == nil && Compressible(f.GetMediaType(), f.GetSize()) {
			c.made.Set(d, f.GetVariants())
		}
	}
}

// job is a content to compress, with the files that have it.
type job struct {
	digest modules.Digest
	size   int64
	files  []*orlav1.File
}

func (j *job) path() string { return j.files[0].GetPath() }

// finish hands the variants to every file of the job.
func (j *job) finish(variants []*orlav1.Variant) {
	for _, f := range j.files {
		f.Variants = variants
	}
}

// Compress sets the Variants of files: for each file that is [Compressible] and
// [Served] those of br, zstd and gzip that save at least 5 %, else none. The
// contents must be in the store, where the variants are put; they are durable after
// the store's next sync. It works on as many files at a time as there are
// processors.
//
// progress, which may be nil, is called after each content with the number of files
// that are done, of how many, and the content's path; calls never overlap. After an
// error, some files may have variants and others not.
func (c *Compressor) Compress(ctx context.Context, files []*orlav1.File, progress func(done, total int64, path string)) error {
	jobs, total, err := c.plan(files)
	if err != nil || len(jobs) == 0 {
		return err
	}
	report := reporter(total, progress)
	queue := make(chan *job)
	workers, ctx := errgroup.WithContext(ctx)
	workers.Go(func() error {
		defer close(queue)
		for _, j := range jobs {
			select {
			case queue <- j:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		return nil
	})
	for range min(runtime.GOMAXPROCS(0), len(jobs)) {
		workers.Go(func() error { return c.work(ctx, queue, report) })
	}
	return workers.Wait()
}

// plan clears the files' variants, hands out those that were made before, and
// returns the rest as jobs, one a content, the largest first, so that the end finds
// no worker alone with a long one.
func (c *Compressor) plan(files []*orlav1.File) (jobs []*job, total int64, err error) {
	byDigest := make(map[modules.Digest]*job)
	for _, f := range files {
		f.Variants = nil
		if !Served(f.GetPath()) || !Compressible(f.GetMediaType(), f.GetSize()) {
			continue
		}
		d, err := modules.ParseDigest(f.GetDigest())
		if err != nil {
			return nil, 0, fmt.Errorf("compress %q: %w", f.GetPath(), err)
		}
		if j := byDigest[d]; j != nil {
			j.files = append(j.files, f)
			total++
			continue
		}
		if variants, ok := c.remembered(d); ok {
			f.Variants = variants
			continue
		}
		j := &job{digest: d, size: f.GetSize(), files: []*orlav1.File{f}}
		byDigest[d] = j
		jobs = append(jobs, j)
		total++
	}
	slices.SortStableFunc(jobs, func(a, b *job) int { return cmp.Compare(b.size, a.size) })
	return jobs, total, nil
}

// remembered returns the variants made before, if the store still has them all.
func (c *Compressor) remembered(d modules.Digest) ([]*orlav1.Variant, bool) {
	variants, ok := c.made.GetIfPresent(d)
	if !ok {
		return nil, false
	}
	for _, v := range variants {
		if vd, err := modules.ParseDigest(v.GetDigest()); err != nil || !c.store.Has(vd) {
			return nil, false
		}
	}
	return variants, true
}

func reporter(total int64, progress func(done, total int64, path string)) func(*job) {
	if progress == nil {
		return func(*job) {}
	}
	var mu sync.Mutex // guards done and the calls' order
	var done int64
	return func(j *job) {
		mu.Lock()
		defer mu.Unlock()
		done += int64(len(j.files))
		progress(done, total, j.path())
	}
}

// work does jobs from the queue until it is closed.
func (c *Compressor) work(ctx context.Context, queue <-chan *job, report func(*job)) error {
	enc, err := newEncoders()
	if err != nil {
		return err
	}
	for j := range queue {
		variants, err := c.variants(ctx, enc, j)
		if err != nil {
			return fmt.Errorf("compress %q: %w", j.path(), err)
		}
		j.finish(variants)
		c.made.Set(j.digest, variants)
		report(j)
	}
	return nil
}

// variants reads a content once and feeds it to all encoders.
func (c *Compressor) variants(ctx context.Context, enc *encoders, j *job) ([]*orlav1.Variant, error) {
	src, err := c.store.Open(j.digest)
	if err != nil {
		return nil, err
	}
	defer src.Close() //nolint:errcheck // opened for reading

	var lanes [codingIdentity]*lane
	for i := range lanes {
		out, err := c.store.Create()
		if err != nil {
			return nil, err
		}
		defer out.Abort()
		lanes[i] = newLane(coding(i), enc, out, j.size)
	}
	if err := feed(ctx, src, j, lanes[:]); err != nil {
		return nil, err
	}
	var variants []*orlav1.Variant
	for _, l := range lanes {
		v, err := l.finish()
		if err != nil {
			return nil, err
		}
		if v != nil {
			variants = append(variants, v)
		}
	}
	return variants, nil
}

// feed copies a content to the lanes and verifies it on the way, since a store's
// Open does not.
func feed(ctx context.Context, src io.Reader, j *job, lanes []*lane) error {
	sum := sha256.New()
	writers := []io.Writer{sum}
	for _, l := range lanes {
		writers = append(writers, l)
	}
	n, err := io.Copy(io.MultiWriter(writers...), contextReader{ctx, src})
	if err != nil {
		return err
	}
	if got := modules.Digest(sum.Sum(nil)); n != j.size || got != j.digest {
		return fmt.Errorf("blob %s of %d bytes: %w: read %d bytes of %s", j.digest, j.size, modules.ErrCorrupt, n, got)
	}
	return nil
}

// contextReader ends a copy when its context ends.
type contextReader struct {
	ctx context.Context //nolint:containedctx // lives for one copy
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.r.Read(p)
}

// errNotWorth ends an encoding that does not save enough.
var errNotWorth = errors.New("site: the coding saves too little")

// lane is one coding of one content on its way to the store.
type lane struct {
	coding coding
	enc    io.WriteCloser
	out    *modules.Writer
	budget *budget
	over   bool // saves too little; takes no more
}

func newLane(c coding, enc *encoders, out *modules.Writer, size int64) *lane {
	b := &budget{w: out, left: size * worthPercent / 100}
	return &lane{coding: c, enc: enc.start(c, b, size), out: out, budget: b}
}

// Write encodes p, unless the lane has been given up.
func (l *lane) Write(p []byte) (int, error) {
	if l.over {
		return len(p), nil
	}
	_, err := l.enc.Write(p)
	return len(p), l.judge(err)
}

// judge tells an encoding that saves too little from one that failed.
func (l *lane) judge(err error) error {
	if errors.Is(err, errNotWorth) {
		l.over = true
		return nil
	}
	return err
}

// finish stores the variant and returns it, or nil if it saves too little.
func (l *lane) finish() (*orlav1.Variant, error) {
	err := l.judge(l.enc.Close())
	if l.over {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", codings[l.coding], err)
	}
	d := l.out.Sum()
	size, err := l.out.Commit(d)
	if err != nil {
		return nil, err
	}
	return &orlav1.Variant{Coding: codings[l.coding], Digest: d.String(), Size: size}, nil
}

// budget passes on at most left bytes.
type budget struct {
	w    io.Writer
	left int64
}

func (b *budget) Write(p []byte) (int, error) {
	if b.left -= int64(len(p)); b.left < 0 {
		return 0, errNotWorth
	}
	return b.w.Write(p)
}
