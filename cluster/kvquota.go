package cluster

import (
	"context"
	"fmt"
	"hash/maphash"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/singleflight"
)

const (
	// kvScanEvery is after how long an app's keys are counted again: what other nodes
	// have put, and what has expired, is seen then.
	kvScanEvery = time.Minute
	// kvRefuseFor is how long an app that is over its quota is refused without being
	// counted again.
	kvRefuseFor = 5 * time.Second
	// kvScans is how many listings and counts run at one time.
	kvScans = 2
)

// kvState is what the node knows of the apps' use of the key-value store. It is an
// estimate: the node counts an app's keys when it first writes one, then follows its
// own writes, and counts again every minute, and before it refuses. Between two counts
// other nodes may each write as much as they see free.
type kvState struct {
	seed  maphash.Seed
	busy  chan struct{} // a token for each listing or count
	scans singleflight.Group

	mu   sync.Mutex // guards apps and what is in it
	apps map[string]*kvUsage
}

// kvUsage is the use of one app.
type kvUsage struct {
	sizes   map[uint64]int64 // by the hash of the subject: key and value
	bytes   int64
	scanned time.Time
}

func newKVState() *kvState {
	return &kvState{seed: maphash.MakeSeed(), busy: make(chan struct{}, kvScans), apps: map[string]*kvUsage{}}
}

// enter waits for a place among the listings.
func (s *kvState) enter(ctx context.Context) (leave func(), err error) {
	select {
	case s.busy <- struct{}{}:
		return func() { <-s.busy }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: too many listings: %w", ErrUnavailable, context.Cause(ctx))
	}
}

// forget notes that a subject is no more.
func (s *kvState) forget(app, subject string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if u := s.apps[app]; u != nil {
		h := maphash.String(s.seed, subject)
		u.bytes -= u.sizes[h]
		delete(u.sizes, h)
	}
}

// use notes that a subject is about to have so many bytes. It reports whether there is
// room, and how old the count is that says so; negative if there is none.
func (s *kvState) use(app, subject string, size int64, limits KVConfig) (ok bool, age time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.apps[app]
	if u == nil {
		return false, -1
	}
	age = time.Since(u.scanned)
	h := maphash.String(s.seed, subject)
	before, there := u.sizes[h]
	if u.bytes+size-before > limits.Bytes || !there && len(u.sizes) >= limits.Keys {
		return false, age
	}
	u.sizes[h] = size
	u.bytes += size - before
	return true, age
}

// counted takes the sizes of an app's subjects over, and forgets apps that nobody has
// counted for long.
func (s *kvState) counted(app string, sizes map[uint64]int64) {
	u := &kvUsage{sizes: sizes, scanned: time.Now()}
	for _, n := range sizes {
		u.bytes += n
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, old := range s.apps {
		if time.Since(old.scanned) > 5*kvScanEvery {
			delete(s.apps, name)
		}
	}
	s.apps[app] = u
}

// use takes room for a subject of an app, or returns [ErrKVQuota].
func (k *KV) use(ctx context.Context, reg *register, app, subject string, size int64) error {
	ok, age := k.usage.use(app, subject, size, k.cfg)
	if ok && age < kvScanEvery {
		return nil
	}
	if age < 0 || ok || age > kvRefuseFor {
		if err := k.count(ctx, reg, app); err != nil {
			k.open.Store(nil) // the bucket may be gone
			return err
		}
		ok, _ = k.usage.use(app, subject, size, k.cfg)
	}
	if !ok {
		return fmt.Errorf("%w: %q may keep %d keys and %d bytes", ErrKVQuota, app, k.cfg.Keys, k.cfg.Bytes)
	}
	return nil
}

// count counts an app's keys; those who ask for it at the same time wait for one
// count.
func (k *KV) count(ctx context.Context, reg *register, app string) error {
	done := k.usage.scans.DoChan(app, func() (any, error) {
		ctx, cancel := k.c.bounded(context.WithoutCancel(ctx))
		defer cancel()
		leave, err := k.usage.enter(ctx)
		if err != nil {
			return nil, err
		}
		defer leave()
		sizes, err := reg.kvSizes(ctx, kvPrefix+app+".>", k.usage.seed)
		if err != nil {
			return nil, fmt.Errorf("%w: count the keys of %q: %w", ErrUnavailable, app, reason(ctx, err))
		}
		k.usage.counted(app, sizes)
		return nil, nil
	})
	select {
	case r := <-done:
		return r.Err
	case <-ctx.Done():
		return fmt.Errorf("%w: count the keys of %q: %w", ErrUnavailable, app, context.Cause(ctx))
	}
}

// kvSizes returns the sizes of the keys and values that filter matches, by the hash of
// their subjects. A consumer that is sent headers alone is the only way to learn them
// without the values.
func (r *register) kvSizes(ctx context.Context, filter string, seed maphash.Seed) (map[uint64]int64, error) {
	js, err := r.jetStream()
	if err != nil {
		return nil, err
	}
	consumer, err := js.CreateConsumer(ctx, kvStream, jetstream.ConsumerConfig{
		FilterSubject: filter, DeliverPolicy: jetstream.DeliverLastPerSubjectPolicy, AckPolicy: jetstream.AckNonePolicy,
		HeadersOnly: true, MemoryStorage: true, Replicas: 1, InactiveThreshold: 10 * time.Second,
	})
	if err != nil {
		return nil, err
	}
	info := consumer.CachedInfo()
	defer js.DeleteConsumer(context.WithoutCancel(ctx), kvStream, info.Name) //nolint:errcheck // it goes by itself soon
	sizes := map[uint64]int64{}
	for left := int(info.NumPending); left > 0; { //nolint:gosec // keys of one app
		batch, err := consumer.FetchNoWait(min(left, 1000))
		if err != nil {
			return nil, err
		}
		n := 0
		for m := range batch.Messages() {
			n++
			size, err := strconv.ParseInt(m.Headers().Get("Nats-Msg-Size"), 10, 64)
			if err != nil {
				return nil, fmt.Errorf("read the size of a key: %w", err)
			}
			token := m.Subject()[strings.LastIndexByte(m.Subject(), '.')+1:]
			key, _ := unescapeKVKey(token)
			sizes[maphash.String(seed, m.Subject())] = size + int64(len(key))
		}
		if err := batch.Error(); err != nil {
			return nil, err
		}
		if n == 0 { // what is missing has expired meanwhile
			break
		}
		left -= n
	}
	return sizes, nil
}
