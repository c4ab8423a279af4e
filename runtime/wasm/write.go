package wasm

// writer builds the module that is compiled.
type writer struct {
	m     *layout
	s     *scanned
	rules Rules

	visit, fork                         uint32 // function indices
	firstHelper                         uint32
	fuel, stack, calls, elements, taint uint32 // global indices

	funcs code // entries of the function section
	bodys code // entries of the code section
	count int  // of both

	scratch []byte
}

// addedImports is how many functions the module imports beside the original's.
const addedImports = 2

// write returns the rewritten module. size is the original's.
func write(m *layout, s *scanned, r Rules, size int) []byte {
	w := &writer{m: m, s: s, rules: r, visit: uint32(len(m.imports)), fork: uint32(len(m.imports)) + 1}
	for i, g := range []*uint32{&w.fuel, &w.stack, &w.calls, &w.elements, &w.taint} {
		*g = uint32(len(m.globals) + i)
	}
	w.firstHelper = uint32(m.functions()+addedImports) + uint32(len(m.imports))
	visitType, forkType := m.typeID(nil, nil), m.typeID(nil, []byte{typeI32})
	w.bodys.b = make([]byte, 0, size+size/3+4096)
	for i := range s.functions {
		w.add(m.funcs[i], w.function(&s.functions[i]))
	}
	for i := range m.imports {
		w.add(m.imports[i].typ, w.shim(i))
	}
	for _, instr := range s.helpers.instr {
		w.add(w.helper(instr))
	}
	if m.start >= 0 {
		// A function of its own, because an export declares a function's address taken.
		b := &body{w: w}
		b.index(opCall, m.renumber(uint32(m.start)))
		m.exports = append(m.exports, exported{name: StartExport, kind: Func, index: w.visit + addedImports + uint32(w.count)})
		w.add(visitType, b.bytes())
	}
	return w.module(visitType, forkType)
}

// add adds a function.
func (w *writer) add(typ uint32, fn []byte) {
	w.funcs.u32(typ)
	w.bodys.sized(fn)
	w.count++
}

func (w *writer) module(visitType, forkType uint32) []byte {
	var c code
	c.b = make([]byte, 0, len(w.bodys.b)+len(w.bodys.b)/8+1024)
	c.raw([]byte(magic + "\x01\x00\x00\x00")...)
	c.section(1, len(w.m.types), w.types())
	c.section(2, len(w.m.imports)+addedImports, w.imports(visitType, forkType))
	c.section(3, w.count, w.funcs.b)
	c.section(4, len(w.m.tables), w.tables())
	c.section(5, w.m.memories(), w.memory())
	c.section(6, len(w.m.globals)+5, w.globals())
	c.section(7, len(w.m.exports)+5, w.exports())
	c.section(9, w.m.elements, w.m.elemBytes.b)
	if w.m.dataCount >= 0 {
		c.section(12, w.m.dataCount, nil)
	}
	c.section(10, w.count, w.bodys.b)
	if w.m.dataCount >= 0 { // else no instruction can name a segment; Go makes thousands
		c.section(11, len(w.m.data), w.data())
	}
	return c.b
}

func (w *writer) types() []byte {
	var c code
	for _, t := range w.m.types {
		c.raw(0x60)
		c.sized(t.params)
		c.sized(t.results)
	}
	return c.b
}

func (w *writer) imports(visitType, forkType uint32) []byte {
	var c code
	for _, i := range w.m.imports {
		c.name(i.module)
		c.name(i.name)
		c.index(byte(Func), i.typ)
	}
	c.name(HostModule)
	c.name(VisitImport)
	c.index(byte(Func), visitType)
	c.name(HostModule)
	c.name(ForkImport)
	c.index(byte(Func), forkType)
	return c.b
}

func (w *writer) tables() []byte {
	var c code
	for _, t := range w.m.tables {
		c.raw(t.elem, 1)
		c.u32(t.min)
		c.u32(t.max)
	}
	return c.b
}

func (w *writer) memory() []byte {
	var c code
	switch l := w.m.memory; {
	case l == nil:
	case l.HasMax:
		c.raw(1)
		c.u32(l.Min)
		c.u32(l.Max)
	default:
		c.raw(0)
		c.u32(l.Min)
	}
	return c.b
}

func (w *writer) globals() []byte {
	var c code
	for _, g := range w.m.globals {
		c.raw(g.typ, 0)
		if g.mutable {
			c.b[len(c.b)-1] = 1
		}
		c.raw(g.init.b...)
	}
	for range 3 { // fuel, stack, calls
		c.raw(typeI64, 1, opI64Const, 0, opEnd)
	}
	for range 2 { // elements, taint
		c.raw(typeI32, 1, opI32Const, 0, opEnd)
	}
	return c.b
}

func (w *writer) exports() []byte {
	var c code
	for _, e := range w.m.exports {
		c.name(e.name)
		c.index(byte(e.kind), e.index)
	}
	for i, name := range []string{FuelGlobal, StackGlobal, CallsGlobal, ElementsGlobal, TaintGlobal} {
		c.name(name)
		c.index(byte(Global), uint32(len(w.m.globals)+i))
	}
	return c.b
}

// data keeps the indices of the segments: an active one is left as if it had been
// dropped, which is what it is after instantiation.
func (w *writer) data() []byte {
	var c code
	for _, s := range w.m.data {
		c.raw(1)
		if s.active {
			s.bytes = nil
		}
		c.sized(s.bytes)
	}
	return c.b
}
