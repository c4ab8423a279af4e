package runtime

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"

	"github.com/orla-edge/orla/runtime/host"
)

// plainKV has one value, and remembers the sizes of what it was asked.
type plainKV struct {
	value   []byte
	longest int
}

func (k *plainKV) see(args ...string) {
	for _, a := range args {
		k.longest = max(k.longest, len(a))
	}
}

func (k *plainKV) Get(_ context.Context, _, key string) ([]byte, uint64, error) {
	k.see(key)
	return k.value, 1 << 40, nil
}

func (k *plainKV) Put(_ context.Context, _, key string, value []byte, _ host.KVPut) (uint64, error) {
	k.see(key)
	if len(value) > host.MaxKVValue {
		k.longest = len(value)
	}
	return 1, nil
}

func (k *plainKV) Delete(_ context.Context, _, key string, _ *uint64) error {
	k.see(key)
	return nil
}

func (k *plainKV) List(_ context.Context, _, prefix, cursor string, _ int) ([]string, string, error) {
	k.see(prefix, cursor)
	return []string{"a", strings.Repeat("b", host.MaxKVKey), "c"}, "", nil
}

// FuzzKVArguments calls the functions as a guest may: with any numbers. Whatever they
// are, a call ends with a result, or with a fault that says so, and writes nothing
// outside of the buffer that it was given.
func FuzzKVArguments(f *testing.F) {
	rt := wazero.NewRuntimeWithConfig(f.Context(), wazero.NewRuntimeConfigInterpreter())
	defer rt.Close(context.WithoutCancel(f.Context()))
	// (module (memory (export "memory") 1))
	mod, err := rt.Instantiate(f.Context(), []byte("\x00asm\x01\x00\x00\x00\x05\x03\x01\x00\x01\x07\x0a\x01\x06memory\x02\x00"))
	if err != nil {
		f.Fatal(err)
	}
	const store = 0xff00
	f.Add(uint8(0), uint64(store), uint64(1), uint64(0), uint64(3), uint64(100), uint64(100), uint64(8), uint64(0), uint64(0))
	f.Add(uint8(1), uint64(store), uint64(1), uint64(0), uint64(3), uint64(100), uint64(1<<20), uint64(0), uint64(1<<63), uint64(0))
	f.Add(uint8(2), uint64(store), uint64(1), uint64(1<<32-1), uint64(1<<32-1), uint64(1<<63), uint64(0), uint64(0), uint64(0), uint64(0))
	f.Add(uint8(3), uint64(store), uint64(1), uint64(0), uint64(0), uint64(0), uint64(0), uint64(10), uint64(500), uint64(300))
	f.Add(uint8(3), uint64(1)<<32|store, uint64(1), uint64(0), uint64(0), uint64(0), uint64(0), uint64(10), uint64(0xff80), uint64(1<<16))
	f.Fuzz(func(t *testing.T, what uint8, a0, a1, a2, a3, a4, a5, a6, a7, a8 uint64) {
		memory, _ := mod.Memory().Read(0, mod.Memory().Size())
		for i := range memory {
			memory[i] = 'm'
		}
		memory[store] = 's'
		before := bytes.Clone(memory)
		kv := &plainKV{value: bytes.Repeat([]byte("v"), 300)}
		r := &run{Context: t.Context(), kv: &kvAccess{kv: kv, stores: []string{"s"}, log: host.NewLog(t.Context(), slog.New(slog.DiscardHandler))}}
		c, a := &kvCall{run: r, mem: mod.Memory()}, []uint64{a0, a1, a2, a3, a4, a5, a6, a7, a8}
		calls := []func(*kvCall, []uint64) int64{(*kvCall).get, (*kvCall).put, (*kvCall).delete, (*kvCall).list}
		type part struct{ at, size uint64 }
		out := [][]part{{{a4, a5}, {a6, 8}}, {}, {}, {{a7, a8}}}
		at := int(what) % len(calls)
		result, fault := faulty(func() int64 { return calls[at](c, a) })
		if fault != nil && !strings.Contains(fault.Error(), errKV.Error()) {
			t.Errorf("the call ends with %v", fault)
		}
		if result < kvUnavailable || kv.longest > host.MaxKVKey+1 {
			t.Errorf("result %d, an argument of %d bytes", result, kv.longest)
		}
		for _, p := range out[at] {
			from := min(uint64(uint32(p.at)), uint64(len(memory)))
			to := min(from+uint64(uint32(p.size)), uint64(len(memory)))
			copy(memory[from:to], before[from:to])
		}
		if !bytes.Equal(memory, before) {
			t.Error("memory outside of the buffer has changed")
		}
	})
}

// faulty returns what f returns, or what it panics with.
func faulty(f func() int64) (n int64, fault error) {
	defer func() {
		if p := recover(); p != nil {
			fault, _ = p.(error)
		}
	}()
	return f(), nil
}
