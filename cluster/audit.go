package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// The subject of a record is auditPrefix and the escaped topic, or auditAny.
const (
	auditStream = "orla_audit"
	auditPrefix = "orla.audit."
	auditAny    = "=" // no topic; escapeKVKey never returns it

	auditAge      = 400 * 24 * time.Hour
	auditBytes    = 256 << 20
	auditPage     = 256
	headerMsgID   = "Nats-Msg-Id"
	maxAuditTopic = 63
)

// MaxAuditRecord is how many bytes a record of the audit log may have.
const MaxAuditRecord = 16 << 10

// ErrAuditInvalid means that a record can never be appended.
var ErrAuditInvalid = errors.New("cluster: not an audit record")

// Audit is the log of who changed what: a stream beside the register, to which hubs
// append and from which nobody can take anything away before it is 400 days old or
// 256 MiB of newer records push it out. Its methods may be called concurrently, before,
// during and after [Cluster.Run].
type Audit struct {
	c    *Cluster
	open atomic.Pointer[register] // of which the stream is known to be there
}

// NewAudit returns the audit log of c's register.
func NewAudit(c *Cluster) *Audit { return &Audit{c: c} }

// AuditRecord is one record of the audit log.
type AuditRecord struct {
	// ID is the record's own: within two minutes it is appended once, however often
	// that is tried.
	ID string
	// Topic is what readers may ask for, at most 63 bytes; empty means none.
	Topic string
	// Data is what the record says, at most [MaxAuditRecord] bytes.
	Data []byte
}

// AuditQuery says which records to read.
type AuditQuery struct {
	// Topic is that of the records; empty means all.
	Topic string
	// After is the sequence after which to begin. If it is 0, Since says from when on.
	After uint64
	// Since is the time from which on to read; zero means from the first.
	Since time.Time
}

// auditConfig is the stream. It takes nothing back, whoever asks.
func auditConfig(replicas int) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: auditStream, Subjects: []string{auditPrefix + ">"}, Storage: jetstream.FileStorage, Replicas: replicas,
		MaxAge: auditAge, MaxBytes: auditBytes, MaxMsgs: -1, MaxMsgsPerSubject: -1, MaxConsumers: -1, MaxMsgSize: MaxAuditRecord + 4<<10,
		Discard: jetstream.DiscardOld, AllowDirect: true, DenyDelete: true, DenyPurge: true,
	}
}

// Append appends a record. It returns when the record is on disk, at most of the hubs
// if there are several; else [ErrUnavailable], and it may have been appended all the
// same, or [ErrAuditInvalid].
func (a *Audit) Append(ctx context.Context, rec AuditRecord) error {
	if len(rec.Data) > MaxAuditRecord || len(rec.Topic) > maxAuditTopic || rec.ID == "" {
		return fmt.Errorf("%w: %d bytes on a topic of %d", ErrAuditInvalid, len(rec.Data), len(rec.Topic))
	}
	if a.c.kind == edge {
		return fmt.Errorf("%w: %w: hubs keep the audit log", ErrUnavailable, ErrReadOnly)
	}
	ctx, cancel := a.c.bounded(ctx)
	defer cancel()
	reg, err := a.register(ctx)
	if err != nil {
		return err
	}
	if err := a.c.checkSpace(int64(len(rec.Data))); err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	m := nats.NewMsg(auditPrefix + auditToken(rec.Topic))
	m.Data = rec.Data
	m.Header.Set(headerMsgID, rec.ID)
	reply, err := reg.nc.RequestMsgWithContext(ctx, m)
	if errors.Is(err, nats.ErrNoResponders) {
		a.open.Store(nil) // the stream is gone, and made anew by the next call
		return fmt.Errorf("%w: the audit log is gone", ErrUnavailable)
	}
	if err != nil {
		return fmt.Errorf("%w: append to the audit log: %w", ErrUnavailable, reason(ctx, err))
	}
	if _, err := reg.acknowledged(reply.Data); err != nil {
		return fmt.Errorf("append to the audit log: %w", err)
	}
	return nil
}

// Read calls f with each record that the query asks for, oldest first, as of the moment
// of the call, and stops at f's error. The data are f's to keep. It returns
// [ErrUnavailable], or f's error.
func (a *Audit) Read(ctx context.Context, q AuditQuery, f func(sequence uint64, data []byte) error) error {
	reg, err := a.register(ctx)
	if err != nil {
		return err
	}
	subject := auditPrefix + ">"
	if q.Topic != "" {
		subject = auditPrefix + auditToken(q.Topic)
	}
	last, at, err := reg.lastOf(ctx, auditStream, subject)
	if errors.Is(err, ErrNotFound) || err == nil && at.Before(q.Since) {
		return nil
	}
	if err != nil {
		return err
	}
	read := auditRead{reg: reg, subject: subject, at: q.After, since: q.Since, f: f}
	patience := time.Now().Add(a.c.cfg.Timeout)
	for read.at < last {
		more, err := read.page(ctx)
		if err != nil {
			return err
		}
		if more {
			patience = time.Now().Add(a.c.cfg.Timeout)
			continue
		}
		if read.at < last { // the replica that has answered is behind
			if time.Now().After(patience) {
				return fmt.Errorf("%w: read the audit log: %w", ErrUnavailable, errNoAnswer)
			}
			if err := pause(ctx, behind); err != nil {
				return fmt.Errorf("%w: read the audit log: %w", ErrUnavailable, err)
			}
		}
	}
	return nil
}

