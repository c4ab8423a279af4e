package wasm_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/orla-edge/orla/runtime/wasm"
)

// generator writes random valid modules that end: loops count down, calls count their
// depth in parameter 0. Each function is (i32 i32) → i32, with locals 2 to 5 of i32, of
// which 4 and 5 are the loops' counters.
type generator struct {
	*rand.Rand
	b      strings.Builder
	blocks int // open blocks that may be branched to
	loops  int
	left   int // instructions that may still be written
}

const (
	genFunctions = 5
	genFuncType  = "\x02\x7f\x7f\x01\x7f"
)

func (g *generator) op(s ...string) {
	g.left--
	for _, s := range s {
		g.b.WriteString(s)
	}
}

func (g *generator) pick(ops string) string { return string(ops[g.IntN(len(ops))]) }

// value writes code that leaves an i32.
func (g *generator) value(depth int) {
	if depth <= 0 || g.left <= 0 {
		g.leaf()
		return
	}
	switch g.IntN(14) {
	case 0, 1, 2, 3:
		g.value(depth - 1)
		g.value(depth - 1)
		if g.IntN(400) == 0 {
			g.op(g.pick("\x6d\x6e\x6f\x70")) // divisions
		} else {
			g.op(g.pick("\x46\x48\x4a\x4f\x6a\x6b\x6c\x71\x72\x73\x74\x76\x77"))
		}
	case 4:
		g.value(depth - 1)
		g.op(g.pick("\x45\x67\x69"))
	case 5:
		g.value(depth - 1)
		g.mask("\xff\xff\x03")
		g.op("\x28\x02\x10")
	case 6:
		g.value(depth - 1)
		g.op("\x04\x7f")
		g.blocks++
		g.value(depth - 1)
		g.op("\x05")
		g.value(depth - 1)
		g.blocks--
		g.op("\x0b")
	case 7, 8:
		g.call()
	case 9:
		g.value(depth - 1)
		g.op("\x22" + string(rune(2+g.IntN(2))))
	case 10:
		g.op("\x02\x7f")
		g.blocks++
		g.statement(depth - 1)
		g.value(depth - 1)
		if g.IntN(2) == 0 {
			g.value(depth - 1)
			g.op("\x0d\x00")
		}
		g.blocks--
		g.op("\x0b")
	case 11:
		g.value(1)
		g.op("\x41\x01\x71\x40\x00")
	case 12:
		g.op("\xd0\x70\x41\x03\xfc\x0f\x00")
	default:
		g.leaf()
	}
}

func (g *generator) leaf() {
	switch g.IntN(5) {
	case 0:
		g.op(i32(int64(int32(g.Uint32()))))
	case 1:
		g.op(i32(int64(g.IntN(64))))
	case 2:
		g.op("\x23\x00")
	default:
		g.op("\x20" + string(rune(g.IntN(4))))
	}
}

// call calls a function, directly or through the table, one level deeper, unless it
// is deep enough.
func (g *generator) call() {
	g.op("\x20\x00\x41\x03\x4a\x04\x7f")
	g.leaf()
	g.op("\x05\x20\x00\x41\x01\x6a")
	g.leaf()
	if g.IntN(2) == 0 {
		g.op("\x10" + string(rune(1+g.IntN(genFunctions))))
	} else {
		g.leaf()
		g.op("\x41\x1f\x71\x11\x00\x00")
	}
	g.op("\x0b")
}

// statement writes code that leaves nothing.
func (g *generator) statement(depth int) {
	if depth <= 0 || g.left <= 0 {
		return
	}
	switch g.IntN(12) {
	case 0, 1:
		g.value(depth - 1)
		g.op("\x21" + string(rune(2+g.IntN(2))))
	case 2:
		g.value(depth - 1)
		g.op("\x24\x00")
	case 3:
		g.value(depth - 1)
		g.mask("\xff\xff\x03")
		g.value(depth - 1)
		g.op("\x36\x02\x00")
	case 4:
		g.loop(depth)
	case 5:
		g.value(depth - 1)
		g.op("\x04\x40")
		g.inBlock(depth)
		if g.IntN(2) == 0 {
			g.op("\x05")
			g.inBlock(depth)
		}
		g.op("\x0b")
	case 6:
		g.op("\x02\x40")
		g.inBlock(depth)
		g.op("\x0b")
	case 7:
		g.table(depth)
	case 8:
		for range 3 {
			g.value(1)
			g.mask("\xff\x03")
		}
		g.op(g.pickString("\xfc\x0b\x00", "\xfc\x0b\x00", "\xfc\x0a\x00\x00", "\xfc\x0a\x00\x00", "\xfc\x08\x00\x00"))
	case 9:
		g.value(depth - 1)
		g.op("\x04\x40")
		g.value(depth - 1)
		g.op("\x0f\x0b")
	case 10:
		g.op("\x10\x00")
	default:
		g.statement(depth - 1)
		g.statement(depth - 1)
	}
}

// mask bounds the i32 on the stack by a signed LEB128, nearly always.
func (g *generator) mask(by string) {
	if g.IntN(1000) > 0 {
		g.op("\x41", by, "\x71")
	}
}

func (g *generator) pickString(s ...string) string { return s[g.IntN(len(s))] }

