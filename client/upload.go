package client

import (
	"context"
	"errors"
	"fmt"
	"io"

	"connectrpc.com/connect"

	"github.com/orla-edge/orla/app"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

const (
	// findBatch is how many digests one call asks about; the API's limit.
	findBatch = 10_000
	// pieceSize is how much of a blob one message carries, in bytes.
	pieceSize = 256 << 10
)

// upload sends the blobs that the node lacks. What it has taken it keeps, so
// that a second try after a broken connection sends the rest.
func (c *Client) upload(ctx context.Context, pkg *app.Package, observe func(Event)) error {
	missing, err := c.missing(ctx, pkg.Blobs)
	if err != nil {
		return err
	}
	for retried := false; len(missing) > 0; retried = true {
		u := &uploader{client: c, pkg: pkg, observe: observe, event: Event{Step: StepUpload, Total: uint64(len(missing))}}
		for _, b := range missing {
			u.event.TotalBytes += uint64(b.Size)
		}
		err := u.run(ctx, missing)
		if err == nil {
			return nil
		}
		if e, ok := errors.AsType[*Error](err); !ok || !e.Broken || retried || ctx.Err() != nil {
			return err
		}
		if missing, err = c.missing(ctx, missing); err != nil {
			return err
		}
	}
	return nil
}

// missing returns those of the blobs that the node lacks, in the same order.
func (c *Client) missing(ctx context.Context, blobs []app.Blob) ([]app.Blob, error) {
	var all []app.Blob
	for len(blobs) > 0 {
		batch := blobs[:min(len(blobs), findBatch)]
		blobs = blobs[len(batch):]
		req := &orlav1.FindMissingBlobsRequest{Digests: make([]string, len(batch))}
		for i, b := range batch {
			req.Digests[i] = b.Digest.String()
		}
		res, err := c.control.FindMissingBlobs(ctx, connect.NewRequest(req))
		if err != nil {
			return nil, c.explain(err)
		}
		lacks := make(map[string]bool, len(res.Msg.GetMissing()))
		for _, d := range res.Msg.GetMissing() {
			lacks[d] = true
		}
		for i, b := range batch {
			if lacks[req.Digests[i]] {
				all = append(all, b)
			}
		}
	}
	return all, nil
}

// uploader sends blobs over one stream.
type uploader struct {
	client  *Client
	pkg     *app.Package
	observe func(Event)
	event   Event
	stream  *connect.ClientStreamForClient[orlav1.UploadBlobsRequest, orlav1.UploadBlobsResponse]
	buf     [pieceSize]byte
	end     [1]byte
}

// errStreamEnded stands for the error that CloseAndReceive has.
var errStreamEnded = errors.New("client: the node ended the upload")

func (u *uploader) run(ctx context.Context, blobs []app.Blob) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // without it, a stream given up half-way would hold its connection
	u.stream = u.client.control.UploadBlobs(ctx)
	u.observe(u.event)
	for _, b := range blobs {
		err := u.send(b)
		if errors.Is(err, errStreamEnded) {
			break
		}
		if err != nil {
			return err
		}
		u.event.Done++
		u.observe(u.event)
	}
	if _, err := u.stream.CloseAndReceive(); err != nil {
		return u.client.explain(err)
	}
	if u.event.Done < u.event.Total {
		return fmt.Errorf("the node took %d of %d files; deploy again", u.event.Done, u.event.Total)
	}
	return nil
}

// send sends one blob. Its last piece is sent when the file has ended and was
// what had been packed.
func (u *uploader) send(b app.Blob) error {
	r, size, err := u.pkg.Open(b.Digest)
	if err != nil {
		return err
	}
	defer r.Close() //nolint:errcheck // only read
	u.event.Item = b.Path
	piece := &orlav1.UploadBlobsRequest{Digest: b.Digest.String()}
	for sent := int64(0); ; {
		n, err := io.ReadFull(r, u.buf[:])
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return err
		}
		sent += int64(n)
		if err == nil && sent == size { // a full piece: the end is yet to be seen
			if _, err = r.Read(u.end[:]); err != nil && !errors.Is(err, io.EOF) {
				return err
			}
		}
		piece.Data, piece.Last = u.buf[:n], sent == size
		if err := u.stream.Send(piece); errors.Is(err, io.EOF) {
			return errStreamEnded
		} else if err != nil {
			return u.client.explain(err)
		}
		u.event.Bytes += uint64(n)
		if piece.Last {
			return nil
		}
		u.observe(u.event)
		piece.Digest = ""
	}
}
