package control

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"connectrpc.com/connect"

	"github.com/orla-edge/orla/cluster"
	"github.com/orla-edge/orla/dispatch"
	"github.com/orla-edge/orla/modules"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/release"
)

// ListApps implements the API.
func (s *Service) ListApps(_ context.Context, req *connect.Request[orlav1.ListAppsRequest]) (*connect.Response[orlav1.ListAppsResponse], error) {
	res := &orlav1.ListAppsResponse{}
	for _, v := range s.catalog.listHeads(req.Msg.GetKind()) {
		app := &orlav1.App{Head: v.value, Revision: v.revision}
		if live := s.cfg.Dispatcher.Get(v.value.GetName()); live != nil {
			app.Hosts, app.Summary = live.Manifest.GetHosts(), release.Summary(live.Manifest)
		}
		res.Apps = append(res.Apps, app)
	}
	return connect.NewResponse(res), nil
}

// GetApp implements the API.
func (s *Service) GetApp(ctx context.Context, req *connect.Request[orlav1.GetAppRequest]) (*connect.Response[orlav1.GetAppResponse], error) {
	head, revision, err := s.shown(ctx, req.Msg)
	if err != nil {
		return nil, callError(err)
	}
	rel := liveRelease(head)
	if n := req.Msg.GetRelease(); n != 0 {
		rel = findRelease(head, n)
	}
	if rel == nil {
		return nil, noSuchRelease(head, req.Msg.GetRelease())
	}
	if req.Msg.GetConsistent() { // ahead of what this node has taken over
		if err := s.fetchManifest(ctx, rel); err != nil {
			return nil, callError(err)
		}
	}
	_, m, err := s.stored(rel)
	if err != nil {
		return nil, callError(err)
	}
	return connect.NewResponse(&orlav1.GetAppResponse{
		App:      &orlav1.App{Head: head, Hosts: m.GetHosts(), Summary: release.Summary(m), Revision: revision},
		Manifest: m, Node: s.cfg.Node, Functions: s.functions(head.GetName(), rel.GetNumber()),
	}), nil
}

// shown returns the head that a call asks to see.
func (s *Service) shown(ctx context.Context, req *orlav1.GetAppRequest) (*orlav1.Head, uint64, error) {
	head, revision := s.catalog.head(req.GetName())
	if req.GetConsistent() {
		var err error
		if head, revision, err = s.latest(ctx, req.GetName()); err != nil {
			return nil, 0, err
		}
	}
	if head == nil {
		return nil, 0, s.noSuch(req.GetName(), orlav1.Kind_KIND_UNSPECIFIED)
	}
	return head, revision, nil
}

// stored reads the manifest of a release in a head's history.
func (s *Service) stored(rel *orlav1.Release) (modules.Digest, *orlav1.Manifest, error) {
	d, err := modules.ParseDigest(rel.GetDigest())
	if err != nil {
		return modules.Digest{}, nil, err
	}
	m, err := s.manifest(d)
	return d, m, err
}

func noSuchRelease(head *orlav1.Head, number uint64) error {
	if len(head.GetReleases()) == 0 {
		return connect.NewError(connect.CodeNotFound, fmt.Errorf("%q has no releases", head.GetName()))
	}
	first, last := head.GetReleases()[0], head.GetReleases()[len(head.GetReleases())-1]
	return connect.NewError(connect.CodeNotFound, fmt.Errorf("%q has no release %d; it remembers %d to %d (`orla releases %s`)",
		head.GetName(), number, first.GetNumber(), last.GetNumber(), head.GetName()))
}

// RemoveApp implements the API.
func (s *Service) RemoveApp(ctx context.Context, req *connect.Request[orlav1.RemoveAppRequest]) (*connect.Response[orlav1.RemoveAppResponse], error) {
	name := req.Msg.GetName()
	if err := mustChange(ctx, name); err != nil {
		return nil, err
	}
	head, revision, err := s.existing(ctx, name, req.Msg.GetKind())
	if err != nil {
		return nil, err
	}
	changes, err := s.giveUp(ctx, head, revision)
	if err != nil {
		return nil, callError(err)
	}
	secrets, err := s.secretsOf(ctx, name)
	if err != nil {
		return nil, callError(err)
	}
	changes = append(changes, secrets...)
	removed, err := s.change(ctx, append(changes, cluster.Change{Key: headKey(name), Expect: revision})...)
	if errors.Is(err, cluster.ErrConflict) {
		return nil, s.conflict(ctx, name, err)
	}
	if err == nil {
		err = s.cfg.Register.Wait(ctx, removed)
	}
	if err != nil {
		return nil, callError(err)
	}
	s.cfg.Logger.Info("app removed", "app", name, "revision", removed, "who", caller(ctx).name)
	return connect.NewResponse(&orlav1.RemoveAppResponse{Revision: removed}), nil
}

