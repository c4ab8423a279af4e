package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/orla-edge/orla/cluster"
	"github.com/orla-edge/orla/dispatch"
	"github.com/orla-edge/orla/modules"
	"github.com/orla-edge/orla/modules/peer"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/release"
)

// maxDigests is how many digests one FindMissingBlobs call may ask about.
const maxDigests = 10_000

// FindMissingBlobs implements the API.
func (s *Service) FindMissingBlobs(_ context.Context, req *connect.Request[orlav1.FindMissingBlobsRequest]) (*connect.Response[orlav1.FindMissingBlobsResponse], error) {
	if n := len(req.Msg.GetDigests()); n > maxDigests {
		return nil, connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("%d digests in one call; ask about at most %d", n, maxDigests))
	}
	res := &orlav1.FindMissingBlobsResponse{}
	for _, digest := range req.Msg.GetDigests() {
		d, err := modules.ParseDigest(digest)
		if err != nil {
			return nil, connect.NewError(connect.CodeInvalidArgument, err)
		}
		if !s.cfg.Blobs.Has(d) {
			res.Missing = append(res.Missing, digest)
		}
	}
	return connect.NewResponse(res), nil
}

// UploadBlobs implements the API.
func (s *Service) UploadBlobs(_ context.Context, stream *connect.ClientStream[orlav1.UploadBlobsRequest]) (*connect.Response[orlav1.UploadBlobsResponse], error) {
	up := upload{blobs: s.cfg.Blobs}
	defer up.abort()
	for stream.Receive() {
		if err := up.piece(stream.Msg()); err != nil {
			return nil, callError(err)
		}
	}
	if err := stream.Err(); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if up.writer != nil {
		return nil, connect.NewError(connect.CodeInvalidArgument, errors.New("the upload ended inside a blob"))
	}
	if err := s.cfg.Blobs.Sync(); err != nil {
		return nil, callError(fmt.Errorf("store uploaded blobs: %w", err))
	}
	return connect.NewResponse(&orlav1.UploadBlobsResponse{Blobs: up.count, Bytes: up.bytes}), nil
}

// upload takes a stream of pieces apart into blobs.
type upload struct {
	blobs  *modules.Dir
	writer *modules.Writer // nil between blobs
	digest modules.Digest
	count  uint64
	bytes  uint64
}

func (u *upload) piece(p *orlav1.UploadBlobsRequest) error {
	if p.GetDigest() != "" {
		if u.writer != nil {
			return connect.NewError(connect.CodeInvalidArgument, errors.New("a blob began before the one before it ended"))
		}
		d, err := modules.ParseDigest(p.GetDigest())
		if err != nil {
			return connect.NewError(connect.CodeInvalidArgument, err)
		}
		if u.writer, err = u.blobs.Create(); err != nil {
			return storeError(err)
		}
		u.digest = d
	}
	if u.writer == nil {
		return connect.NewError(connect.CodeInvalidArgument, errors.New("a piece that belongs to no blob"))
	}
	if _, err := u.writer.Write(p.GetData()); err != nil {
		return storeError(err)
	}
	if !p.GetLast() {
		return nil
	}
	n, err := u.writer.Commit(u.digest)
	if errors.Is(err, modules.ErrDigest) {
		return connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("the content sent as %s is not that; it may have changed while it was sent: deploy again", u.digest))
	}
	if err != nil {
		return storeError(err)
	}
	u.writer = nil
	u.count++
	u.bytes += uint64(n)
	return nil
}

func (u *upload) abort() {
	if u.writer != nil {
		u.writer.Abort()
	}
}

// storeError is the error of a node that cannot keep what it was sent.
func storeError(err error) error {
	return connect.NewError(connect.CodeResourceExhausted, fmt.Errorf("the node could not store the upload: %w; free space in its data directory and deploy again: nothing that is live has changed", err))
}

// Deploy implements the API.
func (s *Service) Deploy(ctx context.Context, req *connect.Request[orlav1.DeployRequest], stream *connect.ServerStream[orlav1.DeployResponse]) error {
	d := deploy{s: s, ctx: ctx, req: req.Msg, stream: stream, started: time.Now()}
	if err := mustChange(ctx, req.Msg.GetManifest().GetName()); err != nil {
		return err
	}
	return callError(d.run())
}

// deploy is one Deploy call.
type deploy struct {
	s       *Service
	ctx     context.Context //nolint:containedctx // the call's own
	req     *orlav1.DeployRequest
	stream  *connect.ServerStream[orlav1.DeployResponse]
	started time.Time
	held    []func() // let go of what was compiled for the release
	step    string   // last told, at
	told    time.Time
	sending sync.Mutex // one message at a time
}

// progressEvery is how often a step that goes on is told of.
const progressEvery = 50 * time.Millisecond

