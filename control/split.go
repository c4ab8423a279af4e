package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"

	"github.com/orla-edge/orla/dispatch"
	"github.com/orla-edge/orla/modules"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/release"
)

// SetSplit implements the API.
func (s *Service) SetSplit(ctx context.Context, req *connect.Request[orlav1.SetSplitRequest]) (*connect.Response[orlav1.SetSplitResponse], error) {
	name, started := req.Msg.GetName(), time.Now()
	if err := mustChange(ctx, name); err != nil {
		return nil, err
	}
	if req.Msg.GetRollout().GetCanary().AsDuration() > 0 {
		return nil, connect.NewError(connect.CodeInvalidArgument, errors.New("a split has no trial: begin with a small share instead"))
	}
	head, revision, err := s.existing(ctx, name, orlav1.Kind_KIND_UNSPECIFIED)
	if err != nil {
		return nil, err
	}
	shares, err := checkShares(head, req.Msg.GetShares())
	if err != nil {
		return nil, err
	}
	if slices.EqualFunc(shares, sharesOf(head), sameShare) {
		return s.sameSplit(head, revision, started)
	}
	live, err := s.live(head)
	if err != nil {
		s.cfg.Logger.Warn("live release unreadable", "app", name, "error", err)
	}
	ended := lead(head, largest(shares), shares)
	stamp(ctx, head)
	mv := move{head: head, revision: revision, before: live.GetHosts(), started: started, rollout: req.Msg.GetRollout()}
	if err := s.obtain(ctx, head); err != nil {
		return nil, callError(err)
	}
	if err := s.sameHosts(&mv); err != nil {
		return nil, err
	}
	now, err := s.commitSplit(ctx, mv)
	if err != nil {
		return nil, callError(err)
	}
	if now.Split = head.GetSplit(); now.Split == nil {
		now.Ended = ended
	}
	s.cfg.Logger.Info("split set", "app", name, "shares", sharesText(shares), "revision", now.GetRevision(), "who", caller(ctx).name)
	return connect.NewResponse(&orlav1.SetSplitResponse{Live: now}), nil
}

// sameSplit answers a call that asks for what is in force.
func (s *Service) sameSplit(head *orlav1.Head, revision uint64, started time.Time) (*connect.Response[orlav1.SetSplitResponse], error) {
	live := liveRelease(head)
	_, m, err := s.stored(live)
	if err != nil {
		return nil, callError(err)
	}
	return connect.NewResponse(&orlav1.SetSplitResponse{Live: &orlav1.Live{
		Node: s.cfg.Node, Name: head.GetName(), Release: live.GetNumber(), Digest: live.GetDigest(), Revision: revision, Split: head.GetSplit(),
		TotalMs: milliseconds(time.Since(started)), Unchanged: true, Urls: s.urls(m.GetHosts()), Summary: release.Summary(m),
	}}), nil
}

// commitSplit moves the head once every node has every release that has a share.
func (s *Service) commitSplit(ctx context.Context, mv move) (live *orlav1.Live, err error) {
	if err := s.awaitMembers(ctx); err != nil {
		return nil, err
	}
	group, err := s.group(ctx, mv.head, s.own)
	if err != nil {
		return nil, err
	}
	var main *dispatch.Release
	var others []*dispatch.Release
	for _, share := range group {
		r := share.Release
		if r.Number == mv.head.GetLive() {
			main, mv.digest = r, r.Digest
			continue
		}
		others = append(others, r)
		s.staged.put(r)
		defer s.withdraw(r)
	}
	for _, r := range others {
		forget, err := s.stageOther(ctx, mv, r)
		if err != nil {
			s.cfg.Dispatcher.Discard(main)
			return nil, err
		}
		defer func() {
			if live == nil {
				forget()
			}
		}()
	}
	return s.commit(ctx, mv, main)
}

// stageOther has every node get a release ready that commit does not know of. The
// nodes keep it for a while; forget lets them drop it before.
func (s *Service) stageOther(ctx context.Context, mv move, built *dispatch.Release) (forget func(), err error) {
	manifest, err := s.cfg.Blobs.Read(built.Digest, maxMessageBytes)
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	r := s.newRollout(ctx, &orlav1.Head{Name: mv.head.GetName(), Live: built.Number}, mv.rollout, mv.tell)
	defer r.end()
	return r.unstage, r.stage(built, manifest, mv.head.GetChanged())
}

