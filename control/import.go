package control

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/orla-edge/orla/cluster"
	"github.com/orla-edge/orla/modules"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

func isHead(key string) bool { return strings.HasPrefix(key, headPrefix) }

// ImportCluster implements the API.
func (s *Service) ImportCluster(ctx context.Context, stream *connect.ClientStream[orlav1.ImportClusterRequest]) (*connect.Response[orlav1.ImportClusterResponse], error) {
	if !stream.Receive() {
		return nil, errors.Join(stream.Err(), connect.NewError(connect.CodeInvalidArgument, errors.New("the export is empty")))
	}
	first := stream.Msg()
	im := &importer{s: s, replace: first.GetReplace(), dry: first.GetDryRun(), answer: &orlav1.ImportClusterResponse{}}
	r := &received{stream: stream, rest: bytes.Clone(first.GetData())}
	if err := im.run(ctx, r); err != nil {
		if errors.Is(err, errExport) {
			return nil, connect.NewError(connect.CodeInvalidArgument, err)
		}
		return nil, callError(err)
	}
	if !im.dry {
		s.cfg.Logger.Warn("register imported", "who", caller(ctx).name, "revision", im.answer.GetRevision(), "added", im.answer.GetAdded(),
			"changed", im.answer.GetChanged(), "removed", im.answer.GetRemoved(), "remade", im.answer.GetRemade())
	}
	return connect.NewResponse(im.answer), nil
}

// received reads the pieces of a stream.
type received struct {
	stream *connect.ClientStream[orlav1.ImportClusterRequest]
	rest   []byte
}

// Read implements io.Reader.
func (r *received) Read(b []byte) (int, error) {
	for len(r.rest) == 0 {
		if !r.stream.Receive() {
			if err := r.stream.Err(); err != nil {
				return 0, err
			}
			return 0, io.EOF
		}
		r.rest = r.stream.Msg().GetData()
	}
	n := copy(b, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// errExport: what was sent is not an export.
var errExport = errors.New("control: not an export of a cluster, or damaged")

// archive reads an export. Register must be called first, then Blobs.
type archive struct{ tar *tar.Reader }

// register reads what comes first.
func (a archive) register() (cluster.Register, error) {
	h, err := a.tar.Next()
	if err != nil {
		return cluster.Register{}, fmt.Errorf("%w: %w", errExport, err)
	}
	if h.Name != exportRegister || h.Size > cluster.MaxRegister {
		return cluster.Register{}, fmt.Errorf("%w: it begins with %q of %d bytes", errExport, h.Name, h.Size)
	}
	b, err := io.ReadAll(a.tar)
	if err != nil {
		return cluster.Register{}, fmt.Errorf("%w: %w", errExport, err)
	}
	register, err := cluster.DecodeRegister(b)
	if err != nil {
		return cluster.Register{}, fmt.Errorf("%w: %w", errExport, err)
	}
	return register, nil
}

// blobs calls store with each file, and returns the summary at the end.
func (a archive) blobs(store func(modules.Digest, io.Reader) error) (*orlav1.ExportSummary, error) {
	for {
		h, err := a.tar.Next()
		if errors.Is(err, io.EOF) {
			err = errors.New("it was cut short")
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errExport, err)
		}
		if h.Name == exportSummary {
			b, err := io.ReadAll(io.LimitReader(a.tar, maxTextBytes))
			if err != nil {
				return nil, fmt.Errorf("%w: %w", errExport, err)
			}
			summary := &orlav1.ExportSummary{}
			if err := protojson.Unmarshal(b, summary); err != nil {
				return nil, fmt.Errorf("%w: %w", errExport, err)
			}
			return summary, nil
		}
		name, ok := strings.CutPrefix(h.Name, exportBlobs)
		digest, err := modules.ParseDigest(name)
		if !ok || err != nil {
			return nil, fmt.Errorf("%w: it has %q", errExport, h.Name)
		}
		if err := store(digest, a.tar); err != nil {
			return nil, err
		}
	}
}

// importer is one ImportCluster call.
type importer struct {
	s            *Service
	replace, dry bool
	answer       *orlav1.ImportClusterResponse
}

func (im *importer) run(ctx context.Context, r io.Reader) error {
	a := archive{tar.NewReader(r)}
	export, err := a.register()
	if err != nil {
		return err
	}
	changes, err := im.plan(ctx, export)
	if err != nil {
		return err
	}
	if im.dry {
		return im.lacking(export)
	}
	if im.answer.Export, err = a.blobs(im.store); err != nil {
		return err
	}
	if err := im.s.cfg.Blobs.Sync(); err != nil {
		return fmt.Errorf("store content: %w", err)
	}
	if err := im.lacking(export); err != nil {
		return err
	}
	if im.answer.GetRemade() {
		for _, h := range im.s.members.list() {
			export.Revision = max(export.Revision, h.GetRevision())
		}
		im.answer.Revision, err = im.s.cfg.Register.Remake(ctx, export)
		return err
	}
	return im.commit(ctx, changes)
}

// store keeps one file.
func (im *importer) store(digest modules.Digest, r io.Reader) error {
	if im.s.cfg.Blobs.Has(digest) {
		return nil
	}
	w, err := im.s.cfg.Blobs.Create()
	if err != nil {
		return storeError(err)
	}
	defer w.Abort()
	if _, err := io.Copy(w, r); errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it was cut short", errExport)
	} else if err != nil {
		return storeError(fmt.Errorf("%s: %w", digest, err))
	}
	if _, err := w.Commit(digest); err != nil {
		if errors.Is(err, modules.ErrDigest) {
			return fmt.Errorf("%w: %w", errExport, err)
		}
		return storeError(err)
	}
	im.answer.Blobs++
	return nil
}

