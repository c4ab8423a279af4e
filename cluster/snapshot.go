package cluster

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
)

// snapshot is a stream as it was: its configuration, how far it was, and a file with
// its messages in the server's own format, sequences and all.
type snapshot struct {
	Stream string          `json:"stream"`
	Config json.RawMessage `json:"config"`
	State  json.RawMessage `json:"state"`
	File   string          `json:"file"`
	Size   int64           `json:"size"`
	SHA256 string          `json:"sha256"`
}

// snapshotChunk is the size of a piece of a snapshot, to and from the server.
const snapshotChunk = 128 << 10

// last is the stream's last sequence in the snapshot.
func (s snapshot) last() (uint64, error) {
	var state struct {
		Last uint64 `json:"last_seq"`
	}
	if err := json.Unmarshal(s.State, &state); err != nil {
		return 0, fmt.Errorf("read snapshot of %s: %w", s.Stream, err)
	}
	return state.Last, nil
}

// id is the identity of the bucket that the snapshot is of.
func (s snapshot) id() string {
	var cfg struct {
		Metadata map[string]string `json:"metadata"`
	}
	if err := json.Unmarshal(s.Config, &cfg); err != nil {
		return ""
	}
	return cfg.Metadata[metaBucket]
}

// answer is what every answer of the JetStream API has.
type answer struct {
	Error *apiError `json:"error"`
}

// call makes a request to the JetStream API and decodes the answer into to, if not nil.
func (r *register) call(ctx context.Context, what string, ask, to any) error {
	b, err := json.Marshal(ask)
	if err != nil {
		return err
	}
	reply, err := r.nc.RequestWithContext(ctx, r.api+what, b)
	if err != nil {
		return reason(ctx, err)
	}
	return decodeAnswer(reply.Data, to)
}

// callSoon is call for what is answered at once, or never: a hub that leaves takes
// questions with it.
func (r *register) callSoon(ctx context.Context, what string, ask, to any) error {
	ctx, cancel := context.WithTimeoutCause(ctx, r.timeout, errNoAnswer)
	defer cancel()
	return r.call(ctx, what, ask, to)
}

func decodeAnswer(b []byte, to any) error {
	var a answer
	if err := json.Unmarshal(b, &a); err != nil {
		return fmt.Errorf("read the server's answer: %w", err)
	}
	if a.Error != nil {
		return a.Error
	}
	if to == nil {
		return nil
	}
	if err := json.Unmarshal(b, to); err != nil {
		return fmt.Errorf("read the server's answer: %w", err)
	}
	return nil
}

// backup writes a snapshot of the stream to the file in dir, durably.
func (r *register) backup(ctx context.Context, stream, dir string) (snapshot, error) {
	snap := snapshot{Stream: stream, File: stream + ".snapshot"}
	f, err := os.OpenFile(filepath.Join(dir, snap.File), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600) //nolint:gosec // a file of ours
	if err != nil {
		return snap, err
	}
	sum := &summed{w: f, sum: sha256.New()}
	err = r.readSnapshot(ctx, &snap, sum)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return snap, fmt.Errorf("save stream %s: %w", stream, err)
	}
	snap.Size, snap.SHA256 = sum.n, hex.EncodeToString(sum.sum.Sum(nil))
	return snap, nil
}

// readSnapshot has the server send the stream, piece by piece, and checks its messages.
func (r *register) readSnapshot(ctx context.Context, snap *snapshot, w io.Writer) error {
	inbox := r.nc.NewInbox()
	sub, err := r.nc.SubscribeSync(inbox)
	if err != nil {
		return err
	}
	defer sub.Unsubscribe() //nolint:errcheck // at worst the connection is gone, and it with it
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		return err
	}
	ask := map[string]any{"deliver_subject": inbox, "no_consumers": true, "jsck": true, "chunk_size": snapshotChunk}
	if err := r.call(ctx, "STREAM.SNAPSHOT."+snap.Stream, ask, snap); err != nil {
		return err
	}
	for {
		m, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			return reason(ctx, err)
		}
		if len(m.Data) == 0 {
			if status := m.Header.Get(headerStatus); status != "" && status != "204" {
				return fmt.Errorf("the server gave up: %s %s", status, m.Header.Get("Description"))
			}
			return nil
		}
		if _, err := w.Write(m.Data); err != nil {
			return err
		}
		if m.Reply != "" {
			if err := m.Respond(nil); err != nil {
				return err
			}
		}
	}
}

