package wasm_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/orla-edge/orla/runtime/wasm"
)

// guest prepares m and makes an instance of it.
func guest(t testing.TB, m module, b budget, r wasm.Rules) (api.Module, *engine) {
	t.Helper()
	p, err := wasm.Prepare(m.bytes(), r)
	if err != nil {
		t.Fatal(err)
	}
	e := newEngine(t, wazero.NewRuntimeConfigCompiler(), b)
	nothing := api.GoModuleFunc(func(context.Context, api.Module, []uint64) {})
	if _, err := e.NewHostModuleBuilder("env").
		NewFunctionBuilder().WithGoModuleFunction(nothing, nil, nil).Export("nothing").
		NewFunctionBuilder().WithGoModuleFunction(nothing, []api.ValueType{api.ValueTypeI32}, []api.ValueType{api.ValueTypeI32}).Export("same").
		Instantiate(t.Context()); err != nil {
		t.Fatal(err)
	}
	g, err := e.start(t.Context(), p, "")
	if err != nil {
		t.Fatal(err)
	}
	return g, e
}

func TestEveryEndlessGuestIsStopped(t *testing.T) {
	twice := func(to byte) string { return strings.Repeat("\x10"+string([]byte{to}), 2) }
	tree := make([]fn, 64) // 2^63 calls
	for i := range tree {
		tree[i].code = strings.Repeat("\x10"+leb(i+1), 2)
	}
	tree[63].code = strings.Repeat("\x01", 10)
	wide := leb(1000) + strings.Repeat("\x7e", 1000) + "\x00"
	all := strings.Builder{}
	for i := range 1000 {
		all.WriteString("\x20" + leb(i))
	}
	fill := "\x41\x00\x41\x01" + i32(60<<16) + "\xfc\x0b\x00"
	move := "\x41\x00\x41\x01" + i32(60<<16) + "\xfc\x0a\x00\x00"
	table := []string{"\x70\x00\x02"}
	for name, m := range map[string]module{
		"a loop":                    {funcs: []fn{{code: "\x03\x40\x0c\x00\x0b"}}},
		"a loop by br_table":        {funcs: []fn{{code: "\x03\x40\x41\x00\x0e\x00\x00\x0b"}}},
		"a loop of calls":           {funcs: []fn{{code: "\x03\x40\x10\x01\x0c\x00\x0b"}, {}}},
		"a loop that calls nothing": {funcs: []fn{{code: "\x03\x40\x10\x01\x0c\x00\x0b"}}, imports: []string{importFunc("env", "nothing", 0)}},
		"recursion":                 {funcs: []fn{{code: "\x10\x00"}}},
		"recursion twice":           {funcs: []fn{{code: "\x10\x00\x10\x00"}}},
		"mutual recursion":          {funcs: []fn{{code: "\x10\x01"}, {code: "\x10\x02"}, {code: "\x10\x00"}}},
		"recursion of 1000":         {types: []string{void, wide}, funcs: []fn{{code: strings.Repeat("\x42\x00", 1000) + "\x10\x01"}, {typ: 1, code: all.String() + "\x10\x01"}}},
		"indirect recursion":        {funcs: []fn{{code: "\x41\x00\x11\x00\x00"}}, tables: table, elems: []string{"\x00\x41\x00\x0b\x01\x00"}},
		"recursion by table.set":    {funcs: []fn{{code: "\x41\x01\xd2\x00\x26\x00\x41\x01\x11\x00\x00"}}, tables: table, elems: []string{"\x03\x00\x01\x00"}},
		"recursion in a loop":       {funcs: []fn{{code: "\x03\x40\x10\x00\x0c\x00\x0b"}}},
		"a tree of calls":           {funcs: tree},
		"a tree of indirect calls":  {funcs: []fn{{code: strings.Repeat("\x41\x00\x11\x00\x00", 2)}, {code: twice(0)}}, tables: table, elems: []string{"\x00\x41\x00\x0b\x02\x01\x00"}},
		"a row of cheap calls":      {funcs: []fn{{code: strings.Repeat("\x10\x01", 5_000)}, {code: strings.Repeat("\x41\x00\x28\x02\x00\x1a", 120)}}, memory: "\x00\x01"},
		"a row of calls":            {funcs: []fn{{code: strings.Repeat("\x10\x01", 5_000)}, {code: strings.Repeat("\x41\x00\x28\x02\x00\x1a", 4500)}}, memory: "\x00\x01"},
		"200 fills in a loop":       {funcs: []fn{{code: "\x03\x40" + strings.Repeat(fill, 200) + "\x0c\x00\x0b"}}, memory: "\x00\x40"},
		"200 fills":                 {funcs: []fn{{code: strings.Repeat(fill, 200)}}, memory: "\x00\x40"},
		"200 moves":                 {funcs: []fn{{code: strings.Repeat(move, 200)}}, memory: "\x00\x40"},
	} {
		t.Run(name, func(t *testing.T) {
			if m.types == nil {
				m.types = []string{void}
			}
			m.exports = []string{exportFunc("f", len(m.imports))}
			g, _ := guest(t, m, budget{slice: 100_000, slices: 10, stack: 8 << 20, calls: 1 << 40}, wasm.Rules{})
			if _, err := g.ExportedFunction("f").Call(t.Context()); !errors.Is(err, errSpent) {
				t.Errorf("it ends with %v", err)
			}
			left := int64(global(g, wasm.FuelGlobal).Get())
			if left < -1<<62 { // the stack's sign
				left ^= -1 << 63
			}
			if left < -200_000 {
				t.Errorf("%d units went by without a check", -left)
			}
		})
	}
}

