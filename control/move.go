package control

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/orla-edge/orla/cluster"
	"github.com/orla-edge/orla/dispatch"
	"github.com/orla-edge/orla/modules"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/release"
)

// maxHistory is how many releases a head remembers. Older ones can't be rolled
// back to, and their blobs may be collected.
const maxHistory = 100

// move is one head about to be moved to another release.
type move struct {
	head     *orlav1.Head // as it shall become
	revision uint64       // of the head's key, as it was read; 0 if it is new
	fresh    bool         // the live release is new with this move
	manifest *orlav1.Manifest
	digest   modules.Digest
	encoded  []byte       // the manifest; nil: it is in the store
	store    func() error // keeps what is not in the store yet; nil: all is
	before   []string     // hosts that the live release owns
	started  time.Time
	rollout  *orlav1.Rollout
	tell     func(*orlav1.NodeResult) // hears how far the nodes are; nil: nobody does
}

// awaitLeader waits while the hubs elect a leader, which takes seconds, at most for so
// long as an election may take.
func (s *Service) awaitLeader(ctx context.Context) {
	limit := time.Now().Add(settleFor)
	for !s.cfg.Register.Alone() && s.cfg.Register.Ready() != nil && time.Now().Before(limit) {
		select {
		case <-ctx.Done():
			return
		case <-time.After(settleEvery):
		}
	}
}

// get reads a key. While the hubs elect a leader, which takes seconds, it waits.
func (s *Service) get(ctx context.Context, key string) (cluster.Entry, error) {
	limit := time.Now().Add(settleFor)
	for {
		e, err := s.cfg.Register.Get(ctx, key)
		if !errors.Is(err, cluster.ErrUnavailable) || s.cfg.Register.Alone() || time.Now().After(limit) {
			return e, err
		}
		select {
		case <-ctx.Done():
			return e, err
		case <-time.After(settleEvery):
		}
	}
}

// change commits changes. While the hubs elect a leader, which takes seconds, it waits.
// An error that wraps [cluster.ErrUncertain] is not tried again.
func (s *Service) change(ctx context.Context, changes ...cluster.Change) (uint64, error) {
	limit := time.Now().Add(settleFor)
	for {
		s.awaitLeader(ctx)
		revision, err := s.cfg.Register.Commit(ctx, changes...)
		if !errors.Is(err, cluster.ErrUnavailable) || errors.Is(err, cluster.ErrUncertain) || errors.Is(err, cluster.ErrReadOnly) ||
			s.cfg.Register.Alone() || time.Now().After(limit) {
			return revision, err
		}
		select {
		case <-ctx.Done():
			return revision, err
		case <-time.After(settleEvery):
		}
	}
}

// current reads a head from the register. A head that does not exist is nil, at
// revision 0.
func (s *Service) current(ctx context.Context, name string) (*orlav1.Head, uint64, error) {
	return headOf(s.get(ctx, headKey(name)))
}

// latest is current for those who do not go on to change the head: a change finds out
// that what it has read is old, see [cluster.Cluster.Latest].
func (s *Service) latest(ctx context.Context, name string) (*orlav1.Head, uint64, error) {
	return headOf(s.cfg.Register.Latest(ctx, headKey(name)))
}

func headOf(e cluster.Entry, err error) (*orlav1.Head, uint64, error) {
	if errors.Is(err, cluster.ErrNotFound) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	head, err := decode[orlav1.Head](e.Value)
	return head, e.Revision, err
}

// existing is current for a head that must be there, and of that kind unless
// the kind is unspecified.
func (s *Service) existing(ctx context.Context, name string, kind orlav1.Kind) (*orlav1.Head, uint64, error) {
	head, revision, err := s.current(ctx, name)
	if err != nil {
		return nil, 0, callError(err)
	}
	if head == nil || kind != orlav1.Kind_KIND_UNSPECIFIED && head.GetKind() != kind {
		return nil, 0, s.noSuch(name, kind)
	}
	return head, revision, nil
}

