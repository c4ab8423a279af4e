package cluster

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// The subject of a key is kvPrefix, app, store and the escaped key.
const (
	kvBucket = "orla_kv"
	kvStream = "KV_" + kvBucket
	kvPrefix = "$KV." + kvBucket + "."

	headerTTL = "Nats-TTL"
)

// Further error codes of JetStream.
const (
	codeDeleteFailed   = 10057
	codeStreamNotFound = 10059
)

var (
	// ErrKVInvalid means that an argument of a key-value call can never be right.
	ErrKVInvalid = errors.New("cluster: not a key-value argument")
	// ErrKVTooLarge means that a value is larger than [KVConfig.Value].
	ErrKVTooLarge = errors.New("cluster: value too large")
	// ErrKVQuota means that the app's keys or bytes are used up.
	ErrKVQuota = errors.New("cluster: key-value quota is used up")
)

// KVConfig bounds what apps keep in the key-value store.
type KVConfig struct {
	// Value is the size in bytes of a value; 0 means 1 MiB, which is also the most.
	Value int64
	// Bytes is the size of all keys and values of an app; 0 means 64 MiB.
	Bytes int64
	// Keys is how many keys an app may have; 0 means 20,000.
	Keys int
}

const maxKVValue = 1 << 20

// KV is the apps' key-value store: a bucket of its own beside the register. Nothing of
// it is synced to nodes: every call goes to the stream's leader. Its methods may be
// called concurrently, before, during and after [Cluster.Run].
type KV struct {
	c     *Cluster
	cfg   KVConfig
	usage *kvState
	open  atomic.Pointer[register] // of which the bucket is known to be there
}

// NewKV returns the store of c's register.
func NewKV(c *Cluster, cfg KVConfig) *KV {
	cfg.Value = min(cmp.Or(cfg.Value, maxKVValue), maxKVValue)
	cfg.Bytes = cmp.Or(cfg.Bytes, 64<<20)
	cfg.Keys = cmp.Or(cfg.Keys, 20_000)
	return &KV{c: c, cfg: cfg, usage: newKVState()}
}

// KVPut says how a value is put.
type KVPut struct {
	// TTL is after how long the key goes by itself, in whole seconds; 0 means never.
	TTL time.Duration
	// Expect, if not nil, is the key's revision that must still be its last; 0: there
	// must be no such key.
	Expect *uint64
}

// maxKVTTL keeps a TTL within what the server can count.
const maxKVTTL = 10 * 365 * 24 * time.Hour

// MaxKVList is how many keys one [KV.List] returns at most.
const MaxKVList = 1000

// kvConfig is the bucket's stream. Deletes leave no marker: nobody watches.
func kvConfig(replicas int) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: kvStream, Subjects: []string{kvPrefix + ">"}, Storage: jetstream.FileStorage, Replicas: replicas,
		MaxMsgsPerSubject: 1, MaxMsgs: -1, MaxBytes: -1, MaxConsumers: -1, MaxMsgSize: maxKVValue + 16<<10,
		Discard: jetstream.DiscardNew, AllowRollup: true, AllowDirect: false, AllowMsgTTL: true,
	}
}

// ensureKV makes the bucket if there is none, and gives it as many replicas as the
// register has.
func (r *register) ensureKV(ctx context.Context) error {
	js, err := r.jetStream()
	if err != nil {
		return err
	}
	register, err := r.stream(ctx)
	if err != nil {
		return fmt.Errorf("%w: open the key-value bucket: %w", ErrUnavailable, err)
	}
	replicas := max(register.Config.Replicas, 1)
	stream, err := js.Stream(ctx, kvStream)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		_, err = js.CreateStream(ctx, kvConfig(replicas))
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			err = nil // another hub was quicker
		}
	case err == nil && stream.CachedInfo().Config.Replicas < replicas:
		cfg := stream.CachedInfo().Config
		cfg.Replicas = replicas
		_, err = js.UpdateStream(ctx, cfg)
	}
	if err != nil {
		return fmt.Errorf("%w: open the key-value bucket: %w", ErrUnavailable, reason(ctx, err))
	}
	return nil
}

// Prepare makes the store, if there is none. A hub has to, before edges can use it.
func (k *KV) Prepare(ctx context.Context) error {
	ctx, cancel := k.c.bounded(ctx)
	defer cancel()
	_, err := k.register(ctx, true)
	return err
}

// Get returns a key's value and revision, as the stream's leader has them: a read
// after a write sees it. It returns [ErrNotFound], [ErrKVInvalid] or [ErrUnavailable].
func (k *KV) Get(ctx context.Context, app, store, key string) (value []byte, revision uint64, err error) {
	subject, err := kvSubject(app, store, key)
	if err != nil {
		return nil, 0, err
	}
	ctx, cancel := k.c.bounded(ctx)
	defer cancel()
	reg, err := k.register(ctx, false)
	if err != nil {
		return nil, 0, err
	}
	m, err := reg.kvLast(ctx, subject)
	return m.Data, m.Seq, k.lost(err)
}