func (d *deploy) run() error {
	defer func() {
		for _, done := range d.held {
			done()
		}
	}()
	if n := len(d.req.GetMessage()); n > maxTextBytes {
		return connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("the message has %d bytes; at most %d are kept", n, maxTextBytes))
	}
	m := proto.CloneOf(d.req.GetManifest())
	if err := d.validate(m); err != nil {
		return err
	}
	mv, err := d.plan(m)
	if err != nil {
		return err
	}
	if err := d.s.pin(d.ctx, m); err != nil {
		return err
	}
	if err := d.complete(m); err != nil {
		return err
	}
	encoded, digest, err := release.Encode(m)
	if err != nil {
		return err
	}
	mv.digest = digest
	if live := liveRelease(mv.head); live != nil && live.GetDigest() == digest.String() && len(mv.head.GetSplit()) == 0 && !d.req.GetDryRun() {
		return d.unchanged(mv, live)
	}
	created := timestamppb.Now()
	number := nextNumber(mv.head)
	built, err := d.s.cfg.Dispatcher.Build(d.ctx, dispatch.Spec{Number: number, Digest: digest, Since: created.AsTime(), Manifest: m})
	if err != nil {
		return err
	}
	if d.req.GetDryRun() {
		d.s.cfg.Dispatcher.Discard(built)
		return d.send(&orlav1.DeployResponse{Event: &orlav1.DeployResponse_Checked{Checked: &orlav1.Checked{Digest: digest.String(), Summary: release.Summary(m)}}})
	}
	mv.encoded, mv.store = encoded, func() error { return d.store(encoded, m, digest) }
	d.progress("activate", 0, 1, "")
	ended := lead(mv.head, number, nil)
	mv.fresh = true
	mv.head.Releases = append(mv.head.Releases, &orlav1.Release{
		Number: number, Digest: digest.String(), Created: created, Who: caller(d.ctx).name, Message: d.req.GetMessage(),
	})
	stamp(d.ctx, mv.head)
	live, err := d.s.commit(d.ctx, mv, built)
	if err != nil {
		return err
	}
	live.Ended = ended
	d.s.cfg.Logger.Info("release live", "app", live.GetName(), "release", live.GetRelease(), "revision", live.GetRevision(), "who", caller(d.ctx).name)
	return d.send(&orlav1.DeployResponse{Event: &orlav1.DeployResponse_Live{Live: live}})
}

// validate checks everything that can be known without building: the manifest
// by itself, and that every blob is here at its size.
func (d *deploy) validate(m *orlav1.Manifest) error {
	d.progress("validate", 0, 1, "")
	if ps := release.Validate(m); len(ps) > 0 {
		return ps
	}
	return d.present(m)
}

// present checks that the node has every blob of m at the size that m says.
func (d *deploy) present(m *orlav1.Manifest) error {
	var problems release.Problems
	check := func(field, digest string, size int64) {
		parsed, err := modules.ParseDigest(digest)
		if err == nil {
			var have int64
			if have, err = d.s.cfg.Blobs.Size(parsed); err == nil && have != size {
				err = fmt.Errorf("%s has %d bytes, not %d", digest, have, size)
			}
		}
		if err != nil && len(problems) < 100 {
			problems = append(problems, release.Problem{Field: field, Message: fmt.Sprintf("its content is not on the node: %v; deploy again", err)})
		}
	}
	for _, f := range m.GetSite().GetFiles() {
		check("site.files["+f.GetPath()+"]", f.GetDigest(), f.GetSize())
	}
	for _, fn := range m.GetFunctions() {
		check("functions."+fn.GetName()+".module", fn.GetModule(), fn.GetModuleSize())
		for _, f := range fn.GetFiles() {
			check("functions."+fn.GetName()+".files["+f.GetPath()+"]", f.GetDigest(), f.GetSize())
		}
	}
	if problems != nil {
		return problems
	}
	return nil
}

// plan reads the head that is to move, and checks that it may: nobody else's
// hosts, the expected release, the same kind.
func (d *deploy) plan(m *orlav1.Manifest) (move, error) {
	head, revision, err := d.s.current(d.ctx, m.GetName())
	if err != nil {
		return move{}, err
	}
	if head != nil && head.GetKind() != m.GetKind() {
		return move{}, release.Problems{{Field: "name", Message: fmt.Sprintf("%q is already the name of %s; choose another", m.GetName(), kindName(head.GetKind()))}}
	}
	expected := func() bool { return d.req.ExpectLive == nil || head.GetLive() == d.req.GetExpectLive() }
	if !expected() { // perhaps what was read is old
		if head, revision, err = d.s.latest(d.ctx, m.GetName()); err != nil {
			return move{}, err
		}
	}
	if !expected() {
		return move{}, connect.NewError(connect.CodeAborted, fmt.Errorf("release %d of %q is live, not %d; look at `orla releases %s` and try again", head.GetLive(), m.GetName(), d.req.GetExpectLive(), m.GetName()))
	}
	if head == nil {
		head = &orlav1.Head{Name: m.GetName(), Kind: m.GetKind()}
	}
	live, err := d.s.live(head)
	if err != nil {
		// A deploy is how a damaged app is mended.
		d.s.cfg.Logger.Warn("live release unreadable", "app", m.GetName(), "error", err)
	}
	// What is compressed already stays so, also after a restart.
	d.s.cfg.Compressor.Remember(live.GetSite().GetFiles())
	_, problems, err := d.s.claims(d.ctx, m.GetName(), revision, live.GetHosts(), m.GetHosts())
	if err != nil {
		return move{}, err
	}
	if problems != nil {
		return move{}, problems
	}
	return move{head: head, revision: revision, manifest: m, before: live.GetHosts(), started: d.started, rollout: d.req.GetRollout(), tell: d.tell}, nil
}