// noSuch is the error for a name that is not there, with the nearest one that is.
func (s *Service) noSuch(name string, kind orlav1.Kind) error {
	var names []string
	for _, h := range s.catalog.listHeads(kind) {
		names = append(names, h.value.GetName())
	}
	what, list := "app", "orla apps"
	if kind == orlav1.Kind_KIND_ROUTES {
		what, list = "route set", "orla routes"
	}
	hint := "see `" + list + "` for what there is"
	if near := release.Nearest(name, names); near != "" {
		hint = fmt.Sprintf("did you mean %q?", near)
	}
	return connect.NewError(connect.CodeNotFound, fmt.Errorf("there is no %s %q; %s", what, name, hint))
}

// live returns the manifest of head's live release; nil if the head is new.
func (s *Service) live(head *orlav1.Head) (*orlav1.Manifest, error) {
	live := liveRelease(head)
	if live == nil {
		return nil, nil
	}
	_, m, err := s.stored(live)
	if err != nil {
		return nil, fmt.Errorf("read live release %d of %q: %w", live.GetNumber(), head.GetName(), err)
	}
	return m, nil
}

// claim returns who owns a host. The claims of an app change with its head: who has read
// that, at a revision, knows the app's own without asking, and commits to what it is told
// of others'. What would be a problem is asked for, and so is all of an app that is new.
func (s *Service) claim(ctx context.Context, name string, revision uint64, pattern string) (cluster.Entry, error) {
	key := hostKey(pattern)
	if revision > 0 {
		e, err := s.cfg.Register.Known(ctx, key, revision)
		if errors.Is(err, cluster.ErrNotFound) || err == nil && string(e.Value) == name {
			return e, err
		}
	}
	return s.get(ctx, key)
}

// claims returns the changes that hand hosts to name and give up those that it had
// before, and a problem for each that somebody else owns; revision is that at which the
// head was read.
func (s *Service) claims(ctx context.Context, name string, revision uint64, before, hosts []string) ([]cluster.Change, release.Problems, error) {
	var changes []cluster.Change
	var problems release.Problems
	for i, pattern := range hosts {
		e, err := s.claim(ctx, name, revision, pattern)
		switch {
		case errors.Is(err, cluster.ErrNotFound):
			changes = append(changes, cluster.Change{Key: hostKey(pattern), Value: []byte(name)})
		case err != nil:
			return nil, nil, err
		case string(e.Value) != name:
			problems = append(problems, release.Problem{Field: fmt.Sprintf("hosts[%d]", i), Message: hostTaken(pattern, string(e.Value))})
		}
	}
	for _, pattern := range before {
		if slices.Contains(hosts, pattern) {
			continue
		}
		e, err := s.claim(ctx, name, revision, pattern)
		if err != nil && !errors.Is(err, cluster.ErrNotFound) {
			return nil, nil, err
		}
		if err == nil && string(e.Value) == name {
			changes = append(changes, cluster.Change{Key: hostKey(pattern), Expect: e.Revision})
		}
	}
	return changes, problems, nil
}

func hostTaken(pattern, owner string) string {
	if pattern == "*" {
		return fmt.Sprintf("%q already serves every host that nobody else owns; name the hosts of this one (hosts = [\"…\"], or --host)", owner)
	}
	return fmt.Sprintf("host %q is already served by %q; remove it there or choose another", pattern, owner)
}