func (g *generator) inBlock(depth int) {
	g.blocks++
	g.statement(depth - 1)
	g.statement(depth - 1)
	g.blocks--
}

// loop writes a loop of a few turns, two deep at most.
func (g *generator) loop(depth int) {
	if g.loops == 2 {
		return
	}
	counter := string(rune(4 + g.loops))
	g.loops++
	g.op(i32(int64(1+g.IntN(5))), "\x21"+counter, "\x02\x40\x03\x40")
	g.inBlock(depth)
	if g.IntN(2) == 0 {
		g.value(1)
		g.op("\x0d\x01")
	}
	g.op("\x20"+counter, "\x41\x01\x6b\x22"+counter, "\x0d\x00\x0b\x0b")
	g.loops--
}

// table writes a br_table into one of some arms.
func (g *generator) table(depth int) {
	n := 2 + g.IntN(4)
	g.op(strings.Repeat("\x02\x40", n))
	g.value(1)
	g.op("\x0e", leb(n-1))
	for i := range n {
		g.op(leb(i))
	}
	for i := range n {
		g.op("\x0b")
		g.statement(depth - 1)
		if i < n-1 && g.IntN(3) > 0 {
			g.op("\x0c", leb(g.IntN(n-1-i)))
		}
	}
}

// generate returns a module: import 0, then the functions, all of them in the table.
func generate(r *rand.Rand) []byte {
	m := module{
		types: []string{genFuncType, void}, imports: []string{importFunc("env", "nothing", 1)},
		tables: []string{"\x70\x01\x20\x64"}, memory: "\x01\x02\x05", globals: []string{"\x7f\x01\x41\x05\x0b"},
		exports: []string{exportFunc("f", 1), str("m") + "\x02\x00", str("g") + "\x03\x00"},
		elems:   []string{"\x00\x41\x00\x0b\x1f" + strings.Repeat("\x01\x02\x03\x04\x05", 6) + "\x00"},
		count:   "\x01", data: []string{"\x01" + str(strings.Repeat("data", 300))},
	}
	for range genFunctions {
		g := &generator{Rand: r, left: 20 + r.IntN(150)}
		for range 1 + r.IntN(4) {
			g.statement(5)
		}
		g.value(3)
		m.funcs = append(m.funcs, fn{locals: "\x01\x04\x7f", code: g.b.String()})
	}
	return m.bytes()
}

// outcome runs f and describes all that can be seen of it.
func outcome(ctx context.Context, m api.Module, args ...uint64) string {
	res, err := m.ExportedFunction("f").Call(ctx, args...)
	sum := uint64(14695981039346656037)
	b, _ := m.Memory().Read(0, m.Memory().Size())
	for _, c := range b {
		sum = (sum ^ uint64(c)) * 1099511628211
	}
	if err != nil {
		return fmt.Sprint(trap(err), len(b), sum, m.ExportedGlobal("g").Get())
	}
	return fmt.Sprint(uint32(res[0]), len(b), sum, m.ExportedGlobal("g").Get())
}

func runGenerated(t *testing.T, cfg wazero.RuntimeConfig, n int, seed uint64) {
	r := rand.New(rand.NewPCG(2, seed))
	b := plenty
	b.slice = 300
	plain, prepared := newEngine(t, cfg, b), newEngine(t, cfg, b)
	for _, e := range []*engine{plain, prepared} {
		if _, err := e.NewHostModuleBuilder("env").NewFunctionBuilder().
			WithFunc(func() {}).Export("nothing").Instantiate(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	traps, calls := 0, 0
	for i := range n {
		code := generate(r)
		p, err := wasm.Prepare(code, wasm.Rules{})
		if err != nil {
			t.Fatalf("module %d: %v: %q", i, err, code)
		}
		m, err := plain.InstantiateWithConfig(t.Context(), code, wazero.NewModuleConfig().WithName(""))
		if err != nil {
			t.Fatalf("module %d is not valid: %v: %q", i, err, code)
		}
		q, err := prepared.start(t.Context(), p, "")
		if err != nil {
			t.Fatalf("module %d, prepared: %v: %q", i, err, code)
		}
		for _, arg := range []uint64{0, 1, 77} {
			want, got := outcome(t.Context(), m, 0, arg), outcome(t.Context(), q, 0, arg)
			if want != got {
				t.Fatalf("module %d: f(0, %d) gives %s, want %s: %q", i, arg, got, want, code)
			}
			if want[0] > '9' {
				traps++
			}
			calls++
		}
		m.Close(t.Context())
		q.Close(t.Context())
	}
	t.Logf("%d modules, %d of %d calls trap, %d visits", n, traps, calls, prepared.visits)
	if traps > calls/3 {
		t.Error("too many trap for the test to mean much")
	}
}

// TestGeneratedModules runs generated modules as they are and prepared, 200 on each
// engine or as many as ORLA_GENERATED says.
func TestGeneratedModules(t *testing.T) {
	n := 200
	if s := os.Getenv("ORLA_GENERATED"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("compiler", func(t *testing.T) { runGenerated(t, wazero.NewRuntimeConfigCompiler(), n, 1) })
	t.Run("interpreter", func(t *testing.T) { runGenerated(t, wazero.NewRuntimeConfigInterpreter(), n, 2) })
}
