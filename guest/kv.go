package guest

import (
	"errors"
	"fmt"
	"iter"
	"math"
	"time"
)

// What the calls of a [KV] return.
var (
	ErrNotFound    = errors.New("guest: no such key")
	ErrConflict    = errors.New("guest: the key is not at the expected revision")
	ErrDenied      = errors.New("guest: the function is not granted the store; add it to kv in orla.toml")
	ErrInvalid     = errors.New("guest: a key has 1 to 256 bytes of UTF-8, and a TTL is of whole seconds")
	ErrTooLarge    = errors.New("guest: a value has 1 MiB at most")
	ErrQuota       = errors.New("guest: the app's key-value quota is used up")
	ErrUnavailable = errors.New("guest: the key-value store cannot be reached now")
)

// The negative results of the host's functions, the errors in their order.
const firstError = -1

func kvErrors() [7]error {
	return [...]error{ErrNotFound, ErrConflict, ErrDenied, ErrInvalid, ErrTooLarge, ErrQuota, ErrUnavailable}
}

// KV is a store of the app's key-value store, which all its functions on all nodes
// share. A read sees the writes before it, from whichever node they came.
//
// Natively, where there is no node, a KV keeps its keys in memory, so that handlers can
// be tested.
type KV struct{ store string }

// OpenKV returns the store of that name. It does not look whether the function may use
// it: that each call says.
func OpenKV(store string) *KV { return &KV{store} }

// An Option changes how a key is put or deleted.
type Option func(*change)

type change struct {
	ttl    time.Duration
	expect int64
}

// whatever revision a key has.
const whatever = -1

// TTL makes the key go by itself after d, of whole seconds.
func TTL(d time.Duration) Option { return func(c *change) { c.ttl = d } }

// Expect makes the call fail with [ErrConflict] unless that is the key's revision: 0
// means that there must be no such key. Read, compute, and write with Expect until it
// succeeds: so counters count right.
func Expect(revision uint64) Option {
	return func(c *change) { c.expect = int64(min(revision, math.MaxInt64)) } //nolint:gosec // bounded
}

func changed(options []Option) (change, error) {
	c := change{expect: whatever}
	for _, o := range options {
		o(&c)
	}
	if c.ttl < 0 || c.ttl%time.Second != 0 || c.ttl/time.Second > math.MaxUint32 {
		return c, fmt.Errorf("%w: TTL of %v", ErrInvalid, c.ttl)
	}
	return c, nil
}

// Get returns a key's value and revision, or [ErrNotFound].
func (kv *KV) Get(key string) (value []byte, revision uint64, err error) {
	value = make([]byte, 0, 4096)
	for {
		n := hostKVGet(kv.store, key, value[:cap(value)], &revision)
		if err := failed("get", key, n); err != nil {
			return nil, 0, err
		}
		if n <= int64(cap(value)) {
			return value[:n], revision, nil
		}
		value = make([]byte, 0, n)
	}
}

// Put puts a value and returns its revision.
func (kv *KV) Put(key string, value []byte, options ...Option) (revision uint64, err error) {
	c, err := changed(options)
	if err != nil {
		return 0, err
	}
	n := hostKVPut(kv.store, key, value, uint32(c.ttl/time.Second), c.expect) //nolint:gosec // bounded above
	if err := failed("put", key, n); err != nil {
		return 0, err
	}
	return uint64(n), nil //nolint:gosec // not negative
}

// Delete deletes a key, which need not be there.
func (kv *KV) Delete(key string, options ...Option) error {
	c, err := changed(options)
	if err != nil {
		return err
	}
	return failed("delete", key, hostKVDelete(kv.store, key, c.expect))
}

// listBuffer takes a page of keys.
const listBuffer = 32 << 10

// List goes through the keys that begin with prefix, in the order of their bytes. After
// an error there are no more.
func (kv *KV) List(prefix string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		buf, cursor := make([]byte, listBuffer), ""
		for {
			n := hostKVList(kv.store, prefix, cursor, 1000, buf)
			if err := failed("list", prefix, n); err != nil {
				yield("", err)
				return
			}
			for page := buf[:uint32(n)]; len(page) >= 2; { //nolint:gosec // the upper half is a flag
				size := int(page[0]) | int(page[1])<<8
				cursor = string(page[2 : 2+size])
				if page = page[2+size:]; !yield(cursor, nil) {
					return
				}
			}
			if n>>32 == 0 {
				return
			}
		}
	}
}

// failed returns the error of a result.
func failed(what, key string, n int64) error {
	if n >= 0 {
		return nil
	}
	err, all := ErrUnavailable, kvErrors()
	if i := firstError - n; i < int64(len(all)) {
		err = all[i]
	}
	return fmt.Errorf("%s %q: %w", what, key, err)
}
