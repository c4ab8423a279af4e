package wasm

import (
	"fmt"
	"strings"
)

// reserved reports whether name is one of those that are kept for what Prepare adds.
func reserved(name string) bool { return strings.HasPrefix(name, Reserved) }

func (m *layout) readImports(d *decoder) {
	for range d.counted("imports", maxImports) {
		module, name, kind := d.name(), d.name(), Kind(d.byte())
		if d.err != nil {
			return
		}
		if module == HostModule || reserved(module) {
			d.refuse(&RefusedError{What: fmt.Sprintf("imports %q from %q, a name that is reserved", name, module)})
		}
		switch kind {
		case Func:
			m.imports = append(m.imports, importedFunc{module, name, d.index("type", len(m.types))})
		case Table, Memory, Global:
			d.refuse(&RefusedError{What: fmt.Sprintf("imports a %s, %q from %q, and none is offered: define it in the module", kind, name, module)})
		case Tag:
			d.refuse(&FeatureError{Feature: Exceptions})
		default:
			d.fail("import %q of %s", name, kind)
		}
	}
}

func (m *layout) readGlobals(d *decoder) {
	for range d.counted("globals", maxGlobals) {
		g := globalVar{typ: d.peek()}
		if err := d.valType(); err != nil {
			d.refuse(err)
		}
		g.mutable = d.flag("a global with mutability")
		m.constant(d, &g.init)
		m.globals = append(m.globals, g)
	}
}

func (m *layout) readExports(d *decoder) {
	seen := map[string]bool{}
	for range d.counted("exports", maxExports) {
		e := exported{name: d.name(), kind: Kind(d.byte())}
		switch e.kind {
		case Func:
			if e.index = d.index("function", m.functions()); d.err == nil {
				e.index = m.renumber(e.index)
			}
		case Table:
			e.index = d.index("table", len(m.tables))
		case Memory:
			e.index = d.index("memory", m.memories())
		case Global:
			e.index = d.index("global", len(m.globals))
		case Tag:
			d.refuse(&FeatureError{Feature: Exceptions})
		default:
			d.fail("export %q of %s", e.name, e.kind)
		}
		switch {
		case reserved(e.name):
			d.refuse(&RefusedError{What: fmt.Sprintf("exports %q, a name that is reserved", e.name)})
		case seen[e.name]:
			d.fail("export %q twice", e.name)
		}
		if d.err != nil {
			return
		}
		seen[e.name] = true
		m.exports = append(m.exports, e)
	}
}

func (m *layout) memories() int {
	if m.memory == nil {
		return 0
	}
	return 1
}

// constant copies a constant expression: one instruction, and its end. The engine
// checks its type.
func (m *layout) constant(d *decoder, to *code) {
	from := d.at
	switch o := d.byte(); o {
	case opI32Const:
		d.skipLEB(32)
	case opI64Const:
		d.skipLEB(64)
	case opF32Const:
		d.bytes(4)
	case opF64Const:
		d.bytes(8)
	case opRefNull:
		if err := d.refType(); err != nil {
			d.refuse(err)
		}
	case opRefFunc:
		f := d.index("function", m.functions())
		if d.err == nil {
			m.taken = append(m.taken, f)
			to.index(opRefFunc, m.renumber(f))
			from = d.at
		}
	case opPrefixFD:
		if d.byte() != 12 {
			d.fail("a constant expression with a vector instruction")
		}
		d.bytes(16)
	case opGlobalGet:
		d.fail("a constant expression with a global that the module does not import")
	case opI32Add, opI32Sub, 0x6c, opI64Add, opI64Sub, opI64Mul:
		d.refuse(&FeatureError{Feature: ExtendedConst})
	default:
		d.fail("a constant expression with opcode %#x", o)
	}
	switch end := d.byte(); {
	case d.err != nil:
		return
	case end == opI32Const, end == opI64Const, end == opGlobalGet:
		d.refuse(&FeatureError{Feature: ExtendedConst})
		return
	case end != opEnd:
		d.fail("a constant expression of more than one instruction")
		return
	}
	to.raw(d.b[from:d.at]...)
}

// readElements reads the eight forms of element segments (core specification, 5.5.12).
func (m *layout) readElements(d *decoder) {
	m.elements = d.counted("element segments", maxSegments)
	total := uint64(0)
	for range m.elements {
		form := d.u32()
		if form > 7 {
			d.fail("an element segment of form %d", form)
		}
		m.elemBytes.u32(form)
		m.elementHead(d, form)
		n := d.count()
		if total += uint64(n); total > maxElements {
			d.refuse(&LimitError{What: "elements", Has: total, Max: maxElements})
		}
		m.elemBytes.u32(n)
		for range n {
			if d.err != nil {
				return
			}
			if form&4 != 0 {
				m.constant(d, &m.elemBytes)
				continue
			}
			if f := d.index("function", m.functions()); d.err == nil {
				m.taken = append(m.taken, f)
				m.elemBytes.u32(m.renumber(f))
			}
		}
	}
}

// elementHead copies what comes before a segment's elements.
func (m *layout) elementHead(d *decoder, form uint32) {
	if form&1 == 0 {
		if form&2 != 0 {
			m.elemBytes.u32(d.index("table", len(m.tables)))
		} else if len(m.tables) == 0 {
			d.fail("elements for a table, and no table")
		}
		m.constant(d, &m.elemBytes)
	}
	if form&3 == 0 {
		return
	}
	from := d.at
	if form&4 != 0 {
		if err := d.refType(); err != nil {
			d.refuse(err)
		}
	} else if kind := d.byte(); kind != 0 {
		d.fail("elements of kind %d", kind)
	}
	if d.err == nil {
		m.elemBytes.raw(d.b[from:d.at]...)
	}
}

func (m *layout) readData(d *decoder) {
	for i := range d.counted("data segments", maxSegments) {
		s := segment{}
		switch form := d.u32(); form {
		case 0:
			s.active = true
		case 1:
		case 2:
			s.active = true
			if d.u32() != 0 {
				d.refuse(&FeatureError{Feature: Memories})
			}
		default:
			d.fail("a data segment of form %d", form)
		}
		if s.active {
			s.offset = m.dataOffset(d)
		}
		s.bytes = d.bytes(d.u32())
		if d.err != nil {
			return
		}
		if end := uint64(s.offset) + uint64(len(s.bytes)); s.active && end > uint64(m.memory.Min)*PageSize {
			d.fail("data segment %d ends at byte %d of a memory of %d pages", i, end, m.memory.Min)
		}
		m.data = append(m.data, s)
	}
}

// dataOffset reads the constant expression of an active segment's offset.
func (m *layout) dataOffset(d *decoder) uint32 {
	if m.memory == nil {
		d.fail("data for a memory, and no memory")
		return 0
	}
	if d.peek() != opI32Const {
		m.constant(d, &code{})
		d.fail("a data segment whose offset is not an i32.const")
		return 0
	}
	d.byte()
	offset := d.s32()
	if end := d.byte(); end != opEnd {
		d.refuse(&FeatureError{Feature: ExtendedConst})
	}
	return uint32(offset)
}
