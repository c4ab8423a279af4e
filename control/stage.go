package control

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/orla-edge/orla/cluster"
	"github.com/orla-edge/orla/dispatch"
	"github.com/orla-edge/orla/modules"
	"github.com/orla-edge/orla/modules/peer"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/release"
)

const (
	// stagesAtOnce bounds the releases that a node gets ready at the same time.
	stagesAtOnce = 4
	// tellEvery is how often a node says what it is at.
	tellEvery = 300 * time.Millisecond
	// settleEach is how often what was staged is synced to the disk.
	settleEach = 250 * time.Millisecond
	// maxKeep bounds how long a node keeps a release ready that may never go live.
	maxKeep = 10 * time.Minute
)

// staging is a release that a hub has asked this node to get ready.
type staging struct {
	ask    *orlav1.Stage
	cancel context.CancelFunc
	answer *orlav1.Staged // nil: it is being worked on
	r      *dispatch.Release
}

// is reports whether the release was asked for.
func (j *staging) is(p dispatch.Part) bool {
	return j.ask.GetRelease() == p.Number && j.ask.GetDigest() == p.Digest.String()
}

// stagings are the releases that hubs have asked for, by the id of the question.
type stagings struct {
	mu    sync.Mutex // guards all below
	byID  map[string]*staging
	slots chan struct{}
	ended []string // ids of the last questions that were taken back or settled
}

// endedKept is how many ids are remembered: a question may be heard after the word that
// takes it back, or be asked again when it is settled.
const endedKept = 256

func (s *stagings) endLocked(id string) {
	if len(s.ended) >= endedKept {
		s.ended = slices.Delete(s.ended, 0, endedKept/2)
	}
	s.ended = append(s.ended, id)
	delete(s.byID, id)
}

// onStage gets a release ready in a goroutine of its own, and tells the hubs.
func (s *Service) onStage(ctx context.Context, msg cluster.Message) {
	st, err := decode[orlav1.Stage](msg.Data)
	if err != nil || st.GetOrigin() == s.cfg.Node || st.GetId() == "" {
		return
	}
	s.stagings.mu.Lock()
	if slices.Contains(s.stagings.ended, st.GetId()) {
		s.stagings.mu.Unlock()
		return
	}
	if old := s.stagings.byID[st.GetId()]; old != nil { // it asks again
		answer := old.answer
		s.stagings.mu.Unlock()
		if answer != nil {
			s.send(cluster.Hubs, topicStaged+st.GetId(), answer)
		}
		return
	}
	keep := min(time.Duration(st.GetKeepMs())*time.Millisecond, maxKeep)
	ctx, cancel := context.WithTimeout(ctx, keep)
	job := &staging{ask: st, cancel: cancel}
	if s.stagings.byID == nil {
		s.stagings.byID = map[string]*staging{}
		s.stagings.slots = make(chan struct{}, stagesAtOnce)
	}
	s.stagings.byID[st.GetId()] = job
	s.stagings.mu.Unlock()
	context.AfterFunc(ctx, func() { s.unstage(st.GetId()) }) // when it is taken back, or kept for too long
	s.background.Go(func() { s.runStage(ctx, st, job) })
}

func (s *Service) runStage(ctx context.Context, st *orlav1.Stage, job *staging) {
	answer := &orlav1.Staged{Id: st.GetId(), Node: s.cfg.Node}
	r, keep, err := s.stageHere(ctx, st)
	if keep != nil {
		defer func() {
			if err := errors.Join(keep.Write(), keep.Sync()); err != nil {
				s.cfg.Logger.Error("manifest not kept", "app", st.GetName(), "release", st.GetRelease(), "error", err)
			}
		}()
	}
	switch {
	case ctx.Err() != nil:
		if r != nil {
			s.cfg.Dispatcher.Discard(r)
		}
		return
	case err != nil:
		answer.Refusal = err.Error()
		s.cfg.Logger.Warn("release refused before it went live", "app", st.GetName(), "release", st.GetRelease(), "error", err)
	default:
		answer.Ready = true
	}
	s.stagings.mu.Lock()
	gone := s.stagings.byID[st.GetId()] != job
	if !gone {
		job.answer, job.r = answer, r
		if r != nil {
			s.staged.put(r)
		}
	}
	s.stagings.mu.Unlock()
	if gone && r != nil {
		s.cfg.Dispatcher.Discard(r)
		return
	}
	s.send(cluster.Hubs, topicStaged+st.GetId(), answer)
	if keep != nil {
		_ = keep.Write() // said when all is done
	}
	<-ctx.Done() // the release is live, or is not to be
	s.quietly()
}

// quietly waits for the next of the moments at which manifests are synced, so that those of
// several pushes cost the disk one write, and none of them holds up a push.
func (s *Service) quietly() {
	next := time.NewTimer(time.Until(time.Now().Truncate(settleEach).Add(settleEach)))
	defer next.Stop()
	select {
	case <-next.C:
	case <-s.stopped:
	}
}

