package wasm

// Functions that are added to a module: shims of its imports, and helpers that do what
// one instruction would, in bounded steps.

const (
	// shimCost is charged for a call of the host.
	shimCost = 200
	// shimDepth is the native stack of a shim or helper.
	shimDepth = 512
	// chunk is how much memory is filled or copied between two checks.
	chunk = 64 << 10
	// perByte is the binary logarithm of the bytes that are filled or copied for one
	// unit of fuel.
	perByte            = 4
	growCost, pageCost = 1_000, 64
)

// helpers numbers the instructions that are replaced by calls, in order of appearance.
type helpers struct {
	ids   map[string]int
	instr []string
}

func (h *helpers) id(instr []byte) int {
	id, ok := h.ids[string(instr)]
	if !ok {
		id = len(h.instr)
		h.ids[string(instr)] = id
		h.instr = append(h.instr, string(instr))
	}
	return id
}

// body is a function under construction: its locals are i32 variables after its
// parameters, then its instructions.
type body struct {
	code
	w      *writer
	locals int
}

func (b *body) get(i int) { b.index(opLocalGet, uint32(i)) }
func (b *body) set(i int) { b.index(opLocalSet, uint32(i)) }
func (b *body) tee(i int) { b.index(opLocalTee, uint32(i)) }

// long leaves local i as an i64.
func (b *body) long(i int) {
	b.get(i)
	b.raw(opI64ExtendU)
}

// bytes returns the function's entry in the code section.
func (b *body) bytes() []byte {
	var c code
	if c.u32(0); b.locals > 0 {
		c.b = nil
		c.u32(1)
		c.u32(uint32(b.locals))
		c.raw(typeI32)
	}
	c.raw(b.b...)
	c.raw(opEnd)
	return c.b
}

// spend takes cost off the global and leaves nothing.
func (b *body) spend(global uint32, cost int64) {
	b.index(opGlobalGet, global)
	b.i64(cost)
	b.raw(opI64Sub)
	b.index(opGlobalSet, global)
}

// spendSize takes local i, over 2^shift, off the fuel.
func (b *body) spendSize(i int, shift int64) {
	b.index(opGlobalGet, b.w.fuel)
	b.long(i)
	if shift > 0 {
		b.i64(shift)
		b.raw(opI64ShrU)
	}
	b.raw(opI64Sub)
	b.index(opGlobalSet, b.w.fuel)
}

// check calls visit if one of the globals is below zero.
func (b *body) check(globals ...uint32) {
	for i, g := range globals {
		if b.index(opGlobalGet, g); i > 0 {
			b.raw(opI64Or)
		}
	}
	b.i64(0)
	b.raw(opI64LtS, opIf, typeNone)
	b.index(opCall, b.w.visit)
	b.raw(opEnd)
}

func (b *body) taint() {
	b.i32(1)
	b.index(opGlobalSet, b.w.taint)
}

// shim calls import i.
func (w *writer) shim(i int) []byte {
	b := &body{w: w}
	imp := w.m.imports[i]
	t := &w.m.types[imp.typ]
	if w.rules.Fork != nil && w.rules.Fork(imp.module, imp.name) {
		b.raw(opLoop, typeNone)
		b.index(opCall, w.fork)
		b.raw(opBrIf, 0, opEnd)
	}
	b.spend(w.fuel, shimCost)
	b.spend(w.calls, 1)
	b.check(w.fuel, w.calls)
	switch below := w.below(imp); {
	case below == 0:
	case below >= 1<<32 || len(t.params) == 0 || t.params[0] != typeI32:
		b.taint()
	default:
		b.get(0)
		b.i32(int32(uint32(below)))
		b.raw(opI32LtU, opIf, typeNone)
		b.taint()
		b.raw(opEnd)
	}
	for p := range t.params {
		b.get(p)
	}
	b.index(opCall, uint32(i))
	return b.bytes()
}

func (w *writer) below(imp importedFunc) uint64 {
	if w.rules.Taint == nil {
		return 0
	}
	return w.rules.Taint(imp.module, imp.name)
}

// helper returns the type and code of the function that does what instr would.
func (w *writer) helper(instr string) (typ uint32, fn []byte) {
	b := &body{w: w}
	i32s := func(n int) []byte { return []byte{typeI32, typeI32, typeI32}[:n] }
	if instr[0] == opMemoryGrow {
		b.memoryGrow(instr)
		return w.m.typeID(i32s(1), i32s(1)), b.bytes()
	}
	d := &decoder{b: []byte(instr), at: 1}
	op, first := d.u32(), d.u32()
	switch op {
	case fcMemoryFill:
		b.memoryFill(instr)
	case fcMemoryCopy:
		b.memoryCopy(instr)
	case fcMemoryInit:
		b.whole(instr, perByte)
	case fcTableGrow:
		b.tableGrow(instr, first)
		return w.m.typeID([]byte{w.m.tables[first].elem, typeI32}, i32s(1)), b.bytes()
	case fcTableFill:
		b.taint()
		b.whole(instr, 0)
		return w.m.typeID([]byte{typeI32, w.m.tables[first].elem, typeI32}, nil), b.bytes()
	default: // table.init, table.copy
		b.taint()
		b.whole(instr, 0)
	}
	return w.m.typeID(i32s(3), nil), b.bytes()
}

