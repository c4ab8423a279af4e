package control

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/orla-edge/orla/cluster"
	"github.com/orla-edge/orla/dispatch"
	"github.com/orla-edge/orla/modules"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/release"
)

// Apply makes this node serve what the register says: it builds what changed
// beside what is live, then swaps it in. A head that cannot be served is
// refused: what was live before stays, the refusal is shown by GetNode, and it is
// tried again. It is the callback of [cluster.Cluster.Run].
func (s *Service) Apply(ctx context.Context, u cluster.Update) error {
	s.applying.Lock()
	defer s.applying.Unlock()
	changed, gone, err := s.catalog.apply(u)
	err = errors.Join(err, s.vault.apply(u)) // before what is built with it
	built := make([]dispatch.Group, len(changed))
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, head := range changed {
		g.Go(func() error {
			built[i] = s.next(ctx, head)
			return nil
		})
	}
	_ = g.Wait() // none returns an error: a refusal is not one
	put := built[:0]
	for _, g := range built {
		if g != nil {
			put = append(put, g)
		}
	}
	for _, name := range gone {
		s.cfg.Tail.Forget(name)
	}
	if swapErr := s.cfg.Dispatcher.Swap(u.Revision, put, gone); swapErr != nil {
		err = errors.Join(err, swapErr)
	}
	if len(put)+len(gone) > 0 {
		s.hostsChanged()
	}
	if s.cfg.Drain != nil {
		s.cfg.Drain(s.catalog.drained(s.cfg.Node))
	}
	s.tellApplied(u.Revision, changed)
	return err
}

// hostsChanged tells who wants to know that others may be served now.
func (s *Service) hostsChanged() {
	if s.cfg.Changed != nil {
		s.cfg.Changed()
	}
}

// next returns the releases that head asks for, ready to be swapped in; nil if they
// are live already or are refused.
func (s *Service) next(ctx context.Context, head *orlav1.Head) dispatch.Group {
	g, err := s.prepare(ctx, head)
	if err == nil {
		s.catalog.refuse(head.GetName(), nil)
		return g
	}
	s.refused(head, err)
	select {
	case s.lacking <- struct{}{}:
	default:
	}
	return s.fallback(ctx, head)
}

// refused notes that the node could not take a head over. It is said once.
func (s *Service) refused(head *orlav1.Head, err error) {
	name := head.GetName()
	before := s.catalog.refusal(name)
	s.catalog.refuse(name, &orlav1.Refusal{Name: name, Release: head.GetLive(), Reason: err.Error()})
	if before.GetRelease() == head.GetLive() && before.GetReason() == err.Error() {
		return
	}
	s.cfg.Logger.Error("release refused; the one before stays live", "app", name, "release", head.GetLive(), "error", err)
}

func (s *Service) prepare(ctx context.Context, head *orlav1.Head) (dispatch.Group, error) {
	parts, err := partsOf(head)
	if err != nil {
		return nil, err
	}
	if now, trial := s.cfg.Dispatcher.Serving(head.GetName()); !trial && slices.Equal(now, parts) {
		return nil, nil
	}
	return s.group(ctx, head, s.ready)
}

// group returns the releases that head asks for, each as get has it, for the caller
// to own.
func (s *Service) group(ctx context.Context, head *orlav1.Head, get func(context.Context, *orlav1.Head, dispatch.Part) (*dispatch.Release, error)) (dispatch.Group, error) {
	parts, err := partsOf(head)
	if err != nil {
		return nil, err
	}
	var group dispatch.Group
	for _, p := range parts {
		r, err := get(ctx, head, p)
		if err != nil {
			for _, share := range group {
				s.cfg.Dispatcher.Discard(share.Release)
			}
			if len(parts) > 1 {
				err = fmt.Errorf("release %d: %w", p.Number, err)
			}
			return nil, err
		}
		group = append(group, dispatch.Share{Release: r, Weight: p.Weight})
	}
	return group, nil
}

// ready returns a release of head for the caller to own: the one that is live, the
// one that a call has staged, or a new one.
func (s *Service) ready(ctx context.Context, head *orlav1.Head, p dispatch.Part) (*dispatch.Release, error) {
	if r := s.keep(head.GetName(), p); r != nil {
		return r, nil
	}
	if r := s.staged.take(head.GetName(), p.Number, p.Digest); r != nil {
		return r, nil
	}
	return s.own(ctx, head, p)
}