// stageHere fetches, verifies and builds a release. A manifest that came along survives the
// end of this process then, see [modules.Dir.Begin]; what is left to do for it is the
// caller's, who holds up nobody with it: the hub that has asked has it on its disk before
// the head moves.
func (s *Service) stageHere(ctx context.Context, st *orlav1.Stage) (r *dispatch.Release, keep *modules.Pending, err error) {
	select {
	case s.stagings.slots <- struct{}{}:
		defer func() { <-s.stagings.slots }()
	case <-ctx.Done():
		return nil, nil, context.Cause(ctx)
	}
	digest, err := modules.ParseDigest(st.GetDigest())
	if err != nil {
		return nil, nil, err
	}
	if r := s.keep(st.GetName(), dispatch.Part{Number: st.GetRelease(), Digest: digest}); r != nil {
		return r, nil, nil
	}
	m, keep, err := s.stagedManifest(ctx, st, digest)
	if err == nil && keep != nil && len(blobsOf(m)) > 0 { // to fetch them takes time, for which the journal is not to wait
		err = keep.Write()
	}
	if err == nil {
		r, err = s.stageManifest(ctx, st, digest, m)
	}
	return r, keep, err
}

// stageManifest fetches and builds the rest of a release.
func (s *Service) stageManifest(ctx context.Context, st *orlav1.Stage, digest modules.Digest, m *orlav1.Manifest) (*dispatch.Release, error) {
	tell := s.teller(st)
	if m.GetName() != st.GetName() {
		return nil, fmt.Errorf("the manifest is of %q", m.GetName())
	}
	if ps := release.ValidateStored(m); len(ps) > 0 {
		return nil, ps
	}
	if err := s.cfg.Fetcher.EnsureFrom(ctx, st.GetPeers(), blobsOf(m), peer.OnProgress(func(p peer.Progress) {
		tell("fetch", uint64(p.Bytes), uint64(p.TotalBytes)) //nolint:gosec // sizes
	})); err != nil {
		return nil, err
	}
	if len(m.GetFunctions()) > 0 {
		tell("compile", 0, uint64(len(m.GetFunctions())))
	}
	return s.cfg.Dispatcher.Build(ctx, dispatch.Spec{Number: st.GetRelease(), Digest: digest, Since: st.GetSince().AsTime(), Manifest: m})
}

// stagedManifest returns the manifest that came along, or fetches it; keep is nil then.
func (s *Service) stagedManifest(ctx context.Context, st *orlav1.Stage, digest modules.Digest) (m *orlav1.Manifest, keep *modules.Pending, err error) {
	b := st.GetManifest()
	if len(b) == 0 {
		if b, err = s.cfg.Fetcher.ReadFrom(ctx, st.GetPeers(), digest, maxMessageBytes); err != nil {
			return nil, nil, err
		}
		m, err = release.Decode(b)
		return m, nil, err
	}
	if modules.Sum(b) != digest {
		return nil, nil, errors.New("the manifest is not the one that was announced")
	}
	if keep, err = s.cfg.Blobs.Begin(b); err != nil {
		return nil, nil, fmt.Errorf("store the manifest: %w", err)
	}
	m, err = release.Decode(b)
	return m, keep, err
}

// teller returns a function that tells the hubs what the node is at, now and then.
func (s *Service) teller(st *orlav1.Stage) func(step string, done, total uint64) {
	var mu sync.Mutex
	var told time.Time
	var last string
	return func(step string, done, total uint64) {
		mu.Lock()
		now := time.Now()
		skip := step == last && now.Sub(told) < tellEvery
		if !skip {
			told, last = now, step
		}
		mu.Unlock()
		if !skip {
			s.send(cluster.Hubs, topicStaged+st.GetId(), &orlav1.Staged{Id: st.GetId(), Node: s.cfg.Node, Step: step, Done: done, Total: total})
		}
	}
}

func (s *Service) onUnstage(msg cluster.Message) {
	if u, err := decode[orlav1.Unstage](msg.Data); err == nil {
		s.unstage(u.GetId())
	}
}

// unstage lets go of what was got ready and did not go live.
func (s *Service) unstage(id string) {
	s.stagings.mu.Lock()
	job := s.stagings.byID[id]
	s.stagings.endLocked(id)
	s.stagings.mu.Unlock()
	if job == nil {
		return
	}
	job.cancel()
	if job.r != nil {
		s.withdraw(job.r)
	}
}

// end lets go of the releases that were asked for and that their head asks for now, and
// returns the hub that has asked; empty if none has.
func (s *stagings) end(head *orlav1.Head) (hub string) {
	parts, err := partsOf(head)
	if err != nil {
		return ""
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, job := range s.byID {
		if job.ask.GetName() == head.GetName() && slices.ContainsFunc(parts, job.is) {
			hub = job.ask.GetOrigin()
			job.cancel() // which leads to unstage
		}
	}
	return hub
}

// blobsOf returns what a release consists of, but for its manifest.
func blobsOf(m *orlav1.Manifest) []peer.Blob {
	var out []peer.Blob
	add := func(digest string, size int64) {
		if d, err := modules.ParseDigest(digest); err == nil {
			out = append(out, peer.Blob{Digest: d, Size: size})
		}
	}
	file := func(f *orlav1.File) {
		add(f.GetDigest(), f.GetSize())
		for _, v := range f.GetVariants() {
			add(v.GetDigest(), v.GetSize())
		}
	}
	for _, f := range m.GetSite().GetFiles() {
		file(f)
	}
	for _, fn := range m.GetFunctions() {
		add(fn.GetModule(), fn.GetModuleSize())
		for _, f := range fn.GetFiles() {
			file(f)
		}
	}
	return out
}
