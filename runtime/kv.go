package runtime

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/orla-edge/orla/runtime/host"
)

// kvModule is the module from which guests of every ABI import the key-value store.
//
//	get    (store, key ptr+len, buf ptr+len, revision ptr) -> i64
//	put    (store, key, value ptr+len, ttl_seconds i32, expect i64) -> i64
//	delete (store, key ptr+len, expect i64) -> i64
//	list   (store, prefix, cursor ptr+len, limit i32, buf ptr+len) -> i64
//
// A negative result is one of the codes below. get returns the size of the value, which
// it has written to buf if there is room for all of it, and the revision, 8 bytes little
// endian, to its pointer unless that is 0. put returns the new revision. list returns the
// bytes that it has written, each key after its length in 2 bytes little endian, and adds
// 1<<32 if there are more keys. An expect of -1 means whatever there is, 0 that there must
// be no such key. Memory outside of the guest's own ends the guest.
const kvModule = "orla_kv"

// The negative results, which are the ABI: package guest and orla_kv.h have them too.
const (
	kvNotFound    = -1
	kvConflict    = -2
	kvDenied      = -3
	kvInvalid     = -4
	kvTooLarge    = -5
	kvQuota       = -6
	kvUnavailable = -7
)

const (
	// minKVList is the least buffer of list: the longest key fits.
	minKVList = 2 + host.MaxKVKey
	kvMore    = 1 << 32
	// kvAny as expect means whatever there is.
	kvAny = -1
)

// errKV is what faults of a guest against the functions of kvModule wrap.
var errKV = errors.New("runtime: the guest broke the ABI of " + kvModule)

// kvAccess is what a request may do with the key-value store of its app.
type kvAccess struct {
	kv     host.KV  // nil: the node has none
	stores []string // granted
	log    *host.Log
	denied bool // it has been said
}

// instantiateKV gives rt the key-value functions.
func instantiateKV(ctx context.Context, rt wazero.Runtime) error {
	const i32, i64 = api.ValueTypeI32, api.ValueTypeI64
	b := rt.NewHostModuleBuilder(kvModule)
	for _, f := range []struct {
		name   string
		call   func(*kvCall, []uint64) int64
		params []api.ValueType
	}{
		{"get", (*kvCall).get, []api.ValueType{i32, i32, i32, i32, i32, i32, i32}},
		{"put", (*kvCall).put, []api.ValueType{i32, i32, i32, i32, i32, i32, i32, i64}},
		{"delete", (*kvCall).delete, []api.ValueType{i32, i32, i32, i32, i64}},
		{"list", (*kvCall).list, []api.ValueType{i32, i32, i32, i32, i32, i32, i32, i32, i32}},
	} {
		b.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(func(ctx context.Context, mod api.Module, stack []uint64) {
			r := runOf(ctx)
			r.check()
			c := &kvCall{run: r, mem: mod.Memory()}
			stack[0] = uint64(f.call(c, stack)) //nolint:gosec // the codes are negative
			r.check()
		}), f.params, []api.ValueType{i64}).Export(f.name)
	}
	_, err := b.Instantiate(ctx)
	return err
}

// kvCall is one call of a guest. Its arguments are copied before anything waits, and its
// results are written when the guest's clock runs again: what is written to its memory
// while it stands still would not be found when the memory is made clean.
type kvCall struct {
	run *run
	mem api.Memory
}

// bytes returns n bytes of the guest's memory at p, valid until it runs again.
func (c *kvCall) bytes(p, n uint64) []byte {
	b, ok := c.mem.Read(uint32(p), uint32(n))
	if !ok {
		panic(fmt.Errorf("%w: %d bytes at %d are outside of its memory of %d", errKV, uint32(n), uint32(p), c.mem.Size()))
	}
	return b
}

// text is a copy of a short argument: one that is too long is cut, and so still too long.
func (c *kvCall) text(p, n uint64) string {
	return string(c.bytes(p, uint64(min(uint32(n), host.MaxKVKey+1))))
}

// enter looks whether the guest may use the store, and returns the code if it may not.
func (c *kvCall) enter(p, n uint64) (store string, code int64) {
	a := c.run.kv
	if a == nil {
		panic(fmt.Errorf("%w: it uses the key-value store before there is a request", errKV))
	}
	store = c.text(p, n)
	switch {
	case !slices.Contains(a.stores, store):
		if !a.denied {
			a.denied = true
			a.log.Line(slog.LevelWarn, "kv", fmt.Sprintf("store %q is not granted to the function; add it to kv in its table of orla.toml", store))
		}
		return "", kvDenied
	case a.kv == nil:
		return "", kvUnavailable
	}
	return store, 0
}

