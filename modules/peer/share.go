package peer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/orla-edge/orla/modules"
)

// Keeper is a [Store] that removes what nobody says is in use.
type Keeper interface {
	// Keep says that the blobs, given with their sizes in bytes, are in use.
	Keep(ctx context.Context, blobs map[modules.Digest]int64) error
}

// Share copies the blobs, which this node has, into each store that lacks them,
// and has those that are [Keeper] keep them. Its error names each store that does
// not have all of them now. A store that is silent for [Config.Stall], or four times
// that with an upload, is given up.
func (f *Fetcher) Share(ctx context.Context, blobs []Blob) error {
	sizes := make(map[modules.Digest]int64, len(blobs))
	for _, b := range blobs {
		sizes[b.Digest] = b.Size
	}
	var errs []error
	for i, s := range f.stores {
		if err := f.share(ctx, s, sizes); err != nil {
			errs = append(errs, fmt.Errorf("share %d blobs with %s: %w", len(sizes), storeName(i, s), err))
		}
	}
	return errors.Join(errs...)
}

func (f *Fetcher) share(ctx context.Context, s Store, sizes map[modules.Digest]int64) error {
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(f.parallel * storeParallel)
	for digest, size := range sizes {
		group.Go(func() error { return f.shareOne(groupCtx, s, digest, size) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if k, ok := s.(Keeper); ok {
		ctx, watch := newWatch(ctx, f.stall*putPatience)
		defer watch.stop()
		return watch.explain(k.Keep(ctx, sizes))
	}
	return nil
}

const (
	// putTries is how often a blob is offered to a store, which refuses now and then
	// when much is offered to it.
	putTries = 3
	putPause = time.Second // before the second try; twice as much before the third
	// putPatience is how much longer than a source a store may be silent: it looks
	// through what it was given.
	putPatience = 4
)

func (f *Fetcher) shareOne(ctx context.Context, s Store, digest modules.Digest, size int64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if ok, err := f.sharedAlready(ctx, s, digest); ok || err != nil {
		return err
	}
	for try := 1; ; try++ {
		err := f.put(ctx, s, digest, size)
		if err == nil || try == putTries || ctx.Err() != nil || hopeless(err) {
			return err
		}
		if err := pause(ctx, time.Duration(try)*putPause); err != nil {
			return err
		}
	}
}

// hopeless reports whether another try would end like this one.
func hopeless(err error) bool {
	return errors.Is(err, modules.ErrDigest) || errors.Is(err, modules.ErrNotFound) || errors.Is(err, errStall)
}

func (f *Fetcher) sharedAlready(ctx context.Context, s Store, digest modules.Digest) (bool, error) {
	ctx, watch := f.watch(ctx)
	defer watch.stop()
	ok, err := s.Has(ctx, digest)
	return ok, watch.explain(err)
}

// put stores a blob. One that turns out to be damaged here is set aside.
func (f *Fetcher) put(ctx context.Context, s Store, digest modules.Digest, size int64) error {
	file, err := f.blobs.Open(digest)
	if err != nil {
		return err
	}
	defer file.Close() //nolint:errcheck // opened for reading
	ctx, watch := newWatch(ctx, f.stall*putPatience)
	defer watch.stop()
	err = watch.explain(s.Put(ctx, digest, size, watch.sender(file)))
	if errors.Is(err, modules.ErrDigest) {
		err = errors.Join(err, f.blobs.Verify(digest))
	}
	return err
}