// commit takes a change to all nodes: it has them get the release ready, moves the
// head with the host claims that go with it, waits until they serve it, and reports.
// built is the release prepared for it, which commit owns. An error means that nothing has changed, but
// for one that wraps [cluster.ErrUncertain]. Live.Unproven says what is wrong after.
func (s *Service) commit(ctx context.Context, mv move, built *dispatch.Release) (*orlav1.Live, error) {
	s.staged.put(built)
	defer s.withdraw(built)
	name := mv.head.GetName()
	value, err := encode(mv.head)
	if err != nil {
		return nil, err
	}
	changes, problems, err := s.claims(ctx, name, mv.revision, mv.before, mv.manifest.GetHosts())
	if err != nil {
		return nil, err
	}
	if problems != nil {
		return nil, problems
	}
	if err := s.awaitMembers(ctx); err != nil {
		return nil, err
	}
	kept := mv.keep()
	defer kept()                          //nolint:errcheck // asked below, if it matters
	if len(mv.encoded) > inlineManifest { // others fetch it; a smaller one they are sent meanwhile
		err = kept()
	} else if mv.encoded == nil {
		mv.encoded, err = s.cfg.Blobs.Read(mv.digest, maxMessageBytes)
	}
	if err != nil {
		return nil, err
	}
	r := s.newRollout(ctx, mv.head, mv.rollout, mv.tell)
	defer r.end()
	if err := r.stage(built, mv.encoded, mv.head.GetChanged()); err != nil {
		return nil, err
	}
	if err := kept(); err != nil {
		r.unstage()
		return nil, err
	}
	revert, err := r.try(ctx, built)
	if err != nil {
		r.unstage()
		return nil, err
	}
	defer revert()
	moved := time.Now()
	revision, err := s.move(ctx, mv, append(changes, cluster.Change{Key: headKey(name), Value: value, Expect: mv.revision}))
	if err != nil {
		r.unstage()
		return nil, s.notMoved(ctx, mv, err)
	}
	r.moved(revision, moved)
	live, err := s.report(ctx, mv, r, revision, moved)
	if err == nil {
		live.TotalMs = milliseconds(time.Since(mv.started))
	}
	return live, err
}

// keep begins to keep what is new, and returns what waits for that.
func (mv *move) keep() (kept func() error) {
	if mv.store == nil {
		return func() error { return nil }
	}
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		err = mv.store()
	}()
	return func() error {
		<-done
		return err
	}
}

// report waits for this node and the others, and says what they have made of a move.
func (s *Service) report(ctx context.Context, mv move, r *rollout, revision uint64, moved time.Time) (*orlav1.Live, error) {
	name, number := mv.head.GetName(), mv.head.GetLive()
	if err := s.cfg.Register.Wait(ctx, revision); err != nil {
		return nil, fmt.Errorf("release %d of %q is accepted at revision %d, but this node has not confirmed it: %w", number, name, revision, err)
	}
	live := &orlav1.Live{
		Node: s.cfg.Node, Name: name, Release: number, Digest: mv.digest.String(), Revision: revision,
		SwapMs: milliseconds(time.Since(moved)),
		Urls:   s.urls(mv.manifest.GetHosts()), Summary: release.Summary(mv.manifest),
	}
	own := &orlav1.NodeResult{Node: s.cfg.Node, State: orlav1.NodeState_NODE_STATE_LIVE, Revision: revision, Ms: live.GetSwapMs()}
	if refusal := s.catalog.refusal(name); refusal != nil && refusal.GetRelease() == number {
		own.State, own.Reason = orlav1.NodeState_NODE_STATE_REFUSED, refusal.GetReason()
		live.Unproven = fmt.Sprintf("node %s: %s", s.cfg.Node, refusal.GetReason())
	}
	if mv.tell != nil {
		mv.tell(own)
	}
	live.Unproven = strings.TrimSpace(live.GetUnproven() + "\n" + r.prove())
	live.Nodes = r.results(own)
	return live, nil
}

const (
	// settleFor is how long the outcome of a change is looked for that got no answer: a
	// new leader is found in less.
	settleFor   = 20 * time.Second
	settleEvery = 100 * time.Millisecond
)

