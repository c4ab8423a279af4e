package control

import (
	"archive/tar"
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/orla-edge/orla/cluster"
	"github.com/orla-edge/orla/modules"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

// An export is a tar archive. First comes the register, as the files of the last good
// state have it, with a checksum; then manifests and, if wanted, blobs, each under its
// digest; last a summary, without which the archive was cut short.
const (
	exportRegister = "register.state"
	exportBlobs    = "blobs/"
	exportSummary  = "summary.json"

	exportPiece = 256 << 10
)

// ExportCluster implements the API.
func (s *Service) ExportCluster(ctx context.Context, req *connect.Request[orlav1.ExportClusterRequest], stream *connect.ServerStream[orlav1.ExportClusterResponse]) error {
	// What the hubs have, if they can be asked; else what this node knows.
	if _, err := s.cfg.Register.List(ctx, headPrefix); err != nil && !errors.Is(err, cluster.ErrUnavailable) {
		return callError(err)
	}
	w := bufio.NewWriterSize(pieces{stream}, exportPiece)
	summary, err := s.export(ctx, w, req.Msg.GetBlobs())
	if err == nil {
		err = w.Flush()
	}
	if err != nil {
		return callError(err)
	}
	return stream.Send(&orlav1.ExportClusterResponse{Summary: summary})
}

// pieces sends what is written.
type pieces struct {
	stream *connect.ServerStream[orlav1.ExportClusterResponse]
}

// Write implements io.Writer.
func (p pieces) Write(b []byte) (int, error) {
	for n := 0; n < len(b); {
		end := min(n+exportPiece, len(b))
		if err := p.stream.Send(&orlav1.ExportClusterResponse{Data: b[n:end]}); err != nil {
			return n, err
		}
		n = end
	}
	return len(b), nil
}

// exporter writes one export.
type exporter struct {
	s       *Service
	tar     *tar.Writer
	created time.Time
	done    map[modules.Digest]bool
	summary *orlav1.ExportSummary
}

// ticketsKey is the entry with the keys of TLS session tickets. They are to be forgotten,
// and backups are kept: nodes make new ones.
const ticketsKey = "tls.tickets"

// export writes the archive to w.
func (s *Service) export(ctx context.Context, w io.Writer, blobs bool) (*orlav1.ExportSummary, error) {
	register := s.cfg.Register.Register()
	register.Entries = slices.DeleteFunc(slices.Clone(register.Entries), func(e cluster.Entry) bool { return e.Key == ticketsKey })
	e := &exporter{
		s: s, tar: tar.NewWriter(w), created: time.Now().UTC().Truncate(time.Second), done: map[modules.Digest]bool{},
		summary: &orlav1.ExportSummary{Node: s.cfg.Node, Revision: register.Revision, Entries: uint64(len(register.Entries))},
	}
	e.summary.Created = timestamppb.New(e.created)
	if err := e.file(exportRegister, register.Encode()); err != nil {
		return nil, err
	}
	heads, _, err := headsOf(register.Entries)
	if err != nil {
		return nil, err
	}
	for _, head := range heads {
		if err := e.head(ctx, head, blobs); err != nil {
			return nil, fmt.Errorf("export %q: %w", head.GetName(), err)
		}
	}
	b, err := protojson.Marshal(e.summary)
	if err != nil {
		return nil, err
	}
	if err := e.file(exportSummary, b); err != nil {
		return nil, err
	}
	return e.summary, e.tar.Close()
}

// head writes what a head remembers.
func (e *exporter) head(ctx context.Context, head *orlav1.Head, blobs bool) error {
	e.summary.Heads++
	for _, rel := range head.GetReleases() {
		digest, err := modules.ParseDigest(rel.GetDigest())
		if err != nil {
			return err
		}
		if e.done[digest] {
			continue
		}
		if _, err := e.s.cfg.Fetcher.Read(ctx, digest, maxMessageBytes); err != nil {
			return fmt.Errorf("read the manifest of release %d: %w", rel.GetNumber(), err)
		}
		if err := e.blob(digest); err != nil {
			return err
		}
		e.summary.Manifests++
		if !blobs {
			continue
		}
		if err := e.content(ctx, digest); err != nil {
			return fmt.Errorf("read release %d: %w", rel.GetNumber(), err)
		}
	}
	return nil
}

// content writes the blobs of a release.
func (e *exporter) content(ctx context.Context, digest modules.Digest) error {
	m, err := e.s.manifest(digest)
	if err != nil {
		return err
	}
	all := blobsOf(m)
	if err := e.s.cfg.Fetcher.Ensure(ctx, all); err != nil {
		return err
	}
	for _, b := range all {
		if e.done[b.Digest] {
			continue
		}
		if err := e.blob(b.Digest); err != nil {
			return err
		}
		e.summary.Blobs++
	}
	return nil
}

// blob writes one file of the store.
func (e *exporter) blob(digest modules.Digest) error {
	f, err := e.s.cfg.Blobs.Open(digest)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // only read
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := e.header(exportBlobs+digest.String(), info.Size()); err != nil {
		return err
	}
	n, err := io.Copy(e.tar, f)
	e.done[digest] = true
	e.summary.Bytes += uint64(n) //nolint:gosec // a count
	return err
}

func (e *exporter) file(name string, b []byte) error {
	if err := e.header(name, int64(len(b))); err != nil {
		return err
	}
	_, err := e.tar.Write(b)
	return err
}

func (e *exporter) header(name string, size int64) error {
	return e.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o600, ModTime: e.created, Format: tar.FormatPAX})
}

// headsOf decodes the heads among entries, and sums up at which revisions they are.
func headsOf(entries []cluster.Entry) (heads []*orlav1.Head, at string, err error) {
	revisions := map[string]uint64{}
	for _, e := range entries {
		if !isHead(e.Key) {
			continue
		}
		head, err := decode[orlav1.Head](e.Value)
		if err != nil {
			return nil, "", fmt.Errorf("%s: %w", e.Key, err)
		}
		heads = append(heads, head)
		revisions[e.Key] = e.Revision
	}
	b, err := json.Marshal(revisions)
	return heads, string(b), err
}
