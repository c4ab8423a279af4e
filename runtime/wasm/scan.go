package wasm

import "fmt"

// scanner reads the code of one function after the other (core specification, 5.4).
// It checks indices and the nesting of blocks, so that what is added cannot be reached
// by the guest's own code; types are left to the engine.
type scanner struct {
	*scanned
	m *layout
	d *decoder // of the current function's instructions
	f *function

	frames []frame
	cur    int32  // point of the current code
	acc    uint64 // cost since cur was current
	height int
	peak   int
	wide   bool  // uses vectors
	known  int64 // value of the i32.const just read; -1: none
	vars   uint64
}

// frame is a block that is open.
type frame struct {
	op      byte
	reached bool // a branch leads to its end
	// low is the outermost frame that a branch in it leads to.
	low   int32
	start int32 // the point when it began
	base  int32 // height of the operand stack below its parameters
	params,
	results uint16
}

const (
	dead = 0 // the point of code that never runs
	// maxPoint is about how much straight code may cost before it gets another point.
	maxPoint = 100_000
)

// scan reads all functions of m.
func scan(m *layout) (*scanned, error) {
	size := 0
	for _, b := range m.bodies {
		size += len(b)
	}
	s := &scanner{m: m, scanned: &scanned{
		functions: make([]function, len(m.bodies)),
		edits:     make([]edit, 0, size/12),
		points:    make([]point, 1, size/24+1),
		helpers:   helpers{ids: map[string]int{}},
	}}
	for i, b := range m.bodies {
		s.f = &s.functions[i]
		s.f.typ = &m.types[m.funcs[i]]
		if err := s.function(b); err != nil {
			return nil, fmt.Errorf("function %d: %w", len(m.imports)+i, err)
		}
	}
	return s.scanned, nil
}

func (s *scanner) function(b []byte) error {
	if len(b) > MaxBody {
		return &LimitError{What: "bytes of code in a function", Has: uint64(len(b)), Max: MaxBody}
	}
	s.d = &decoder{b: b}
	s.locals()
	s.d.b, s.d.at = s.d.b[s.d.at:], 0
	f := s.f
	f.body = s.d.b
	f.edits.from, f.points.from = len(s.edits), len(s.points)
	s.cur, s.acc, s.height, s.peak, s.wide, s.known = dead, 0, 0, 0, false, -1
	s.cur = s.newPoint(dead)
	s.frames = append(s.frames[:0], frame{op: opBlock, start: s.cur, results: uint16(len(f.typ.results))})
	for len(s.frames) > 0 && s.d.err == nil {
		s.step()
	}
	if s.d.left() > 0 {
		s.d.fail("code after the function's end")
	}
	f.edits.to, f.points.to = len(s.edits), len(s.points)
	// A call passes its parameters and clears the locals.
	s.points[f.points.from].cost += f.variables / 4
	for _, p := range s.points[f.points.from:] {
		f.total += uint64(p.cost)
	}
	f.frame = s.frameSize()
	return s.d.err
}

// locals reads the declarations of locals.
func (s *scanner) locals() {
	d, n := s.d, uint64(0)
	groups := d.count()
	from := d.at
	for range groups {
		n += uint64(d.u32())
		if d.peek() == typeV128 {
			s.wide = true
		}
		if err := d.valType(); err != nil {
			d.refuse(err)
			return
		}
	}
	if n > MaxLocals {
		d.refuse(&LimitError{What: "locals in a function", Has: n, Max: MaxLocals})
		return
	}
	s.f.groups, s.f.locals.b = groups, d.b[from:d.at]
	s.f.variables = uint32(n) + uint32(len(s.f.typ.params))
	if s.vars += n + uint64(len(s.f.typ.params)+len(s.f.typ.results)); s.vars > maxVars {
		d.refuse(&LimitError{What: "locals and parameters of functions", Has: s.vars, Max: maxVars})
	}
}

// frameSize estimates the native stack of a call: a slot for each variable and operand,
// return address and saved registers.
func (s *scanner) frameSize() uint64 {
	slot := uint64(8)
	if s.wide {
		slot = 16
	}
	t := s.f.typ
	return slot*uint64(int(s.f.variables)+len(t.params)+2*len(t.results)+s.peak) + 128
}

