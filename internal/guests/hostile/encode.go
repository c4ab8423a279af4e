package hostile

import (
	"encoding/binary"
	"slices"
)

// Value types.
const (
	i32     = 0x7f
	i64     = 0x7e
	f64     = 0x7c
	funcref = 0x70
)

// Section ids.
const (
	secCustom = iota
	secType
	secImport
	secFunction
	secTable
	secMemory
	secGlobal
	secExport
	secStart
	secElement
	secCode
	secData
	secDataCount
)

// handler is the type of handle_request, () -> i64, and plain that of () -> (): each
// module begins with both.
const (
	handler = iota
	plain
	firstType
)

const entry = "handle_request"

var preamble = []byte{0, 'a', 's', 'm', 1, 0, 0, 0}

// module is what is encoded.
type module struct {
	types   [][]byte // from firstType on
	imports []hostFunc
	funcs   []function // their indices follow those of imports
	table   []byte     // its limits; empty for none
	memory  []byte     // its limits; empty for none
	exports []export
	start   []byte   // the index
	elems   [][]byte // segments
	data    [][]byte // segments
}

// hostFunc is an import from http_handler.
type hostFunc struct {
	name string
	typ  uint32
}

type function struct {
	typ    uint32
	locals []byte // a vector; empty for none
	body   []byte // without its end
}

type export struct {
	name string
	kind byte
	item uint32
}

// bytes encodes m.
func (m module) bytes() []byte {
	types := append([][]byte{funcType(nil, []byte{i64}), funcType(nil, nil)}, m.types...)
	var imports, funcs, exports, code [][]byte
	for _, i := range m.imports {
		imports = append(imports, cat(name("http_handler"), name(i.name), []byte{0}, u(i.typ)))
	}
	for _, f := range m.funcs {
		locals := f.locals
		if len(locals) == 0 {
			locals = []byte{0}
		}
		body := cat(locals, f.body, []byte{0x0b})
		funcs, code = append(funcs, u(f.typ)), append(code, cat(u(len(body)), body))
	}
	for _, x := range m.exports {
		exports = append(exports, cat(name(x.name), []byte{x.kind}, u(x.item)))
	}
	out := cat(preamble, section(secType, vec(types...)), list(secImport, imports), list(secFunction, funcs))
	out = cat(out, single(secTable, m.table, funcref), single(secMemory, m.memory), list(secExport, exports))
	if len(m.start) > 0 {
		out = append(out, section(secStart, m.start)...)
	}
	return cat(out, list(secElement, m.elems), list(secCode, code), list(secData, m.data))
}

// single is a section of one table or memory, whose limits follow before.
func single(id byte, limits []byte, before ...byte) []byte {
	if len(limits) == 0 {
		return nil
	}
	return section(id, vec(cat(before, limits)))
}

func list(id byte, items [][]byte) []byte {
	if len(items) == 0 {
		return nil
	}
	return section(id, vec(items...))
}

func section(id byte, body []byte) []byte { return cat([]byte{id}, u(len(body)), body) }

// guest is a handler with one page of memory: the last of funcs is its entry, and
// may be changed by edits.
func guest(funcs []function, edits ...func(*module)) []byte {
	m := module{funcs: funcs, memory: limits(1)}
	for _, edit := range edits {
		edit(&m)
	}
	last := uint32(len(m.imports) + len(m.funcs) - 1)
	m.exports = append(m.exports, export{entry, 0, last}, export{"memory", 2, 0})
	return m.bytes()
}

// answer is a handler that runs body and hands nothing on.
func answer(body ...[]byte) function {
	return function{typ: handler, body: cat(cat(body...), const64(0))}
}

func void(body ...[]byte) function { return function{typ: plain, body: cat(body...)} }

func withTable(size, maximum int) func(*module) {
	return func(m *module) { m.table = limits(size, maximum) }
}

func withPages(least ...int) func(*module) {
	return func(m *module) { m.memory = limits(least...) }
}

func withTypes(types ...[]byte) func(*module) {
	return func(m *module) { m.types = append(m.types, types...) }
}

func withHost(fn string, typ uint32) func(*module) {
	return func(m *module) { m.imports = append(m.imports, hostFunc{fn, typ}) }
}

// limits of one number, or of least and most.
func limits(v ...int) []byte {
	if len(v) == 1 {
		return cat([]byte{0}, u(v[0]))
	}
	return cat([]byte{1}, u(v[0]), u(v[1]))
}

func funcType(params, results []byte) []byte {
	return cat([]byte{0x60}, u(len(params)), params, u(len(results)), results)
}

// locals declares n variables of one type.
func locals(n int, typ byte) []byte { return cat([]byte{1}, u(n), []byte{typ}) }

func vec(items ...[]byte) []byte { return cat(u(len(items)), cat(items...)) }

func name(s string) []byte { return cat(u(len(s)), []byte(s)) }

func cat(parts ...[]byte) []byte { return slices.Concat(parts...) }

// times repeats code.
func times(n int, code ...[]byte) []byte { return slices.Repeat(cat(code...), n) }

// each joins the code for 0 to n-1.
func each(n int, code func(i int) []byte) []byte {
	var out []byte
	for i := range n {
		out = append(out, code(i)...)
	}
	return out
}

// u encodes an unsigned LEB128 number.
func u[T int | uint32](v T) []byte { return binary.AppendUvarint(nil, uint64(v)) }

// s encodes a signed LEB128 number.
func s(v int64) []byte {
	var out []byte
	for {
		b := byte(v & 0x7f)
		v >>= 7
		if v == 0 && b&0x40 == 0 || v == -1 && b&0x40 != 0 {
			return append(out, b)
		}
		out = append(out, b|0x80)
	}
}