// move commits changes, of which the last is a head's. If the register does not answer,
// it looks whether they were made, and makes them if not: a new leader may be on its way.
func (s *Service) move(ctx context.Context, mv move, changes []cluster.Change) (uint64, error) {
	revision, err := s.cfg.Register.Commit(ctx, changes...)
	if !errors.Is(err, cluster.ErrUncertain) && (s.cfg.Register.Alone() || !errors.Is(err, cluster.ErrUnavailable)) {
		return revision, err
	}
	s.cfg.Logger.Warn("no answer from the register; looking whether the change was made", "error", err)
	ctx, cancel := context.WithTimeoutCause(ctx, settleFor, err)
	defer cancel()
	head := changes[len(changes)-1]
	for {
		e, readErr := s.cfg.Register.Get(ctx, head.Key)
		switch {
		case readErr == nil && bytes.Equal(e.Value, head.Value):
			return e.Revision, nil
		case readErr == nil && e.Revision == head.Expect, errors.Is(readErr, cluster.ErrNotFound) && head.Expect == 0:
			// It may still arrive, and then this one conflicts, and is looked for again.
			revision, commitErr := s.cfg.Register.Commit(ctx, changes...)
			if commitErr == nil {
				return revision, nil
			}
		case readErr == nil:
			return overtaken(mv, e, err)
		}
		select {
		case <-ctx.Done():
			return 0, err
		case <-time.After(settleEvery):
		}
	}
}

// overtaken tells what has become of a move that got no answer, given the head as
// another move has left it since: that of a new release is in the head's history if it
// was made. Of others nobody can tell; then it returns uncertain.
func overtaken(mv move, now cluster.Entry, uncertain error) (uint64, error) {
	if !mv.fresh {
		return 0, uncertain
	}
	head, err := decode[orlav1.Head](now.Value)
	if err != nil {
		return 0, errors.Join(uncertain, err)
	}
	ours := liveRelease(mv.head)
	theirs := findRelease(head, ours.GetNumber())
	if proto.Equal(ours, theirs) {
		return now.Revision, nil
	}
	if theirs == nil { // the head was removed and made again, or has a hundred newer ones
		return 0, uncertain
	}
	return 0, cluster.ErrConflict
}

// notMoved is the error of a move that was not made: of one that came second, who came
// first, be it with a host.
func (s *Service) notMoved(ctx context.Context, mv move, cause error) error {
	if !errors.Is(cause, cluster.ErrConflict) {
		return cause
	}
	if _, problems, err := s.claims(ctx, mv.head.GetName(), 0, nil, mv.manifest.GetHosts()); err == nil && problems != nil {
		return problems
	}
	return s.conflict(ctx, mv.head.GetName(), cause)
}

// conflict is the error of the one who came second: it names who came first.
func (s *Service) conflict(ctx context.Context, name string, cause error) error {
	head, _, err := s.latest(ctx, name)
	if err != nil || head == nil {
		return connect.NewError(connect.CodeAborted, fmt.Errorf("%q was changed meanwhile; look at `orla releases %s` and try again: %w", name, name, cause))
	}
	return connect.NewError(connect.CodeAborted, fmt.Errorf(
		"%q was changed meanwhile: release %d is live, set by %s at %s; look at `orla releases %s` and try again",
		name, head.GetLive(), head.GetChangedBy(), head.GetChanged().AsTime().Format(time.RFC3339), name))
}

// stamp notes who moves the head, and drops what is too old from its history.
func stamp(ctx context.Context, head *orlav1.Head) {
	head.Changed = timestamppb.Now()
	head.ChangedBy = caller(ctx).name
	for len(head.GetReleases()) > maxHistory {
		oldest := slices.IndexFunc(head.GetReleases(), func(r *orlav1.Release) bool { return !serves(head, r.GetNumber()) })
		head.Releases = slices.Delete(head.GetReleases(), oldest, oldest+1)
	}
}

// urls returns where a person can try a release: the node's own addresses for
// the catch-all, else the host at the node's ports.
func (s *Service) urls(hosts []string) []string {
	var out []string
	for _, pattern := range hosts {
		if strings.HasPrefix(pattern, "*.") || len(out) >= 8 {
			continue
		}
		for _, base := range s.cfg.URLs {
			u, err := url.Parse(base)
			if err != nil {
				continue
			}
			if pattern != "*" {
				u.Host = pattern + portOf(u)
			}
			u.Path = "/"
			out = append(out, u.String())
		}
	}
	return out
}

func portOf(u *url.URL) string {
	if p := u.Port(); p != "" {
		return ":" + p
	}
	return ""
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