// Put puts a value and returns its revision. It returns [ErrConflict] if the key is
// not at the expected one, [ErrKVQuota], [ErrKVTooLarge], [ErrKVInvalid] or
// [ErrUnavailable], and then [ErrUncertain] too if it may have been put all the same.
func (k *KV) Put(ctx context.Context, app, store, key string, value []byte, how KVPut) (uint64, error) {
	m, err := k.message(app, store, key, value, how)
	if err != nil {
		return 0, err
	}
	ctx, cancel := k.c.bounded(ctx)
	defer cancel()
	reg, err := k.register(ctx, true)
	if err != nil {
		return 0, err
	}
	if err := k.c.checkSpace(int64(len(value))); err != nil {
		return 0, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	size := int64(len(key) + len(value))
	if err := k.use(ctx, reg, app, m.Subject, size); err != nil {
		return 0, err
	}
	if k.c.kind == edge { // the plain subject stays within the edge's own domain
		m.Subject = reg.api + m.Subject
	}
	reply, err := reg.nc.RequestMsgWithContext(ctx, m)
	if errors.Is(err, nats.ErrNoResponders) {
		return 0, k.lost(errKVGone)
	}
	if err != nil {
		return 0, fmt.Errorf("%w: %w: put %q: %w", ErrUnavailable, ErrUncertain, key, reason(ctx, err))
	}
	revision, err := reg.acknowledged(reply.Data)
	if errors.Is(err, errWrongLast) {
		return 0, fmt.Errorf("put %q: %w", key, ErrConflict)
	}
	return revision, err
}

// message is the message that puts a value.
func (k *KV) message(app, store, key string, value []byte, how KVPut) (*nats.Msg, error) {
	subject, err := kvSubject(app, store, key)
	switch {
	case err != nil:
		return nil, err
	case int64(len(value)) > k.cfg.Value:
		return nil, fmt.Errorf("%w: %d bytes, the most is %d", ErrKVTooLarge, len(value), k.cfg.Value)
	case how.TTL < 0 || how.TTL > maxKVTTL || how.TTL%time.Second != 0:
		return nil, fmt.Errorf("%w: a TTL of %v; want whole seconds, ten years at most", ErrKVInvalid, how.TTL)
	}
	m := nats.NewMsg(subject)
	m.Data = value
	if how.TTL > 0 {
		m.Header.Set(headerTTL, how.TTL.String())
	}
	if how.Expect != nil {
		m.Header.Set(headerExpect, strconv.FormatUint(*how.Expect, 10))
	}
	return m, nil
}

// Delete deletes a key; it need not be there. Expect, if not nil, is the revision
// that must still be its last. It returns [ErrConflict], [ErrKVInvalid] or
// [ErrUnavailable].
func (k *KV) Delete(ctx context.Context, app, store, key string, expect *uint64) error {
	subject, err := kvSubject(app, store, key)
	if err != nil {
		return err
	}
	ctx, cancel := k.c.bounded(ctx)
	defer cancel()
	reg, err := k.register(ctx, true)
	if err != nil {
		return err
	}
	for range commitAttempts {
		m, err := reg.kvLast(ctx, subject)
		gone := errors.Is(err, ErrNotFound)
		switch {
		case err != nil && !gone:
			return k.lost(err)
		case expect != nil && *expect != m.Seq:
			return fmt.Errorf("delete %q: %w: expected revision %d, it is at %d", key, ErrConflict, *expect, m.Seq)
		case gone:
			return nil
		}
		// Its number deletes this very message, and none that has replaced it meanwhile.
		err = reg.kvDelete(ctx, m.Seq)
		if err == nil {
			k.usage.forget(app, subject)
		}
		if !errors.Is(err, errWrongLast) {
			return err
		}
	}
	return fmt.Errorf("delete %q: %w: others kept changing it", key, ErrConflict)
}

// List returns the keys of a store that begin with prefix and come after cursor, in
// the order of their bytes, at most limit of them; next is the cursor for more, empty if
// there are none. It returns [ErrKVInvalid] or [ErrUnavailable].
func (k *KV) List(ctx context.Context, app, store, prefix, cursor string, limit int) (keys []string, next string, err error) {
	subjects, err := kvStorePrefix(app, store)
	if err != nil {
		return nil, "", err
	}
	if limit < 1 || limit > MaxKVList {
		return nil, "", fmt.Errorf("%w: a limit of %d; want 1 to %d", ErrKVInvalid, limit, MaxKVList)
	}
	ctx, cancel := k.c.bounded(ctx)
	defer cancel()
	reg, err := k.register(ctx, false)
	if err != nil {
		return nil, "", err
	}
	leave, err := k.usage.enter(ctx)
	if err != nil {
		return nil, "", err
	}
	defer leave()
	err = reg.kvSubjects(ctx, subjects+"*", func(subject string) {
		key, ok := unescapeKVKey(strings.TrimPrefix(subject, subjects))
		if ok && key > cursor && strings.HasPrefix(key, prefix) {
			keys = append(keys, key)
		}
	})
	if err != nil {
		return nil, "", k.lost(err)
	}
	slices.Sort(keys)
	if len(keys) > limit {
		keys = slices.Clone(keys[:limit])
		next = keys[limit-1]
	}
	return keys, next, nil
}

// register returns the register's connection once the bucket is there, for writing if
// so.
func (k *KV) register(ctx context.Context, write bool) (*register, error) {
	st := k.c.awaitStatus(ctx)
	if st.reg == nil || write && st.err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, st.err)
	}
	if k.open.Load() == st.reg {
		return st.reg, nil
	}
	if k.c.kind != edge { // which may not
		if err := st.reg.ensureKV(ctx); err != nil {
			return nil, err
		}
	}
	k.open.Store(st.reg)
	return st.reg, nil
}