// checkShares returns the shares in the order of their releases' numbers, if head can
// have them.
func checkShares(head *orlav1.Head, shares []*orlav1.Share) ([]*orlav1.Share, error) {
	refuse := func(format string, args ...any) ([]*orlav1.Share, error) {
		return nil, connect.NewError(connect.CodeInvalidArgument, fmt.Errorf(format, args...))
	}
	if n := len(shares); n == 0 || n > dispatch.MaxShares {
		return refuse("a split has 1 to %d releases, not %d", dispatch.MaxShares, n)
	}
	shares = slices.SortedFunc(slices.Values(shares), func(a, b *orlav1.Share) int { return cmp.Compare(a.GetRelease(), b.GetRelease()) })
	total := uint64(0)
	for i, share := range shares {
		total += uint64(share.GetWeight())
		switch {
		case share.GetWeight() == 0:
			return refuse("release %d has no share; leave it out", share.GetRelease())
		case i > 0 && share.GetRelease() == shares[i-1].GetRelease():
			return refuse("release %d has two shares", share.GetRelease())
		case findRelease(head, share.GetRelease()) == nil:
			return nil, noSuchRelease(head, share.GetRelease())
		}
	}
	if total != dispatch.Whole {
		return refuse("the shares add up to %s%%, not to 100%%", percent(total))
	}
	return shares, nil
}

// sameHosts sets the move's manifest to that of the live release, and refuses the
// move if another release that has a share serves other hosts: hosts are claimed for
// the head.
func (s *Service) sameHosts(mv *move) error {
	manifests := map[uint64]*orlav1.Manifest{}
	shares := sharesOf(mv.head)
	for _, share := range shares {
		_, m, err := s.stored(findRelease(mv.head, share.GetRelease()))
		if err != nil {
			return callError(fmt.Errorf("release %d of %q: %w", share.GetRelease(), mv.head.GetName(), err))
		}
		manifests[share.GetRelease()] = m
	}
	mv.manifest = manifests[mv.head.GetLive()]
	first := shares[0].GetRelease()
	for _, share := range shares[1:] {
		other := share.GetRelease()
		differ := slices.Concat(lacking(other, manifests[other], manifests[first]), lacking(first, manifests[first], manifests[other]))
		if len(differ) > 0 {
			return connect.NewError(connect.CodeFailedPrecondition, fmt.Errorf(
				"releases %d and %d of %q serve different hosts and cannot share its clients: %s; deploy one of them again with the hosts of the other",
				first, other, mv.head.GetName(), strings.Join(differ, ", ")))
		}
	}
	return nil
}

// lacking names the hosts of others that release number, with manifest m, does not
// serve.
func lacking(number uint64, m, others *orlav1.Manifest) []string {
	var out []string
	for _, host := range others.GetHosts() {
		if !slices.Contains(m.GetHosts(), host) {
			out = append(out, fmt.Sprintf("release %d does not serve %q", number, host))
		}
	}
	return out
}

// lead makes head lead to release live, with several shares to a split of them. It
// returns the shares of the split that was in force.
func lead(head *orlav1.Head, live uint64, shares []*orlav1.Share) (before []*orlav1.Share) {
	before = head.GetSplit()
	head.Live, head.Split = live, nil
	if len(shares) > 1 {
		head.Split = shares
	}
	return before
}

// largest returns the release with the largest share, of equal ones the first.
func largest(shares []*orlav1.Share) uint64 {
	return slices.MaxFunc(shares, func(a, b *orlav1.Share) int { return cmp.Compare(a.GetWeight(), b.GetWeight()) }).GetRelease()
}

// serves reports whether head leads to a release.
func serves(head *orlav1.Head, number uint64) bool {
	return slices.ContainsFunc(sharesOf(head), func(s *orlav1.Share) bool { return s.GetRelease() == number })
}

// sharesOf returns the shares of a head's releases: without a split, the live one
// has all.
func sharesOf(head *orlav1.Head) []*orlav1.Share {
	if len(head.GetSplit()) > 0 {
		return head.GetSplit()
	}
	return []*orlav1.Share{{Release: head.GetLive(), Weight: dispatch.Whole}}
}

func sameShare(a, b *orlav1.Share) bool {
	return a.GetRelease() == b.GetRelease() && a.GetWeight() == b.GetWeight()
}

// sharesText returns "4=90 5=10", as people write it.
func sharesText(shares []*orlav1.Share) string {
	var out []string
	for _, s := range shares {
		out = append(out, fmt.Sprintf("%d=%s", s.GetRelease(), percent(uint64(s.GetWeight()))))
	}
	return strings.Join(out, " ")
}

// percent returns a weight as people write it: "10", "0.5".
func percent(weight uint64) string {
	return strconv.FormatFloat(float64(weight)*100/dispatch.Whole, 'f', -1, 64)
}

// partsOf returns what a head asks a node to serve.
func partsOf(head *orlav1.Head) ([]dispatch.Part, error) {
	var parts []dispatch.Part
	for _, share := range sharesOf(head) {
		rel := findRelease(head, share.GetRelease())
		if rel == nil {
			return nil, fmt.Errorf("release %d is not in the head's history", share.GetRelease())
		}
		digest, err := modules.ParseDigest(rel.GetDigest())
		if err != nil {
			return nil, err
		}
		parts = append(parts, dispatch.Part{Number: share.GetRelease(), Digest: digest, Weight: share.GetWeight()})
	}
	return parts, nil
}
