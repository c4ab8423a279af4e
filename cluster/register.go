package cluster

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// register speaks to the bucket over one connection.
type register struct {
	nc      *nats.Conn
	api     string       // prefix of the JetStream API: "$JS.solo.API."
	owned   bool         // its store is this node's alone: what fails, fails here
	bucket  atomic.Int64 // the bucketID that is written to; 0: unknown
	timeout time.Duration

	batches chan struct{} // a token for each batch that may be open at once
	failed  chan error    // holds why writes fail, once they do

	mu       sync.Mutex // guards what follows
	failure  error      // why writes fail
	inflight map[*context.CancelCauseFunc]struct{}
}

// maxBatches keeps below nats-server's 50 open batches a stream.
const maxBatches = 16

func newRegister(t Topology, timeout time.Duration) *register {
	return &register{
		api: t.api(), owned: t.kind().owns(), timeout: timeout,
		batches: make(chan struct{}, maxBatches), failed: make(chan error, 1),
		inflight: map[*context.CancelCauseFunc]struct{}{},
	}
}

func (r *register) id() bucketID { return bucketID(r.bucket.Load()) }

// errWrongLast: a key's last message is not the expected one.
var errWrongLast = errors.New("wrong last sequence")

// The error codes of JetStream that are told apart.
const (
	codeNoLeader              = 10008 // of the hubs, or of the stream
	codeInsufficientResources = 10023
	codeNoMessage             = 10037
	codeWrongLast             = 10071
	codeStoreFailed           = 10077
	codeWrongLastConstant     = 10164 // of a key that is being written at this moment
)

type apiError struct {
	Code int    `json:"err_code"`
	Text string `json:"description"`
}

// Unwrap tells what a person can do.
func (e *apiError) Unwrap() error {
	if e.Code == codeNoLeader {
		return errNoLeader
	}
	return nil
}

func (e *apiError) Error() string {
	if e.Code == codeNoLeader {
		return errNoLeader.Error()
	}
	return fmt.Sprintf("%s (%d)", e.Text, e.Code)
}

// fail notes that the server does not store what it is sent, and releases those
// who wait for an answer.
func (r *register) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failure != nil {
		return
	}
	r.failure = err
	for cancel := range r.inflight {
		(*cancel)(err)
	}
	r.failed <- err // has room: there is one failure
}

// writing returns a context that ends, with the cause, when writes fail.
func (r *register) writing(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failure != nil {
		cancel(r.failure)
	}
	r.inflight[&cancel] = struct{}{}
	return ctx, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.inflight, &cancel)
		cancel(nil)
	}
}