// giveUp returns the changes that free every host that head owns. The claims are
// found through the live release; if its manifest can't be read, through a scan,
// so that a damaged app can be removed too.
func (s *Service) giveUp(ctx context.Context, head *orlav1.Head, revision uint64) ([]cluster.Change, error) {
	if live, err := s.live(head); err == nil {
		changes, _, err := s.claims(ctx, head.GetName(), revision, live.GetHosts(), nil)
		return changes, err
	}
	entries, err := s.cfg.Register.List(ctx, hostPrefix)
	if err != nil {
		return nil, err
	}
	var changes []cluster.Change
	for _, e := range entries {
		if string(e.Value) == head.GetName() {
			changes = append(changes, cluster.Change{Key: e.Key, Expect: e.Revision})
		}
	}
	return changes, nil
}

// Rollback implements the API.
func (s *Service) Rollback(ctx context.Context, req *connect.Request[orlav1.RollbackRequest]) (*connect.Response[orlav1.RollbackResponse], error) {
	name, started := req.Msg.GetName(), time.Now()
	if err := mustChange(ctx, name); err != nil {
		return nil, err
	}
	head, revision, err := s.existing(ctx, name, req.Msg.GetKind())
	if err != nil {
		return nil, err
	}
	target, err := rollbackTarget(head, req.Msg.GetRelease())
	if err != nil { // perhaps what was read is old
		if head, revision, err = s.latest(ctx, name); err != nil {
			return nil, callError(err)
		}
		if head == nil {
			return nil, s.noSuch(name, req.Msg.GetKind())
		}
		if target, err = rollbackTarget(head, req.Msg.GetRelease()); err != nil {
			return nil, err
		}
	}
	live, err := s.live(head)
	if err != nil {
		// What is live can't be read: all the more reason to go back. Its
		// claims that the target does not have are found by a later deploy.
		s.cfg.Logger.Warn("live release unreadable", "app", name, "error", err)
	}
	from := head.GetLive()
	ended := lead(head, target.GetNumber(), nil)
	stamp(ctx, head)
	if err := s.obtain(ctx, head); err != nil { // the node may have joined since
		return nil, callError(fmt.Errorf("release %d of %q: %w", target.GetNumber(), name, err))
	}
	digest, m, err := s.stored(target)
	if err != nil {
		return nil, callError(fmt.Errorf("release %d of %q: %w", target.GetNumber(), name, err))
	}
	built, err := s.own(ctx, head, dispatch.Part{Number: target.GetNumber(), Digest: digest})
	if err != nil {
		return nil, callError(err)
	}
	now, err := s.commit(ctx, move{head: head, revision: revision, manifest: m, digest: digest, before: live.GetHosts(), started: started, rollout: req.Msg.GetRollout()}, built)
	if err != nil {
		return nil, callError(err)
	}
	now.Ended = ended
	s.cfg.Logger.Info("rolled back", "app", name, "release", now.GetRelease(), "revision", now.GetRevision(), "who", caller(ctx).name)
	return connect.NewResponse(&orlav1.RollbackResponse{Live: now, From: from}), nil
}

// rollbackTarget returns the release with that number; for 0, the newest one that
// is older than the live one, or of a split the oldest one that has a share.
func rollbackTarget(head *orlav1.Head, number uint64) (*orlav1.Release, error) {
	split := head.GetSplit()
	if number == 0 && len(split) > 0 {
		number = split[0].GetRelease()
	}
	if number == 0 {
		at := slices.IndexFunc(head.GetReleases(), func(r *orlav1.Release) bool { return r.GetNumber() == head.GetLive() })
		if at < 1 {
			return nil, connect.NewError(connect.CodeFailedPrecondition, fmt.Errorf("release %d of %q is the oldest that is remembered; there is none before it", head.GetLive(), head.GetName()))
		}
		return head.GetReleases()[at-1], nil
	}
	target := findRelease(head, number)
	if target == nil {
		return nil, noSuchRelease(head, number)
	}
	if number == head.GetLive() && len(split) == 0 {
		return nil, connect.NewError(connect.CodeFailedPrecondition, fmt.Errorf("release %d of %q is live already", number, head.GetName()))
	}
	return target, nil
}