// errKVGone: there is no bucket.
var errKVGone = fmt.Errorf("%w: the key-value bucket is gone; it is made anew", ErrUnavailable)

// lost returns err, and has the bucket made anew if that is what it tells.
func (k *KV) lost(err error) error {
	if errors.Is(err, errKVGone) {
		k.open.Store(nil)
	}
	return err
}

// kvStored is a message of the bucket.
type kvStored struct {
	Seq  uint64 `json:"seq"`
	Data []byte `json:"data"`
}

// kvLast returns the last message of a subject from the stream's leader, or
// [ErrNotFound].
func (r *register) kvLast(ctx context.Context, subject string) (kvStored, error) {
	var got struct {
		Message kvStored `json:"message"`
	}
	err := r.kvAsk(ctx, "STREAM.MSG.GET.", map[string]any{"last_by_subj": subject}, &got)
	return got.Message, err
}

// kvDelete deletes the message with that number. It returns errWrongLast if there is
// none any more.
func (r *register) kvDelete(ctx context.Context, seq uint64) error {
	err := r.kvAsk(ctx, "STREAM.MSG.DELETE.", map[string]any{"seq": seq, "no_erase": true}, nil)
	if errors.Is(err, ErrNotFound) {
		return errWrongLast
	}
	return err
}

// kvSubjects calls f with each subject of the bucket that filter matches.
func (r *register) kvSubjects(ctx context.Context, filter string, f func(subject string)) error {
	for seen := 0; ; {
		var got struct {
			Total int `json:"total"`
			State struct {
				Subjects map[string]uint64 `json:"subjects"`
			} `json:"state"`
		}
		if err := r.kvAsk(ctx, "STREAM.INFO.", map[string]any{"subjects_filter": filter, "offset": seen}, &got); err != nil {
			return err
		}
		for subject := range got.State.Subjects {
			f(subject)
		}
		n := len(got.State.Subjects)
		if seen += n; n == 0 || seen >= got.Total {
			return nil
		}
	}
}

// kvAsk makes a request to the JetStream API about the bucket, and decodes the answer.
// Its errors wrap [ErrNotFound] or [ErrUnavailable].
func (r *register) kvAsk(ctx context.Context, what string, ask map[string]any, answer any) error {
	b, err := json.Marshal(ask)
	if err != nil {
		return err
	}
	reply, err := r.nc.RequestWithContext(ctx, r.api+what+kvStream, b)
	if errors.Is(err, nats.ErrNoResponders) {
		return errKVGone
	}
	if err != nil {
		return fmt.Errorf("%w: ask for a key: %w", ErrUnavailable, reason(ctx, err))
	}
	var failed struct {
		Error *apiError `json:"error"`
	}
	if err := json.Unmarshal(reply.Data, &failed); err != nil {
		return fmt.Errorf("%w: read answer about a key: %w", ErrUnavailable, err)
	}
	if e := failed.Error; e != nil {
		switch e.Code {
		case codeNoMessage, codeDeleteFailed:
			return ErrNotFound
		case codeStreamNotFound:
			return errKVGone
		}
		return fmt.Errorf("%w: %w", ErrUnavailable, e)
	}
	if answer == nil {
		return nil
	}
	if err := json.Unmarshal(reply.Data, answer); err != nil {
		return fmt.Errorf("%w: read answer about a key: %w", ErrUnavailable, err)
	}
	return nil
}
