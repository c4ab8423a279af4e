package control

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/orla-edge/orla/dispatch"
	"github.com/orla-edge/orla/modules"
	"github.com/orla-edge/orla/modules/peer"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/release"
)

const (
	// tryAgain is how soon a head that the node could not take over is tried again; it
	// doubles up to tryAgainMost.
	tryAgain     = time.Second
	tryAgainMost = time.Minute
	// hoardEvery is how often a hub looks for content that it does not have.
	hoardEvery = time.Minute
	// fallbacks is how many earlier releases a node looks at that starts without what
	// the live one needs.
	fallbacks = 10
)

// errLacking means that the node does not have all of a release's content.
var errLacking = errors.New("the node does not have all of its content yet")

// complete reports whether the node has all of a release.
func (s *Service) complete(m *orlav1.Manifest) error {
	for _, b := range blobsOf(m) {
		if !s.cfg.Blobs.Has(b.Digest) {
			return fmt.Errorf("%w: %s is missing", errLacking, b.Digest)
		}
	}
	return nil
}

// obtain fetches what the node lacks of a head's releases.
func (s *Service) obtain(ctx context.Context, head *orlav1.Head) error {
	parts, err := partsOf(head)
	if err != nil {
		return err
	}
	for _, p := range parts {
		if _, err := s.obtainRelease(ctx, p.Digest); err != nil {
			return err
		}
	}
	return nil
}

// fetchManifest fetches the manifest of a release if the node does not have it.
func (s *Service) fetchManifest(ctx context.Context, rel *orlav1.Release) error {
	digest, err := modules.ParseDigest(rel.GetDigest())
	if err == nil {
		_, err = s.cfg.Fetcher.Read(ctx, digest, maxMessageBytes)
	}
	if err != nil {
		return fmt.Errorf("fetch the manifest: %w", err)
	}
	return nil
}

// obtainRelease fetches what the node lacks of one release, given its manifest's digest,
// and returns all of it, the manifest included.
func (s *Service) obtainRelease(ctx context.Context, digest modules.Digest) ([]peer.Blob, error) {
	b, err := s.cfg.Fetcher.Read(ctx, digest, maxMessageBytes)
	if err != nil {
		return nil, fmt.Errorf("fetch the manifest: %w", err)
	}
	m, err := release.Decode(b)
	if err != nil {
		return nil, err
	}
	blobs := blobsOf(m)
	if err := s.cfg.Fetcher.Ensure(ctx, blobs); err != nil {
		return nil, err
	}
	return append(blobs, peer.Blob{Digest: digest, Size: int64(len(b))}), nil
}

// catchUp tries again, until ctx ends, to take over what the node has refused, and
// fetches what it lacks for it: beside the register's changes, which go on meanwhile.
func (s *Service) catchUp(ctx context.Context) {
	wait := tryAgain
	timer := time.NewTimer(wait)
	defer timer.Stop()
	hoard := time.NewTimer(tryAgain)
	defer hoard.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-hoard.C:
			s.reseal(ctx)
			s.hoard(ctx)
			hoard.Reset(hoardEvery)
			continue
		case <-s.lacking:
			wait = tryAgain
		case <-timer.C:
		}
		left := 0
		for _, r := range s.catalog.listRefusals() {
			if ctx.Err() == nil && !s.retry(ctx, r.GetName()) {
				left++
			}
		}
		if left == 0 {
			wait = tryAgain
		}
		timer.Reset(wait)
		wait = min(2*wait, tryAgainMost)
	}
}

// hoard fetches all that can be rolled back to, on hubs: each has everything, so that
// neither a rollback nor the end of a hub needs any other store.
func (s *Service) hoard(ctx context.Context) {
	if !s.hub() || s.cfg.Register.Alone() {
		return
	}
	for _, v := range s.catalog.listHeads(orlav1.Kind_KIND_UNSPECIFIED) {
		for _, rel := range v.value.GetReleases() {
			if ctx.Err() != nil {
				return
			}
			digest, err := modules.ParseDigest(rel.GetDigest())
			if err != nil || s.hoarded[digest] {
				continue
			}
			blobs, err := s.obtainRelease(ctx, digest)
			if err != nil {
				s.cfg.Logger.Warn("a release that can be rolled back to is not all here", "app", v.value.GetName(), "release", rel.GetNumber(), "error", err)
				continue
			}
			if err := s.cfg.Fetcher.Share(ctx, blobs); err != nil {
				s.cfg.Logger.Warn("a release is not all in the common store", "app", v.value.GetName(), "release", rel.GetNumber(), "error", err)
				continue
			}
			s.hoarded[digest] = true
		}
	}
}

// retry tries to take a refused head over. It reports whether that is done with.
func (s *Service) retry(ctx context.Context, name string) bool {
	head, revision := s.catalog.head(name)
	if head == nil {
		return true
	}
	if err := s.obtain(ctx, head); err != nil {
		if ctx.Err() == nil {
			s.refused(head, err)
		}
		return false
	}
	group, err := s.prepare(ctx, head)
	if err != nil {
		s.refused(head, err)
		return false
	}
	return s.takeOver(head, revision, group)
}

// takeOver makes a group live unless its head has changed meanwhile.
func (s *Service) takeOver(head *orlav1.Head, revision uint64, group dispatch.Group) bool {
	s.applying.Lock()
	defer s.applying.Unlock()
	if _, now := s.catalog.head(head.GetName()); now != revision {
		for _, share := range group {
			s.cfg.Dispatcher.Discard(share.Release)
		}
		return false
	}
	if group != nil {
		if err := s.cfg.Dispatcher.Swap(s.cfg.Dispatcher.Revision(), []dispatch.Group{group}, nil); err != nil {
			s.refused(head, err)
			return false
		}
	}
	s.catalog.refuse(head.GetName(), nil)
	s.cfg.Logger.Info("release taken over late", "app", head.GetName(), "release", head.GetLive(), "revision", revision)
	s.hostsChanged()
	s.tellApplied(s.cfg.Dispatcher.Revision(), []*orlav1.Head{head})
	return true
}

// fallback returns the newest earlier release of a head that the node has whole, if
// nothing is live under its name: better than nothing after a restart. It returns nil
// if there is none.
func (s *Service) fallback(ctx context.Context, head *orlav1.Head) dispatch.Group {
	if parts, _ := s.cfg.Dispatcher.Serving(head.GetName()); parts != nil {
		return nil
	}
	tried := 0
	for _, rel := range slices.Backward(head.GetReleases()) {
		if rel.GetNumber() == head.GetLive() || tried == fallbacks {
			continue
		}
		tried++
		r, err := s.build(ctx, head.GetName(), rel)
		if err != nil {
			continue
		}
		s.cfg.Logger.Warn("an earlier release is served until the live one is here", "app", head.GetName(), "release", rel.GetNumber(), "live", head.GetLive())
		return dispatch.Alone(r)
	}
	return nil
}

// build builds a release of which the node has all.
func (s *Service) build(ctx context.Context, name string, rel *orlav1.Release) (*dispatch.Release, error) {
	digest, err := modules.ParseDigest(rel.GetDigest())
	if err != nil {
		return nil, err
	}
	m, err := s.manifest(digest)
	if err != nil {
		return nil, err
	}
	if m.GetName() != name {
		return nil, fmt.Errorf("the manifest is of %q", m.GetName())
	}
	if err := s.complete(m); err != nil {
		return nil, err
	}
	return s.cfg.Dispatcher.Build(ctx, dispatch.Spec{Number: rel.GetNumber(), Digest: digest, Since: rel.GetCreated().AsTime(), Manifest: m})
}