// whole does instr on three operands at once: what it works on has a bounded size. It
// is charged for afterwards, when the size is known to be right.
func (b *body) whole(instr string, shift int64) {
	b.three()
	b.raw([]byte(instr)...)
	b.spendSize(2, shift)
	b.check(b.w.fuel)
}

func (b *body) three() {
	b.get(0)
	b.get(1)
	b.get(2)
}

func (b *body) tableGrow(instr string, table uint32) {
	b.raw(opPrefixFC, fcTableSize)
	b.u32(table)
	b.raw(opI64ExtendU)
	b.long(1)
	b.raw(opI64Add)
	b.index(opGlobalGet, b.w.elements)
	b.raw(opI64ExtendU, opI64GtU, opIf, typeNone)
	b.i32(-1)
	b.raw(opReturn, opEnd)
	b.taint()
	b.spendSize(1, 0)
	b.check(b.w.fuel)
	b.get(0)
	b.get(1)
	b.raw([]byte(instr)...)
}

func (b *body) memoryGrow(instr string) {
	b.locals = 1
	b.get(0)
	b.raw([]byte(instr)...)
	b.tee(1)
	b.i32(-1)
	b.raw(opI32Eq, opIf, typeNone)
	b.i32(0)
	b.set(0)
	b.raw(opEnd)
	b.index(opGlobalGet, b.w.fuel)
	b.long(0)
	b.i64(pageCost)
	b.raw(opI64Mul)
	b.i64(growCost)
	b.raw(opI64Add, opI64Sub)
	b.index(opGlobalSet, b.w.fuel)
	b.check(b.w.fuel)
	b.get(1)
}

// outside traps, as instr does, if one of the ranges that begin at the given locals
// and are as long as local 2 leaves the memory: nothing has been written by then.
func (b *body) outside(instr string, starts ...int) {
	for _, s := range starts {
		b.long(s)
		b.long(2)
		b.raw(opI64Add, opMemorySize, 0, opI64ExtendU)
		b.i64(16)
		b.raw(opI64Shl, opI64GtU, opIf, typeNone)
		b.three()
		b.raw([]byte(instr)...)
		b.raw(opUnreachable, opEnd)
	}
}

// chunks runs step while more than a chunk is left, which step has to shorten. Around
// it is a block that is left when no more than a chunk is left.
func (b *body) chunks(step func()) {
	b.raw(opBlock, typeNone, opLoop, typeNone)
	b.get(2)
	b.i32(chunk)
	b.raw(opI32LeU, opBrIf, 1)
	b.spend(b.w.fuel, chunk>>perByte)
	b.check(b.w.fuel)
	step()
	b.raw(opBr, 0, opEnd, opEnd)
}

// less subtracts a chunk from local i; more adds one.
func (b *body) less(i int) { b.by(i, opI32Sub) }
func (b *body) more(i int) { b.by(i, opI32Add) }

func (b *body) by(i int, op byte) {
	b.get(i)
	b.i32(chunk)
	b.raw(op)
	b.set(i)
}

// large runs then if there is more than a chunk to do.
func (b *body) large(then func()) {
	b.get(2)
	b.i32(chunk)
	b.raw(opI32LeU, opI32Eqz, opIf, typeNone)
	then()
	b.raw(opEnd)
}

// rest does what is left.
func (b *body) rest(instr string) {
	b.spendSize(2, perByte)
	b.check(b.w.fuel)
	b.three()
	b.raw([]byte(instr)...)
}

func (b *body) memoryFill(instr string) {
	b.large(func() {
		b.outside(instr, 0)
		b.chunks(func() {
			b.get(0)
			b.get(1)
			b.i32(chunk)
			b.raw([]byte(instr)...)
			b.more(0)
			b.less(2)
		})
	})
	b.rest(instr)
}

// memoryCopy copies upwards if the destination is below the source, else downwards.
func (b *body) memoryCopy(instr string) {
	b.large(func() {
		b.outside(instr, 0, 1)
		b.get(0)
		b.get(1)
		b.raw(opI32LeU, opIf, typeNone)
		b.chunks(func() {
			b.get(0)
			b.get(1)
			b.i32(chunk)
			b.raw([]byte(instr)...)
			b.more(0)
			b.more(1)
			b.less(2)
		})
		b.raw(opElse)
		b.chunks(func() {
			b.less(2)
			for i := range 2 {
				b.get(i)
				b.get(2)
				b.raw(opI32Add)
			}
			b.i32(chunk)
			b.raw([]byte(instr)...)
		})
		b.raw(opEnd)
	})
	b.rest(instr)
}