// publish makes the changes, all or none, if the last sequences of their keys are
// those expected, and returns the last new sequence; the changes have consecutive
// ones. It returns errWrongLast, or [ErrUnavailable].
func (r *register) publish(ctx context.Context, changes []Change, expect []uint64) (uint64, error) {
	wctx, done := r.writing(ctx)
	defer done()
	last := len(changes) - 1
	final := newMessage(changes[last], expect[last], r.id())
	if last > 0 {
		select {
		case r.batches <- struct{}{}:
			defer func() { <-r.batches }()
		case <-wctx.Done():
			return 0, fmt.Errorf("%w: %w", ErrUnavailable, context.Cause(wctx))
		}
		if err := r.stage(changes[:last], expect, final.Header); err != nil {
			return 0, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
	}
	if err := wctx.Err(); err != nil {
		return 0, fmt.Errorf("%w: %w", ErrUnavailable, context.Cause(wctx))
	}
	reply, err := r.nc.RequestMsgWithContext(wctx, final)
	if err != nil {
		return 0, r.unanswered(ctx, wctx, err)
	}
	return r.acknowledged(reply.Data)
}

// stage sends all changes of a batch but the last, for which it fills in the
// header. The server answers for all of them when it has got the last.
func (r *register) stage(changes []Change, expect []uint64, final nats.Header) error {
	id := rand.Text()
	for i, ch := range changes {
		m := newMessage(ch, expect[i], r.id())
		m.Header.Set(headerBatch, id)
		m.Header.Set(headerBatchSeq, strconv.Itoa(i+1))
		if err := r.nc.PublishMsg(m); err != nil {
			return err
		}
	}
	final.Set(headerBatch, id)
	final.Set(headerBatchSeq, strconv.Itoa(len(changes)+1))
	final.Set(headerBatchCommit, "1")
	return nil
}

// unanswered says what it means that a write got no answer. The caller's ctx may
// be at its end; if it is not, the server is at fault.
func (r *register) unanswered(ctx, wctx context.Context, err error) error {
	if errors.Is(err, nats.ErrNoResponders) {
		return fmt.Errorf("%w: %w", ErrUnavailable, errGone)
	}
	if cause := context.Cause(wctx); cause != nil {
		err = cause
	}
	if r.owned && errors.Is(err, errNoAnswer) && ctx.Err() != nil {
		r.fail(err)
	}
	return fmt.Errorf("%w: %w: %w", ErrUnavailable, ErrUncertain, err)
}

// errNoAnswer is the cause of contexts that Config.Timeout ended.
var errNoAnswer = errors.New("the register did not answer in time")

// acknowledged reads the answer to a write.
func (r *register) acknowledged(b []byte) (uint64, error) {
	var ack struct {
		Error *apiError `json:"error"`
		Seq   uint64    `json:"seq"`
	}
	if err := json.Unmarshal(b, &ack); err != nil {
		return 0, fmt.Errorf("%w: %w: read acknowledgement: %w", ErrUnavailable, ErrUncertain, err)
	}
	if ack.Error == nil {
		return ack.Seq, nil
	}
	switch ack.Error.Code {
	case codeWrongLast, codeWrongLastConstant:
		return 0, errWrongLast
	case codeInsufficientResources, codeStoreFailed:
		if r.owned {
			r.fail(ack.Error)
		}
	}
	return 0, fmt.Errorf("%w: %w", ErrUnavailable, ack.Error)
}

// askEvery is how often a question is asked again that nobody has answered.
const askEvery = 500 * time.Millisecond

// ask asks a question that changes nothing, and again while there is no answer: it is lost
// if the leader has died, and the next one does not know of it.
func (r *register) ask(ctx context.Context, subject string, data []byte) (*nats.Msg, error) {
	first, cancel := context.WithTimeout(ctx, askEvery)
	defer cancel()
	reply, err := r.nc.RequestWithContext(first, subject, data)
	if err == nil || ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
		return reply, err
	}
	inbox := r.nc.NewInbox() // one for all further questions: the first answer to any of them will do
	sub, err := r.nc.SubscribeSync(inbox)
	if err != nil {
		return nil, err
	}
	defer sub.Unsubscribe() //nolint:errcheck // at worst the connection is gone, and it with it
	for {
		if err := r.nc.PublishRequest(subject, inbox, data); err != nil {
			return nil, err
		}
		again, cancel := context.WithTimeout(ctx, askEvery)
		reply, err := sub.NextMsgWithContext(again)
		cancel()
		if err == nil || ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
			return reply, err
		}
	}
}

// last returns the last message of a key from the stream's leader, so that a read
// after a write sees it. It returns [ErrNotFound] if there never was one.
func (r *register) last(ctx context.Context, key string) (Entry, error) {
	ask, err := json.Marshal(map[string]string{"last_by_subj": subjectPrefix + key})
	if err != nil {
		return Entry{}, err
	}
	reply, err := r.ask(ctx, r.api+"STREAM.MSG.GET."+streamName, ask)
	if err != nil {
		return Entry{}, fmt.Errorf("%w: get %q: %w", ErrUnavailable, key, reason(ctx, err))
	}
	var got struct {
		Error   *apiError `json:"error"`
		Message struct {
			Subject string `json:"subject"`
			Seq     uint64 `json:"seq"`
			Header  []byte `json:"hdrs"`
			Data    []byte `json:"data"`
		} `json:"message"`
	}
	if err := json.Unmarshal(reply.Data, &got); err != nil {
		return Entry{}, fmt.Errorf("%w: get %q: %w", ErrUnavailable, key, err)
	}
	if got.Error != nil {
		if got.Error.Code == codeNoMessage {
			return Entry{}, fmt.Errorf("get %q: %w", key, ErrNotFound)
		}
		return Entry{}, fmt.Errorf("%w: get %q: %w", ErrUnavailable, key, got.Error)
	}
	var header nats.Header
	if len(got.Message.Header) > 0 {
		if header, err = nats.DecodeHeadersMsg(got.Message.Header); err != nil {
			return Entry{}, fmt.Errorf("%w: get %q: %w", ErrUnavailable, key, err)
		}
	}
	m, err := parseStored(got.Message.Subject, header, got.Message.Data)
	if err != nil {
		return Entry{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	m.Revision = got.Message.Seq
	return m.Entry, nil
}

// reason prefers the context's cause to the error that came of it.
func reason(ctx context.Context, err error) error {
	if errors.Is(err, nats.ErrNoResponders) {
		return errors.New("the bucket is gone")
	}
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if failed, ok := errors.AsType[*jetstream.APIError](err); ok && failed.ErrorCode == codeNoLeader {
		return errNoLeader
	}
	return err
}