func TestStackIsGivenBack(t *testing.T) {
	// f(n) = n == 0 ? 7 : loop { br_if 0 (f(n-1) == 0); … } with a return out of the loop
	code := "\x20\x00\x45\x04\x40\x41\x07\x0f\x0b\x03\x40\x20\x00\x41\x01\x6b\x10\x00\x45\x0d\x00\x41\x07\x0f\x0b\x00"
	m := module{types: []string{i32s}, funcs: []fn{{code: code}}, exports: []string{exportFunc("f", 0)}}
	g, _ := guest(t, m, budget{slice: 1000, slices: 1 << 30, stack: 1 << 20, calls: 1}, wasm.Rules{})
	for _, depth := range []uint64{0, 1, 100} {
		got, err := g.ExportedFunction("f").Call(t.Context(), depth)
		if err != nil || got[0] != 7 {
			t.Fatalf("f(%d) = %v, %v", depth, got, err)
		}
		if left := global(g, wasm.StackGlobal).Get(); left != 1<<20 {
			t.Errorf("f(%d) keeps %d bytes of stack", depth, 1<<20-int64(left))
		}
	}
	if _, err := g.ExportedFunction("f").Call(t.Context(), 100_000); !errors.Is(err, errSpent) {
		t.Errorf("f(100000) on a stack of 1 MiB: %v", err)
	}
}

func TestLargeFillsAndCopies(t *testing.T) {
	const size = 3 << 20
	code := func(op string) string { return "\x20\x00\x20\x01\x20\x02" + op }
	m := module{
		types: []string{take3}, funcs: []fn{{code: code("\xfc\x0b\x00")}, {code: code("\xfc\x0a\x00\x00")}},
		memory: "\x00" + leb(size>>16), exports: []string{exportFunc("fill", 0), exportFunc("copy", 1)},
	}
	g, e := guest(t, m, budget{slice: 5000, slices: 1 << 30, stack: 1, calls: 1}, wasm.Rules{})
	want := make([]byte, size)
	for i := range want {
		want[i] = byte(i*7 + i>>8 + i>>16)
	}
	g.Memory().Write(0, want)
	for _, c := range []struct {
		op      string
		a, b, n uint64
	}{
		{"copy", 1000, 0, 2 << 20},
		{"copy", 0, 1000, 2 << 20},
		{"copy", 70_000, 5, 65_536},
		{"copy", 5, 70_000, 65_537},
		{"copy", 100_000, 100_000, 1 << 20},
		{"copy", size, 0, 0},
		{"fill", 12_345, 0xab, 1<<20 + 1},
		{"fill", size, 1, 0},
		{"fill", size - 131_072, 9, 131_072},
		{"fill", 1, 3, size},
		{"fill", size - 100_000, 4, 100_001},
		{"fill", 0xffffffff, 4, 0xffffffff},
		{"copy", 0, 1, size},
		{"copy", 1, 0, size},
		{"copy", 0, 0xfffffff0, 0xffff},
	} {
		e.visits = 0
		_, err := g.ExportedFunction(c.op).Call(t.Context(), c.a, c.b, c.n)
		outside := c.a+c.n > size || c.op == "copy" && c.b+c.n > size
		switch {
		case outside:
			if err == nil || trap(err) != "out of bounds memory access" {
				t.Errorf("%s(%d, %d, %d): %v, want a trap", c.op, c.a, c.b, c.n, err)
			}
		case err != nil:
			t.Errorf("%s(%d, %d, %d): %v", c.op, c.a, c.b, c.n, err)
		case c.op == "copy":
			copy(want[c.a:], want[c.b:c.b+c.n])
		default:
			copy(want[c.a:], bytes.Repeat([]byte{byte(c.b)}, int(c.n)))
		}
		if got, _ := g.Memory().Read(0, size); !bytes.Equal(got, want) {
			t.Fatalf("%s(%d, %d, %d): the memory differs from byte %d", c.op, c.a, c.b, c.n, differ(got, want))
		}
		if wantVisits := int(c.n / (2 << 16)); !outside && e.visits < wantVisits {
			t.Errorf("%s of %d bytes was visited %d times, want %d", c.op, c.n, e.visits, wantVisits)
		}
	}
}

