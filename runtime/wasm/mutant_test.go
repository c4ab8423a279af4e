package wasm_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/orla-edge/orla/runtime/wasm"
)

// compiler compiles modules without running them.
type compiler struct {
	wazero.Runtime
	accepted, valid int // what checkPrepared has seen
}

func newCompiler(t testing.TB) *compiler {
	r := wazero.NewRuntimeWithConfig(t.Context(), wazero.NewRuntimeConfigInterpreter().WithCoreFeatures(api.CoreFeaturesV2))
	t.Cleanup(func() { r.Close(context.Background()) })
	return &compiler{Runtime: r}
}

func (c *compiler) compile(b []byte) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("the engine panics: %v", v)
		}
	}()
	m, err := c.CompileModule(context.Background(), b)
	if err == nil {
		m.Close(context.Background())
	}
	return err
}

// checkPrepared reports what is wrong with what Prepare does with b: an error of no
// documented kind, or a module that is valid before and not after, or the reverse. b
// itself is only shown to the engine if Prepare accepts it.
func (c *compiler) checkPrepared(b []byte) error {
	p, err := wasm.Prepare(b, wasm.Rules{})
	if err != nil {
		var feature *wasm.FeatureError
		var limit *wasm.LimitError
		var refused *wasm.RefusedError
		if errors.As(err, &feature) || errors.As(err, &limit) || errors.As(err, &refused) || errors.Is(err, wasm.ErrMalformed) {
			return nil
		}
		return fmt.Errorf("an error of no documented kind: %w", err)
	}
	before, after := c.compile(withoutCustom(b)), c.compile(p.Code)
	if (before == nil) != (after == nil) {
		return fmt.Errorf("valid as it is and not when prepared, or the reverse: %w", errors.Join(before, after))
	}
	c.accepted++
	if before == nil {
		c.valid++
	}
	return nil
}

// withoutCustom drops the custom sections of a module that is well-formed: names can
// end the engine's process.
func withoutCustom(b []byte) []byte {
	out := append([]byte(nil), b[:8]...)
	for at := 8; at < len(b); {
		size, n := binary.Uvarint(b[at+1:])
		end := at + 1 + n + int(size)
		if b[at] != 0 {
			out = append(out, b[at:end]...)
		}
		at = end
	}
	return out
}

// mutate returns b with a few changes.
func mutate(r *rand.Rand, b, other []byte) []byte {
	b = append([]byte(nil), b...)
	for range 1 + r.IntN(5)/3 {
		at := 8 + r.IntN(max(len(b)-8, 1))
		if at >= len(b) {
			return b
		}
		switch r.IntN(16) {
		case 0: // a number that is too large
			b = append(b[:at], append(binary.AppendUvarint(nil, uint64(r.Uint32()|1<<31)), b[at+1:]...)...)
		case 1:
			b = append(b[:at], b[min(at+1+r.IntN(4), len(b)):]...)
		case 2:
			from := r.IntN(len(other))
			b = append(b[:at], append(append([]byte(nil), other[from:min(from+r.IntN(12), len(other))]...), b[at:]...)...)
		case 3, 4, 5:
			b[at] ^= 1 << r.IntN(8)
		case 6, 7:
			b[at]++
		case 8, 9, 10:
			b[at]--
		case 11, 12: // a number or an instruction
			b[at] = byte(r.IntN(0x45))
		default:
			b[at] = byte(r.IntN(256))
		}
	}
	return b
}

// seeds are small modules of the specification's tests that Prepare accepts.
func seeds(t testing.TB) (all [][]byte) {
	files, err := filepath.Glob(filepath.Join(specDir(t), "v2/testdata/*.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range files {
		if i%2 != 0 {
			continue
		}
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if len(b) > 4000 {
			continue
		}
		if _, err := wasm.Prepare(b, wasm.Rules{}); err == nil {
			all = append(all, withoutCustom(b))
		}
	}
	if len(all) < 200 {
		t.Fatalf("only %d seeds", len(all))
	}
	return all
}

// TestMutants changes real modules at random, 100,000 of them or as many as
// ORLA_MUTANTS says.
func TestMutants(t *testing.T) {
	n := 100_000
	if s := os.Getenv("ORLA_MUTANTS"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	all := seeds(t)
	for range len(all) / 50 { // small ones find more in the same time
		all = append(all, withoutCustom(cWork(t)))
	}
	const shards = 4
	for shard := range shards {
		t.Run(strconv.Itoa(shard), func(t *testing.T) {
			t.Parallel()
			c := newCompiler(t)
			r := rand.New(rand.NewPCG(1, uint64(shard)))
			for range n / shards {
				b := mutate(r, all[r.IntN(len(all))], all[r.IntN(len(all))])
				if err := c.checkPrepared(b); err != nil {
					t.Fatalf("%v\nthe module: %q", err, b)
				}
			}
			t.Logf("%d mutants, %d accepted, %d of them valid", n/shards, c.accepted, c.valid)
			if c.valid < n/shards/20 {
				t.Error("too few are valid for the test to mean much")
			}
		})
	}
}

// FuzzPrepare checks the same of whatever the fuzzer finds.
func FuzzPrepare(f *testing.F) {
	for i, b := range seeds(f) {
		if i%20 == 0 {
			f.Add(b)
		}
	}
	c := newCompiler(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := c.checkPrepared(b); err != nil {
			t.Fatal(err)
		}
	})
}
