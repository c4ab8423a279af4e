package wasm

import (
	"cmp"
	"encoding/binary"
)

// layout is a module as Prepare reads it: checked, and with its functions numbered
// anew. Function indices of the original are mapped by renumber.
type layout struct {
	types   []funcType
	typeIDs map[string]uint32 // structure → first type that has it
	imports []importedFunc
	funcs   []uint32 // type of each function that the module defines
	tables  []table
	memory  *Limits
	globals []globalVar
	exports []exported
	start   int // function index; -1: none
	taken   []uint32

	elements  int
	elemBytes code // the element section's entries, renumbered
	dataCount int  // -1: no such section
	bodies    [][]byte
	data      []segment
}

type funcType struct {
	params, results []byte
	// canon is the first type of the same structure.
	canon uint32
}

type importedFunc struct {
	module, name string
	typ          uint32
}

type table struct {
	elem     byte
	min, max uint32
}

type globalVar struct {
	typ     byte
	mutable bool
	init    code
}

type exported struct {
	name  string
	kind  Kind
	index uint32
}

type segment struct {
	active bool
	offset uint32
	bytes  []byte
}

// sectionOrder is the place of each section id in a file (core specification, 5.5.2).
var sectionOrder = [...]int{1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 6, 7: 7, 8: 8, 9: 9, 12: 10, 10: 11, 11: 12}

// parse reads all of b but code.
func parse(b []byte) (*layout, error) {
	m := &layout{start: -1, dataCount: -1, typeIDs: map[string]uint32{}}
	d, place := &decoder{b: b, at: 8}, 0
	for d.left() > 0 {
		id := d.byte()
		s := &decoder{b: d.bytes(d.u32())}
		if d.err != nil {
			return nil, d.err
		}
		if id == 0 {
			continue
		}
		if int(id) >= len(sectionOrder) || sectionOrder[id] <= place {
			d.fail("section %d is out of order, or there twice", id)
			return nil, d.err
		}
		place = sectionOrder[id]
		m.section(id, s)
		if s.left() > 0 {
			s.fail("%d bytes too many in section %d", s.left(), id)
		}
		if s.err != nil {
			return nil, s.err
		}
	}
	return m, m.agree(d)
}

// agree checks what sections say of each other.
func (m *layout) agree(d *decoder) error {
	switch {
	case len(m.bodies) != len(m.funcs):
		d.fail("%d functions, %d of them with code", len(m.funcs), len(m.bodies))
	case m.dataCount >= 0 && m.dataCount != len(m.data):
		d.fail("%d data segments announced, %d there", m.dataCount, len(m.data))
	}
	return d.err
}

func (m *layout) section(id byte, d *decoder) {
	switch id {
	case 1:
		m.readTypes(d)
	case 2:
		m.readImports(d)
	case 3:
		m.readFunctions(d)
	case 4:
		m.readTables(d)
	case 5:
		m.readMemories(d)
	case 6:
		m.readGlobals(d)
	case 7:
		m.readExports(d)
	case 8:
		m.readStart(d)
	case 9:
		m.readElements(d)
	case 10:
		for range d.counted("functions", maxFunctions) {
			m.bodies = append(m.bodies, d.bytes(d.u32()))
		}
	case 11:
		m.readData(d)
	case 12:
		m.dataCount = int(d.u32())
	}
}

// functions counts all functions, imported ones first.
func (m *layout) functions() int { return len(m.imports) + len(m.funcs) }

// renumber maps a function index of the original: the added imports come before the
// functions that the module defines, and the place of each imported function is taken
// by its shim, after them.
func (m *layout) renumber(f uint32) uint32 {
	if int(f) < len(m.imports) {
		return uint32(m.functions()) + addedImports + f
	}
	return f + addedImports
}

// typeOf returns the type of function f of the original.
func (m *layout) typeOf(f uint32) *funcType {
	if int(f) < len(m.imports) {
		return &m.types[m.imports[f].typ]
	}
	return &m.types[m.funcs[int(f)-len(m.imports)]]
}

func (m *layout) addType(params, results []byte) {
	key := string(binary.AppendUvarint(nil, uint64(len(params)))) + string(params) + string(results)
	canon, ok := m.typeIDs[key]
	if !ok {
		canon = uint32(len(m.types))
		m.typeIDs[key] = canon
	}
	m.types = append(m.types, funcType{params: params, results: results, canon: canon})
}

// typeID returns the index of a type, which it adds if need be.
func (m *layout) typeID(params, results []byte) uint32 {
	key := string(binary.AppendUvarint(nil, uint64(len(params)))) + string(params) + string(results)
	if id, ok := m.typeIDs[key]; ok {
		return id
	}
	m.addType(params, results)
	return uint32(len(m.types) - 1)
}

func (m *layout) readTypes(d *decoder) {
	for range d.counted("types", maxTypes) {
		if form := d.byte(); form != 0x60 {
			switch form {
			case 0x4e, 0x4f, 0x50, 0x5e, 0x5f:
				d.refuse(&FeatureError{Feature: GC})
			}
			d.fail("a type of form %#x", form)
		}
		params, results := m.readValTypes(d), m.readValTypes(d)
		if d.err != nil {
			return
		}
		m.addType(params, results)
	}
}

func (m *layout) readValTypes(d *decoder) []byte {
	n := d.counted("parameters or results of a type", maxParams)
	from := d.at
	for range n {
		if err := d.valType(); err != nil {
			d.refuse(err)
			return nil
		}
	}
	return d.b[from:d.at]
}

func (m *layout) readFunctions(d *decoder) {
	n := d.counted("functions", maxFunctions)
	m.funcs = make([]uint32, 0, n)
	for range n {
		m.funcs = append(m.funcs, d.index("type", len(m.types)))
	}
}

func (m *layout) readTables(d *decoder) {
	total := uint64(0)
	for range d.counted("tables", maxTables) {
		t := table{elem: d.peek()}
		err := d.refType()
		l, lerr := d.limits()
		if err = cmp.Or(err, lerr, d.err); err != nil {
			d.refuse(err)
			return
		}
		if l.HasMax && l.Min > l.Max {
			d.fail("a table of at least %d and at most %d elements", l.Min, l.Max)
		}
		if total += uint64(l.Min); total > MaxTable {
			d.refuse(&LimitError{What: "table elements", Has: total, Max: MaxTable})
		}
		if t.min, t.max = l.Min, MaxTable; l.HasMax {
			t.max = min(l.Max, MaxTable)
		}
		m.tables = append(m.tables, t)
	}
}

func (m *layout) readMemories(d *decoder) {
	n := d.count()
	if n > 1 {
		d.refuse(&FeatureError{Feature: Memories})
	}
	for range min(n, 1) {
		l, err := d.limits()
		switch {
		case err != nil:
			d.refuse(err)
		case l.Min > maxPages || l.HasMax && l.Max > maxPages:
			d.refuse(&LimitError{What: "pages of memory", Has: uint64(max(l.Min, l.Max)), Max: maxPages})
		case l.HasMax && l.Min > l.Max:
			d.fail("a memory of at least %d and at most %d pages", l.Min, l.Max)
		}
		m.memory = &l
	}
}

func (m *layout) readStart(d *decoder) {
	m.start = int(d.index("function", m.functions()))
	if d.err == nil {
		if t := m.typeOf(uint32(m.start)); len(t.params)+len(t.results) > 0 {
			d.fail("a start function with parameters or results")
		}
	}
}