func differ(a, b []byte) int {
	for i := range a {
		if a[i] != b[i] {
			return i
		}
	}
	return -1
}

func TestTablesAreCapped(t *testing.T) {
	m := module{
		types: []string{i32s}, funcs: []fn{{code: "\xd0\x70\x20\x00\xfc\x0f\x00"}},
		tables: []string{"\x70\x00\x02"}, exports: []string{exportFunc("grow", 0)},
	}
	g, _ := guest(t, m, plenty, wasm.Rules{})
	global(g, wasm.ElementsGlobal).Set(10)
	for _, c := range []struct{ by, want uint64 }{{9, 0xffffffff}, {8, 2}, {1, 0xffffffff}, {0, 10}, {0xffffffff, 0xffffffff}, {1 << 31, 0xffffffff}} {
		if got, err := g.ExportedFunction("grow").Call(t.Context(), c.by); err != nil || got[0] != c.want {
			t.Errorf("growing by %d gives %v, %v, want %d", c.by, got, err, c.want)
		}
	}
	global(g, wasm.ElementsGlobal).Set(0xffffffff)
	if got, _ := g.ExportedFunction("grow").Call(t.Context(), wasm.MaxTable); got[0] != 0xffffffff {
		t.Errorf("growing beyond the maximum that was put into the module gives %d", got[0])
	}
}