// own returns a release of head for the caller to own: the one that is live, or a
// new one.
func (s *Service) own(ctx context.Context, head *orlav1.Head, p dispatch.Part) (*dispatch.Release, error) {
	if r := s.keep(head.GetName(), p); r != nil {
		return r, nil
	}
	m, err := s.manifest(p.Digest)
	if err != nil {
		return nil, err
	}
	if err := s.complete(m); err != nil {
		return nil, err
	}
	return s.cfg.Dispatcher.Build(ctx, dispatch.Spec{Number: p.Number, Digest: p.Digest, Since: head.GetChanged().AsTime(), Manifest: m})
}

// keep returns a release that is live for the caller to own; nil if it is not.
func (s *Service) keep(name string, p dispatch.Part) *dispatch.Release {
	r := s.cfg.Dispatcher.Keep(name, p.Number)
	if r != nil && r.Digest != p.Digest { // of an earlier app of that name
		s.cfg.Dispatcher.Discard(r)
		return nil
	}
	return r
}

// manifest reads a stored manifest.
func (s *Service) manifest(d modules.Digest) (*orlav1.Manifest, error) {
	b, err := s.cfg.Blobs.Read(d, maxMessageBytes)
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	return release.Decode(b)
}

// Hosts returns the host patterns of every live release. Those that share an app's
// clients have the same ones.
func (s *Service) Hosts() []string {
	var out []string
	last := ""
	for _, r := range s.cfg.Dispatcher.Live() {
		if r.Name != last {
			out = append(out, r.Manifest.GetHosts()...)
		}
		last = r.Name
	}
	return out
}

// staged holds the releases that calls on this node have built and are about to
// make live, so that activating them does not build them again.
type staged struct {
	mu       sync.Mutex // guards releases
	releases map[stagedKey][]*dispatch.Release
}

type stagedKey struct {
	name   string
	number uint64
	digest modules.Digest
}

func keyOf(r *dispatch.Release) stagedKey { return stagedKey{r.Name, r.Number, r.Digest} }

// put offers r to the next activation; the caller withdraws it when its call
// ends.
func (s *staged) put(r *dispatch.Release) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.releases == nil {
		s.releases = map[stagedKey][]*dispatch.Release{}
	}
	s.releases[keyOf(r)] = append(s.releases[keyOf(r)], r)
}

// take returns a staged release and forgets it; nil if there is none. Who has
// taken it owns it.
func (s *staged) take(name string, number uint64, digest modules.Digest) *dispatch.Release {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.releases[stagedKey{name, number, digest}]
	if len(all) == 0 {
		return nil
	}
	s.removeLocked(all[0])
	return all[0]
}

// remove forgets r, and reports whether it had not been taken.
func (s *staged) remove(r *dispatch.Release) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.removeLocked(r)
}

func (s *staged) removeLocked(r *dispatch.Release) bool {
	k := keyOf(r)
	at := slices.Index(s.releases[k], r)
	if at < 0 {
		return false
	}
	// A new slice: take returns what stood in the old one.
	s.releases[k] = slices.Concat(s.releases[k][:at], s.releases[k][at+1:])
	if len(s.releases[k]) == 0 {
		delete(s.releases, k)
	}
	return true
}

// withdraw takes back what a call has staged, unless an activation has it.
func (s *Service) withdraw(r *dispatch.Release) {
	if s.staged.remove(r) {
		s.cfg.Dispatcher.Discard(r)
	}
}

// Refused returns the names of the heads that this node did not take over.
func (s *Service) Refused() []string {
	var out []string
	for _, r := range s.catalog.listRefusals() {
		out = append(out, r.GetName())
	}
	return out
}

// Referenced returns a predicate that reports whether some remembered release, of
// which this node has the manifest, needs a blob. The error names a manifest that can't be read; then nothing is
// known to be unneeded.
func (s *Service) Referenced() (func(modules.Digest) bool, error) {
	needed := map[modules.Digest]bool{}
	for _, v := range s.catalog.listHeads(orlav1.Kind_KIND_UNSPECIFIED) {
		for _, rel := range v.value.GetReleases() {
			d, m, err := s.stored(rel)
			if errors.Is(err, modules.ErrNotFound) && !s.cfg.Register.Alone() {
				continue // the node has nothing of it: others have, and it is fetched whole when it is needed
			}
			if err != nil {
				return nil, fmt.Errorf("release %d of %q: %w", rel.GetNumber(), v.value.GetName(), err)
			}
			needed[d] = true
			for blob := range release.Digests(m) {
				needed[blob] = true
			}
		}
	}
	return func(d modules.Digest) bool { return needed[d] }, nil
}