// verify reports whether the file in dir is what was saved.
func (s snapshot) verify(dir string) error {
	f, err := os.Open(filepath.Join(dir, s.File)) //nolint:gosec // a file of ours
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // only read
	sum := &summed{w: io.Discard, sum: sha256.New()}
	if _, err := io.Copy(sum, f); err != nil {
		return err
	}
	if hex.EncodeToString(sum.sum.Sum(nil)) != s.SHA256 || sum.n != s.Size {
		return fmt.Errorf("%s is damaged: its checksum differs", filepath.Join(dir, s.File))
	}
	return nil
}

// restore makes the stream again from the file in dir, with so many replicas, every
// message with its old sequence. There must be no such stream. The register is
// unfinished then. It calls amid when the server waits for the end of the file.
func (r *register) restore(ctx context.Context, snap snapshot, dir string, replicas int, amid func()) error {
	f, err := os.Open(filepath.Join(dir, snap.File)) //nolint:gosec // a file of ours
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // only read
	cfg, err := snap.grown(replicas)
	if err != nil {
		return fmt.Errorf("read snapshot of %s: %w", snap.Stream, err)
	}
	var ready struct {
		Deliver string `json:"deliver_subject"`
	}
	ask := map[string]any{"config": cfg, "state": snap.State}
	if err := r.callSoon(ctx, "STREAM.RESTORE."+snap.Stream, ask, &ready); err != nil {
		return fmt.Errorf("restore stream %s: %w", snap.Stream, err)
	}
	if err := r.sendSnapshot(ctx, f, ready.Deliver, amid); err != nil {
		return fmt.Errorf("restore stream %s: %w", snap.Stream, err)
	}
	return nil
}

// grown is the configuration of the stream with so many replicas.
func (s snapshot) grown(replicas int) (map[string]json.RawMessage, error) {
	cfg, metadata := map[string]json.RawMessage{}, map[string]string{}
	err := json.Unmarshal(s.Config, &cfg)
	if m := cfg["metadata"]; err == nil && m != nil {
		err = json.Unmarshal(m, &metadata)
	}
	if err != nil {
		return nil, err
	}
	if s.Stream == streamName {
		metadata[metaUnfinished] = byGrown
	}
	if cfg["metadata"], err = json.Marshal(metadata); err != nil {
		return nil, err
	}
	cfg["num_replicas"], err = json.Marshal(replicas)
	return cfg, err
}

// sendSnapshot sends the pieces, each once the one before it has been taken. The
// server answers the empty one at the end when the stream is there.
func (r *register) sendSnapshot(ctx context.Context, from io.Reader, subject string, amid func()) error {
	piece := make([]byte, snapshotChunk)
	for {
		n, err := io.ReadFull(from, piece)
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return err
		}
		if n == 0 {
			amid()
		}
		pctx, done := context.WithTimeoutCause(ctx, stepIn, errNoAnswer)
		reply, rerr := r.nc.RequestWithContext(pctx, subject, piece[:n])
		rerr = reason(pctx, rerr)
		done()
		if rerr != nil {
			return rerr
		}
		if n == 0 || len(reply.Data) > 0 {
			return decodeAnswer(reply.Data, nil)
		}
	}
}

// summed counts and hashes what is written to w.
type summed struct {
	w   io.Writer
	sum hash.Hash
	n   int64
}

// Write implements io.Writer.
func (s *summed) Write(b []byte) (int, error) {
	n, err := s.w.Write(b)
	s.sum.Write(b[:n])
	s.n += int64(n)
	return n, err
}

// streams lists the names of all streams.
func (r *register) streams(ctx context.Context) ([]string, error) {
	js, err := r.jetStream()
	if err != nil {
		return nil, err
	}
	var names []string
	list := js.StreamNames(ctx)
	for name := range list.Name() {
		names = append(names, name)
	}
	if err := list.Err(); err != nil {
		return nil, fmt.Errorf("list streams: %w", reason(ctx, err))
	}
	return names, nil
}