// wait runs f while the guest's clock stands still.
func (c *kvCall) wait(f func(ctx context.Context, kv host.KV) error) error {
	c.run.meter.Pause()
	defer c.run.meter.Resume()
	return f(c.run, c.run.kv.kv)
}

// failed returns the code of an error, and logs what the guest's author cannot know.
func (c *kvCall) failed(err error) int64 {
	switch {
	case errors.Is(err, host.ErrKVNotFound):
		return kvNotFound
	case errors.Is(err, host.ErrKVConflict):
		return kvConflict
	case errors.Is(err, host.ErrKVInvalid):
		return kvInvalid
	case errors.Is(err, host.ErrKVTooLarge):
		return kvTooLarge
	case errors.Is(err, host.ErrKVQuota):
		return kvQuota
	case c.run.Err() == nil:
		c.run.kv.log.Line(slog.LevelWarn, "kv", err.Error())
	}
	return kvUnavailable
}

func (c *kvCall) get(a []uint64) int64 {
	store, code := c.enter(a[0], a[1])
	if code != 0 {
		return code
	}
	key := c.text(a[2], a[3])
	var value []byte
	var revision uint64
	err := c.wait(func(ctx context.Context, kv host.KV) (err error) {
		value, revision, err = kv.Get(ctx, store, key)
		return err
	})
	if err != nil {
		return c.failed(err)
	}
	if uint32(a[6]) != 0 {
		binary.LittleEndian.PutUint64(c.bytes(a[6], 8), revision)
	}
	if uint64(len(value)) <= uint64(uint32(a[5])) {
		copy(c.bytes(a[4], uint64(len(value))), value)
	}
	return int64(len(value))
}

// expected reads an expect argument.
func expected(a uint64) (revision *uint64, ok bool) {
	if n := int64(a); n < 0 { //nolint:gosec // it is signed
		return nil, n == kvAny
	}
	return &a, true
}

func (c *kvCall) put(a []uint64) int64 {
	store, code := c.enter(a[0], a[1])
	if code != 0 {
		return code
	}
	key := c.text(a[2], a[3])
	expect, ok := expected(a[7])
	switch {
	case !ok:
		return kvInvalid
	case uint32(a[5]) > host.MaxKVValue:
		return kvTooLarge
	}
	value := slices.Clone(c.bytes(a[4], a[5]))
	how := host.KVPut{TTL: time.Duration(uint32(a[6])) * time.Second, Expect: expect}
	var revision uint64
	err := c.wait(func(ctx context.Context, kv host.KV) (err error) {
		revision, err = kv.Put(ctx, store, key, value, how)
		return err
	})
	if err != nil {
		return c.failed(err)
	}
	return int64(revision) //nolint:gosec // a count of writes
}

func (c *kvCall) delete(a []uint64) int64 {
	store, code := c.enter(a[0], a[1])
	if code != 0 {
		return code
	}
	key := c.text(a[2], a[3])
	expect, ok := expected(a[4])
	if !ok {
		return kvInvalid
	}
	err := c.wait(func(ctx context.Context, kv host.KV) error { return kv.Delete(ctx, store, key, expect) })
	if err != nil {
		return c.failed(err)
	}
	return 0
}

func (c *kvCall) list(a []uint64) int64 {
	store, code := c.enter(a[0], a[1])
	if code != 0 {
		return code
	}
	prefix, cursor := c.text(a[2], a[3]), c.text(a[4], a[5])
	limit := int(min(uint32(a[6]), host.MaxKVList))
	room := c.bytes(a[7], a[8])
	if limit == 0 || len(room) < minKVList {
		return kvInvalid
	}
	var keys []string
	var next string
	err := c.wait(func(ctx context.Context, kv host.KV) (err error) {
		keys, next, err = kv.List(ctx, store, prefix, cursor, limit)
		return err
	})
	if err != nil {
		return c.failed(err)
	}
	room = c.bytes(a[7], a[8])[:0:len(room)]
	more := next != ""
	for _, key := range keys {
		if len(room)+2+len(key) > cap(room) {
			more = true
			break
		}
		room = append(binary.LittleEndian.AppendUint16(room, uint16(len(key))), key...) //nolint:gosec // at most MaxKVKey
	}
	if more {
		return kvMore | int64(len(room))
	}
	return int64(len(room))
}