// auditRead is one Read on its way.
type auditRead struct {
	reg     *register
	subject string
	at      uint64 // the last sequence that was read, or skipped
	since   time.Time
	f       func(uint64, []byte) error
}

// page reads one page, and reports whether there are more.
func (r *auditRead) page(ctx context.Context) (more bool, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, r.reg.timeout, errNoAnswer)
	defer cancel()
	ask := map[string]any{"batch": auditPage, "next_by_subj": r.subject}
	if r.at == 0 && !r.since.IsZero() {
		ask["start_time"] = r.since.UTC()
	} else {
		ask["seq"] = r.at + 1
	}
	var stopped error
	more, err = r.reg.batch(ctx, auditStream, ask, func(m *nats.Msg) error {
		seq, err := strconv.ParseUint(m.Header.Get(headerSequence), 10, 64)
		if err != nil {
			return fmt.Errorf("sequence: %w", err)
		}
		r.at = max(r.at, seq)
		stopped = r.f(seq, m.Data)
		return stopped
	})
	if stopped != nil {
		return false, stopped
	}
	if err != nil {
		return false, fmt.Errorf("%w: read the audit log: %w", ErrUnavailable, err)
	}
	return more, nil
}

// auditToken is the topic in a subject.
func auditToken(topic string) string {
	if topic == "" {
		return auditAny
	}
	return escapeKVKey(topic)
}

// register returns the register's connection once the stream is there.
func (a *Audit) register(ctx context.Context) (*register, error) {
	st := a.c.awaitStatus(ctx)
	if st.reg == nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, st.err)
	}
	if a.open.Load() == st.reg {
		return st.reg, nil
	}
	ctx, cancel := a.c.bounded(ctx)
	defer cancel()
	if err := st.reg.ensureAudit(ctx); err != nil {
		return nil, err
	}
	a.open.Store(st.reg)
	return st.reg, nil
}

// ensureAudit makes the stream if there is none, and gives it as many replicas as the
// register has.
func (r *register) ensureAudit(ctx context.Context) error {
	like, err := r.stream(ctx)
	if err != nil {
		return fmt.Errorf("%w: open the audit log: %w", ErrUnavailable, err)
	}
	js, err := r.jetStream()
	if err != nil {
		return err
	}
	want := auditConfig(max(like.Config.Replicas, 1))
	stream, err := js.Stream(ctx, auditStream)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		_, err = js.CreateStream(ctx, want)
	case err == nil && stream.CachedInfo().Config.Replicas < want.Replicas:
		cfg := stream.CachedInfo().Config
		cfg.Replicas = want.Replicas
		_, err = js.UpdateStream(ctx, cfg)
	}
	if err != nil {
		return fmt.Errorf("%w: open the audit log: %w", ErrUnavailable, reason(ctx, err))
	}
	return nil
}

// lastOf returns the sequence of a subject's last message, and when it was stored, as
// the stream's leader has it, or [ErrNotFound]. The subject may have wildcards.
func (r *register) lastOf(ctx context.Context, stream, subject string) (uint64, time.Time, error) {
	var never time.Time
	ctx, cancel := context.WithTimeoutCause(ctx, r.timeout, errNoAnswer)
	defer cancel()
	ask, err := json.Marshal(map[string]string{"last_by_subj": subject})
	if err != nil {
		return 0, never, err
	}
	reply, err := r.nc.RequestWithContext(ctx, r.api+"STREAM.MSG.GET."+stream, ask)
	if err != nil {
		return 0, never, fmt.Errorf("%w: ask for %q: %w", ErrUnavailable, stream, reason(ctx, err))
	}
	var got struct {
		Error   *apiError `json:"error"`
		Message struct {
			Seq  uint64    `json:"seq"`
			Time time.Time `json:"time"`
		} `json:"message"`
	}
	if err := json.Unmarshal(reply.Data, &got); err != nil {
		return 0, never, fmt.Errorf("%w: ask for %q: %w", ErrUnavailable, stream, err)
	}
	if got.Error != nil {
		if got.Error.Code == codeNoMessage {
			return 0, never, ErrNotFound
		}
		return 0, never, fmt.Errorf("%w: ask for %q: %w", ErrUnavailable, stream, got.Error)
	}
	return got.Message.Seq, got.Message.Time, nil
}
