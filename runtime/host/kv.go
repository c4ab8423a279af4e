package host

import (
	"context"
	"errors"
	"time"
)

// What a [KV] returns. It wraps these; anything else is told to guests as unavailable.
var (
	ErrKVNotFound    = errors.New("host: no such key")
	ErrKVConflict    = errors.New("host: the key is at another revision")
	ErrKVInvalid     = errors.New("host: not a key, or not a way to put it")
	ErrKVTooLarge    = errors.New("host: the value is too large")
	ErrKVQuota       = errors.New("host: the app's key-value quota is used up")
	ErrKVUnavailable = errors.New("host: the key-value store cannot be reached now")
)

// Limits of a call, so that nothing is copied that no store takes.
const (
	MaxKVKey   = 256     // bytes
	MaxKVValue = 1 << 20 // bytes
	MaxKVList  = 1000    // keys
)

// KVPut says how a value is put.
type KVPut struct {
	TTL time.Duration // in whole seconds; 0 means that it stays
	// Expect, if not nil, is the key's revision that must still be its last; 0: there
	// must be no such key.
	Expect *uint64
}

// KV is the key-value store of one app. Reads see the writes before them. Its methods
// may be called concurrently, and return when the context ends.
type KV interface {
	Get(ctx context.Context, store, key string) (value []byte, revision uint64, err error)
	Put(ctx context.Context, store, key string, value []byte, how KVPut) (revision uint64, err error)
	// Delete deletes a key, which need not be there.
	Delete(ctx context.Context, store, key string, expect *uint64) error
	// List returns keys with that prefix that come after cursor, in the order of their
	// bytes; next is the cursor for more, empty if there are none.
	List(ctx context.Context, store, prefix, cursor string, limit int) (keys []string, next string, err error)
}