// step reads one instruction.
func (s *scanner) step() {
	d := s.d
	o := d.byte()
	info := &ops[o]
	s.acc += uint64(info.cost)
	known := int64(-1)
	switch info.shape {
	case shapePlain:
	case shapeLocal:
		d.index("local", int(s.f.variables))
	case shapeMem:
		s.memarg()
	case shapeI32:
		known = int64(uint32(d.s32()))
	case shapeI64:
		d.skipLEB(64)
	case shapeGlobal:
		d.index("global", len(s.m.globals))
	case shapeF32:
		d.bytes(4)
	case shapeF64:
		d.bytes(8)
	case shapeSpecial:
		s.special(o)
	default:
		s.undefined(o)
	}
	s.move(int(info.delta))
	if s.known = known; s.acc > maxPoint {
		s.inside(s.cur)
	}
}

func (s *scanner) undefined(o byte) {
	if f := feature(o); f != "" {
		s.d.refuse(&FeatureError{Feature: f})
	}
	s.d.fail("opcode %#x", o)
}

// move changes the height of the operand stack; code that never runs may take more
// from it than there is.
func (s *scanner) move(by int) {
	s.height += by
	if s.height > s.peak {
		s.peak = s.height
	}
	if by < 0 && len(s.frames) > 0 {
		s.height = max(s.height, int(s.frames[len(s.frames)-1].base))
	}
}

// memarg reads alignment and offset; the engine checks that there is a memory.
func (s *scanner) memarg() {
	if align := s.d.u32(); align >= 0x40 && align < 0x80 {
		s.d.refuse(&FeatureError{Feature: Memories})
	}
	s.d.u32()
}

// special reads what follows the opcodes that are more than a number of operands.
func (s *scanner) special(o byte) {
	d := s.d
	switch o {
	case opUnreachable:
		s.die()
	case opBlock, opLoop, opIf:
		s.enter(o)
	case opElse:
		s.otherwise()
	case opEnd:
		s.leave()
	case opBr, opBrIf, opBrTable, opReturn:
		s.branch(o)
	case opCall:
		s.call()
	case opCallIndirect:
		s.callIndirect()
	case opSelectTyped:
		if n := d.u32(); n != 1 {
			d.fail("a select of %d types", n)
		}
		if err := d.valType(); err != nil {
			d.refuse(err)
		}
		s.move(-2)
	case opMemorySize:
		s.zero()
		s.move(1)
	case opMemoryGrow:
		at := d.at - 1
		s.zero()
		s.helper(at)
	default:
		s.reference(o)
	}
}

// zero reads the index of the one memory.
func (s *scanner) zero() {
	if c := s.d.byte(); c != 0 {
		s.d.fail("memory %d", c)
	}
}

func (s *scanner) reference(o byte) {
	d, at := s.d, s.d.at-1
	switch o {
	case opTableGet:
		d.index("table", len(s.m.tables))
		s.acc += 2
	case opTableSet:
		d.index("table", len(s.m.tables))
		s.edit(edit{kind: editTaint, at: uint32(at)})
		s.acc += 3
		s.move(-2)
	case opRefNull:
		if err := d.refType(); err != nil {
			d.refuse(err)
		}
		s.move(1)
	case opRefFunc:
		f := d.index("function", s.m.functions())
		s.m.taken = append(s.m.taken, f)
		s.edit(edit{kind: editRef, at: uint32(at), size: uint8(d.at - at), arg: f})
		s.move(1)
	case opPrefixFC:
		s.bulk(at)
	case opPrefixFD:
		s.vector()
	}
}

func (s *scanner) edit(e edit) {
	if s.d.err == nil {
		s.edits = append(s.edits, e)
	}
}

func (s *scanner) vector() {
	d := s.d
	v := d.u32()
	imm, mem, delta, ok := vectorShape(v)
	if !ok {
		if v >= 0x100 && v < 0x130 {
			d.refuse(&FeatureError{Feature: RelaxedSIMD})
		}
		d.fail("vector opcode %#x", v)
		return
	}
	if mem {
		s.memarg()
	}
	d.bytes(uint32(imm))
	s.wide = true
	s.acc += 2
	s.move(delta)
}