func TestTaint(t *testing.T) {
	rules := wasm.Rules{Taint: func(module, name string) uint64 {
		if module != "env" {
			t.Errorf("asked about module %q", module)
		}
		return map[string]uint64{"same": 3, "nothing": 1 << 32}[name]
	}}
	for name, c := range map[string]struct {
		code string
		want uint64
	}{
		"nothing at all":   {"", 0},
		"an import below":  {"\x41\x02\x10\x00\x1a", 1},
		"an import at":     {"\x41\x03\x10\x00\x1a", 0},
		"an import beyond": {"\x41\x7f\x10\x00\x1a", 0},
		"an import always": {"\x10\x01", 1},
		"through a table":  {"\x41\x01\x11\x00\x00", 1},
		"table.set":        {"\x41\x00\xd0\x70\x26\x00", 1},
		"table.grow":       {"\xd0\x70\x41\x00\xfc\x0f\x00\x1a", 1},
		"table.fill":       {"\x41\x00\xd0\x70\x41\x00\xfc\x11\x00", 1},
		"table.copy":       {"\x41\x00\x41\x00\x41\x00\xfc\x0e\x00\x00", 1},
		"table.init":       {"\x41\x00\x41\x00\x41\x00\xfc\x0c\x00\x00", 1},
		"elem.drop":        {"\xfc\x0d\x00", 1},
		"data.drop":        {"\xfc\x09\x00", 1},
		"memory.init":      {"\x41\x00\x41\x00\x41\x01\xfc\x08\x00\x00", 0},
		"memory.grow":      {"\x41\x01\x40\x00\x1a", 0},
		"reading a table":  {"\x41\x00\x25\x00\xd1\x1a\xfc\x10\x00\x1a", 0},
	} {
		m := module{
			types: []string{void, i32s}, imports: []string{importFunc("env", "same", 1), importFunc("env", "nothing", 0)},
			funcs: []fn{{code: c.code}}, tables: []string{"\x70\x00\x02"}, memory: "\x00\x01",
			elems: []string{"\x00\x41\x01\x0b\x01\x01"}, count: "\x01", data: []string{"\x01\x01a"}, exports: []string{exportFunc("f", 2)},
		}
		g, _ := guest(t, m, plenty, rules)
		if _, err := g.ExportedFunction("f").Call(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := global(g, wasm.TaintGlobal).Get(); got != c.want {
			t.Errorf("%s: taint %d, want %d", name, got, c.want)
		}
	}
}

func TestHostCallsAreCounted(t *testing.T) {
	m := module{
		types: []string{void, i32s}, imports: []string{importFunc("env", "nothing", 0)}, tables: []string{"\x70\x00\x02"},
		funcs: []fn{{code: "\x10\x00"}, {code: "\x41\x00\x11\x00\x00"}}, elems: []string{"\x00\x41\x00\x0b\x01\x00"},
		exports: []string{exportFunc("direct", 1), exportFunc("indirect", 2), exportFunc("exported", 0)},
	}
	for _, f := range []string{"direct", "indirect", "exported"} {
		g, _ := guest(t, m, budget{slice: 1 << 40, stack: 1 << 20, calls: 2}, wasm.Rules{})
		for call, want := range []error{nil, nil, errSpent} {
			if _, err := g.ExportedFunction(f).Call(t.Context()); !errors.Is(err, want) {
				t.Errorf("%s call %d of a host with 2: %v, want %v", f, call+1, err, want)
			}
		}
	}
}

func TestDataAndStartAreLeftToTheEngine(t *testing.T) {
	m := module{
		types: []string{void, take3}, memory: "\x00\x01", count: "\x02", start: "\x00",
		funcs: []fn{{code: "\x41\x08\x41\x07\x3a\x00\x00"}, {typ: 1, code: "\x20\x00\x20\x01\x20\x02\xfc\x08\x00\x00"}},
		data:  []string{"\x00\x41\x05\x0b\x04abcd", "\x01\x02xy"}, exports: []string{exportFunc("init", 1)},
	}
	p := prepare(t, m.bytes())
	if len(p.Data) != 1 || p.Data[0].Offset != 5 || string(p.Data[0].Bytes) != "abcd" || p.DataEnd != 9 || p.Start != wasm.StartExport {
		t.Errorf("Prepare gives %+v to %d, start %q", p.Data, p.DataEnd, p.Start)
	}
	g, _ := guest(t, m, plenty, wasm.Rules{})
	if b, _ := g.Memory().Read(5, 4); string(b) != "abc\x07" {
		t.Errorf("after start the memory has %q", b)
	}
	if _, err := g.ExportedFunction("init").Call(t.Context(), 0, 0, 0); err != nil {
		t.Errorf("memory.init of nothing from an active segment: %v", err)
	}
	if _, err := g.ExportedFunction("init").Call(t.Context(), 0, 0, 1); err == nil {
		t.Error("memory.init of a byte from an active segment does not trap")
	}
}

func TestGlobals(t *testing.T) {
	m := module{globals: []string{"\x7f\x01\x41\x05\x0b", "\x7e\x00\x42\x01\x0b", "\x7c\x01\x44\x00\x00\x00\x00\x00\x00\xf0\x3f\x0b"}}
	p := prepare(t, m.bytes())
	g, _ := guest(t, m, plenty, wasm.Rules{})
	if len(p.Globals) != 2 || p.Globals[0].Type != 0x7f || p.Globals[1].Type != 0x7c || p.Unsaved != "" {
		t.Fatalf("Prepare gives %+v, %q", p.Globals, p.Unsaved)
	}
	if a, b := global(g, p.Globals[0].Export).Get(), global(g, p.Globals[1].Export).Get(); a != 5 || api.DecodeF64(b) != 1 {
		t.Errorf("the globals are %d and %d", a, b)
	}
	m.globals = append(m.globals, "\x70\x01\xd0\x70\x0b")
	if p := prepare(t, m.bytes()); p.Unsaved != "a mutable global of type funcref" {
		t.Errorf("Unsaved is %q", p.Unsaved)
	}
}

func TestAnInterpretersLoopPaysForOneArm(t *testing.T) {
	const arms, turns = 300, 1000
	inner := strings.Repeat("\x02\x40", arms) + "\x20\x01\x0e" + leb(arms-1)
	for i := range arms {
		inner += leb(i)
	}
	inner += "\x0b"
	for i := range arms { // sum += i*i, and on to the loop's head
		inner += strings.Repeat("\x20\x02"+i32(int64(i))+"\x6a\x41\x03\x6c\x21\x02", 10) + "\x0c" + leb(arms-1-i)
		if i < arms-1 {
			inner += "\x0b"
		}
	}
	// loop { if n-- == 0 return sum; pc = n % arms; … }
	code := "\x03\x40\x20\x00\x45\x04\x40\x20\x02\x0f\x0b\x20\x00\x41\x01\x6b\x22\x00" + i32(arms) + "\x70\x21\x01" + inner + "\x0b\x00"
	m := module{types: []string{i32s}, funcs: []fn{{locals: "\x01\x02\x7f", code: code}}, exports: []string{exportFunc("f", 0)}}
	g, _ := guest(t, m, plenty, wasm.Rules{})
	global(g, wasm.FuelGlobal).Set(1 << 40)
	if _, err := g.ExportedFunction("f").Call(t.Context(), turns); err != nil {
		t.Fatal(err)
	}
	if spent := (1<<40 - global(g, wasm.FuelGlobal).Get()) / turns; spent < 30 || spent > 130 {
		t.Errorf("a turn takes %d units, want about 50", spent)
	}
}
