package peer

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/orla-edge/orla/modules"
)

// Keeper is a [Store] that removes what nobody says is in use.
type Keeper interface {
	// Keep says that the blobs, given with their sizes in bytes, are in use.
	Keep(ctx context.Context, blobs map[modules.Digest]int64) error
}

// Share copies the blobs, which this node has, into each store that lacks them,
// and has those that are [Keeper] keep them. Its error names each store that does not have all
// of them now.
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
		return k.Keep(ctx, sizes)
	}
	return nil
}

func (f *Fetcher) shareOne(ctx context.Context, s Store, digest modules.Digest, size int64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if ok, err := s.Has(ctx, digest); ok || err != nil {
		return err
	}
	file, err := f.blobs.Open(digest)
	if err != nil {
		return err
	}
	defer file.Close() //nolint:errcheck // opened for reading
	return s.Put(ctx, digest, size, file)
}