// complete adds what the node makes of a client's manifest: the variants of the
// site's files and the functions' ABIs.
func (d *deploy) complete(m *orlav1.Manifest) error {
	if files := m.GetSite().GetFiles(); len(files) > 0 {
		err := d.s.cfg.Compressor.Compress(d.ctx, files, func(done, total int64, path string) {
			d.progress("compress", uint64(done), uint64(total), path)
		})
		if err != nil {
			return fmt.Errorf("compress site files: %w", err)
		}
	}
	var problems release.Problems
	for i, f := range m.GetFunctions() {
		d.progress("compile", uint64(i), uint64(len(m.GetFunctions())), f.GetName())
		abi, done, err := d.s.cfg.Dispatcher.Probe(d.ctx, m.GetName(), f)
		if ps, ok := errors.AsType[release.Problems](err); ok {
			problems = append(problems, ps...)
			continue
		}
		if err != nil {
			return err
		}
		f.Abi = abi
		d.held = append(d.held, done)
	}
	if problems != nil {
		return problems
	}
	return nil
}

// storeManifest keeps a manifest and makes all of its release durable.
func (s *Service) storeManifest(encoded []byte) error {
	if _, err := s.cfg.Blobs.PutDurable(encoded); err != nil {
		return storeError(err)
	}
	if err := s.cfg.Blobs.Sync(); err != nil {
		return storeError(err)
	}
	return nil
}

// store keeps the manifest and makes all of the release durable.
func (d *deploy) store(encoded []byte, m *orlav1.Manifest, digest modules.Digest) error {
	if err := d.s.storeManifest(encoded); err != nil {
		return err
	}
	// The nodes have it from each other: a common store that is away keeps nothing from
	// going live, and gets it later.
	all := append(blobsOf(m), peer.Blob{Digest: digest, Size: int64(len(encoded))})
	if err := d.s.cfg.Fetcher.Share(d.ctx, all); err != nil {
		d.s.cfg.Logger.Error("release not in the common store", "app", m.GetName(), "error", err)
	}
	return nil
}

// unchanged says that the release is live already, if it is: what was read may be old.
func (d *deploy) unchanged(mv move, live *orlav1.Release) error {
	_, revision, err := d.s.latest(d.ctx, mv.head.GetName())
	if err != nil {
		return err
	}
	if revision != mv.revision {
		return d.s.conflict(d.ctx, mv.head.GetName(), cluster.ErrConflict)
	}
	return d.send(&orlav1.DeployResponse{Event: &orlav1.DeployResponse_Live{Live: &orlav1.Live{
		Node: d.s.cfg.Node, Name: mv.head.GetName(), Release: live.GetNumber(), Digest: live.GetDigest(),
		Revision: mv.revision, TotalMs: milliseconds(time.Since(d.started)), Unchanged: true,
		Urls: d.s.urls(mv.manifest.GetHosts()), Summary: release.Summary(mv.manifest),
	}}})
}

// progress tells the client what is going on; if nobody listens any more, the
// call's context ends by itself.
func (d *deploy) progress(step string, done, total uint64, item string) {
	now := time.Now()
	if step == d.step && done < total && now.Sub(d.told) < progressEvery {
		return
	}
	d.step, d.told = step, now
	_ = d.send(&orlav1.DeployResponse{Event: &orlav1.DeployResponse_Progress{Progress: &orlav1.Progress{Step: step, Done: done, Total: total, Item: item}}})
}

// tell tells the client how far a node is. It is called from any goroutine.
func (d *deploy) tell(n *orlav1.NodeResult) {
	_ = d.send(&orlav1.DeployResponse{Event: &orlav1.DeployResponse_Node{Node: n}})
}

func (d *deploy) send(r *orlav1.DeployResponse) error {
	d.sending.Lock()
	defer d.sending.Unlock()
	return d.stream.Send(r)
}

// nextNumber returns the number of a head's next release.
func nextNumber(h *orlav1.Head) uint64 {
	var last uint64
	for _, r := range h.GetReleases() {
		last = max(last, r.GetNumber())
	}
	return last + 1
}

func kindName(k orlav1.Kind) string {
	if k == orlav1.Kind_KIND_ROUTES {
		return "a route set"
	}
	return "an app"
}