// plan compares the register with the export, and returns what makes it equal.
func (im *importer) plan(ctx context.Context, export cluster.Register) ([]cluster.Change, error) {
	now, err := im.now(ctx)
	if err != nil {
		return nil, err
	}
	empty := true
	have := map[string]cluster.Entry{}
	for _, e := range now {
		have[e.Key] = e
		empty = empty && !isHead(e.Key)
	}
	if !empty && !im.replace && !im.dry && !im.answer.GetRemade() {
		return nil, connect.NewError(connect.CodeFailedPrecondition, errors.New("this cluster has apps: --replace makes it equal to the export, and removes what is not in it"))
	}
	var changes []cluster.Change
	for _, e := range export.Entries {
		old, ok := have[e.Key]
		delete(have, e.Key)
		switch {
		case !ok:
			im.answer.Added++
		case bytes.Equal(old.Value, e.Value):
			im.answer.Same++
			continue
		default:
			im.answer.Changed++
		}
		changes = append(changes, cluster.Change{Key: e.Key, Value: e.Value, Expect: old.Revision})
	}
	if empty && !im.replace && !im.answer.GetRemade() {
		return changes, nil // what a new cluster has beside apps is kept
	}
	for _, e := range now {
		if _, extra := have[e.Key]; extra && e.Key != ticketsKey {
			im.answer.Removed++
			changes = append(changes, cluster.Change{Key: e.Key, Expect: e.Revision})
		}
	}
	return changes, nil
}

// now is what the register has; of one that is lost, what the node knows.
func (im *importer) now(ctx context.Context) ([]cluster.Entry, error) {
	if im.s.cfg.Register.Lost() != "" {
		im.answer.Remade = true
		return im.s.cfg.Register.Register().Entries, nil
	}
	return im.s.cfg.Register.List(ctx, "")
}

// importBytes bounds the values of one commit.
const importBytes = 16 << 20

// commit makes the changes, in as few steps as fit.
func (im *importer) commit(ctx context.Context, changes []cluster.Change) error {
	im.answer.Revision = im.s.cfg.Register.Applied()
	for len(changes) > 0 {
		n, size := 0, 0
		for n < len(changes) && n < cluster.MaxChanges && (n == 0 || size+len(changes[n].Value) <= importBytes) {
			size += len(changes[n].Value)
			n++
		}
		revision, err := im.s.cfg.Register.Commit(ctx, changes[:n]...)
		if errors.Is(err, cluster.ErrConflict) {
			return connect.NewError(connect.CodeAborted, fmt.Errorf("the register was changed meanwhile: %w; import again", err))
		}
		if err != nil {
			return fmt.Errorf("%w; what was not imported yet is missing: import again with --replace", err)
		}
		im.answer.Revision = revision
		changes = changes[n:]
	}
	return im.s.cfg.Register.Wait(ctx, im.answer.GetRevision())
}

// lacking names the live releases whose content is not here.
func (im *importer) lacking(export cluster.Register) error {
	heads, _, err := headsOf(export.Entries)
	if err != nil {
		return fmt.Errorf("%w: %w", errExport, err)
	}
	im.answer.Missing = nil
	for _, head := range heads {
		parts, err := partsOf(head)
		if err != nil {
			return fmt.Errorf("%w: %q: %w", errExport, head.GetName(), err)
		}
		for _, p := range parts {
			if !im.s.has(p.Digest) {
				im.answer.Missing = append(im.answer.Missing, fmt.Sprintf("%s release %d", head.GetName(), p.Number))
			}
		}
	}
	return nil
}

// has reports whether all of a release is on this node.
func (s *Service) has(digest modules.Digest) bool {
	m, err := s.manifest(digest)
	if err != nil {
		return false
	}
	for _, b := range blobsOf(m) {
		if !s.cfg.Blobs.Has(b.Digest) {
			return false
		}
	}
	return true
}
