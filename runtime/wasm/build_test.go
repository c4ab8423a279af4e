package wasm_test

import (
	"encoding/binary"
	"strings"
)

// module is a small module for a test, in pieces of the binary format.
type module struct {
	types   []string // without the leading 0x60
	imports []string
	funcs   []fn
	tables  []string
	memory  string
	globals []string
	exports []string
	start   string
	elems   []string
	count   string // data count
	data    []string
}

// fn is a function: its type, the groups of its locals, its instructions without end.
type fn struct {
	typ    byte
	locals string
	code   string
}

func leb(n int) string { return string(binary.AppendUvarint(nil, uint64(n))) }

func sleb(n int64) string {
	var b []byte
	for n < -64 || n > 63 {
		b = append(b, byte(n)|0x80)
		n >>= 7
	}
	return string(append(b, byte(n)&0x7f))
}

func str(s string) string { return leb(len(s)) + s }

func vec(items []string) string { return leb(len(items)) + strings.Join(items, "") }

func i32(n int64) string { return "\x41" + sleb(n) }

// exportFunc and importFunc are entries of the export and the import section.
func exportFunc(name string, i int) string { return str(name) + "\x00" + leb(i) }

func importFunc(module, name string, typ int) string {
	return str(module) + str(name) + "\x00" + leb(typ)
}

const (
	void  = "\x00\x00"             // () → ()
	i32s  = "\x01\x7f\x01\x7f"     // i32 → i32
	take3 = "\x03\x7f\x7f\x7f\x00" // i32 i32 i32 → ()
)

func (m module) bytes() []byte {
	var b strings.Builder
	b.WriteString(header)
	section := func(id byte, items []string) {
		if len(items) > 0 {
			b.WriteString(string([]byte{id}) + str(vec(items)))
		}
	}
	single := func(id byte, s string) {
		if s != "" {
			b.WriteString(string([]byte{id}) + str(s))
		}
	}
	types, funcs, codes := make([]string, len(m.types)), make([]string, len(m.funcs)), make([]string, len(m.funcs))
	for i, t := range m.types {
		types[i] = "\x60" + t
	}
	for i, f := range m.funcs {
		funcs[i] = string([]byte{f.typ})
		if f.locals == "" {
			f.locals = "\x00"
		}
		codes[i] = str(f.locals + f.code + "\x0b")
	}
	section(1, types)
	section(2, m.imports)
	section(3, funcs)
	section(4, m.tables)
	if m.memory != "" {
		section(5, []string{m.memory})
	}
	section(6, m.globals)
	section(7, m.exports)
	single(8, m.start)
	section(9, m.elems)
	single(12, m.count)
	section(10, codes)
	section(11, m.data)
	return []byte(b.String())
}
