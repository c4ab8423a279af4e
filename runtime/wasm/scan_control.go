package wasm

// Charging: a point stands at the function's entry, at each loop's head, and where
// code begins that may run less often than what encloses it. The last kind are merged
// into their parents later, if they cost little.

// newPoint adds a point inside of parent, and an edit where the scanner is.
func (s *scanner) newPoint(parent int32) int32 {
	s.points = append(s.points, point{parent: parent, live: true})
	p := int32(len(s.points) - 1)
	if parent != dead {
		s.edit(edit{kind: editCharge, at: uint32(s.d.at), arg: uint32(p)})
	}
	return p
}

// to makes p the current point.
func (s *scanner) to(p int32) {
	if s.cur != dead {
		s.points[s.cur].cost += uint32(s.acc)
	}
	s.cur, s.acc = p, 0
}

// inside makes a new point of parent the current one.
func (s *scanner) inside(parent int32) {
	if parent == dead {
		s.to(dead)
		return
	}
	s.to(s.newPoint(parent))
}

// die ends the current code: what follows is not reached from here.
func (s *scanner) die() {
	s.to(dead)
	s.height = int(s.frames[len(s.frames)-1].base)
}

// blockType returns the numbers of a block's parameters and results.
func (s *scanner) blockType() (params, results int) {
	d := s.d
	c := d.peek()
	switch {
	case c == typeNone:
		d.byte()
		return 0, 0
	case c >= 0x40 && c < 0x80:
		if err := d.valType(); err != nil {
			d.refuse(err)
		}
		return 0, 1
	}
	t := d.index("type", len(s.m.types))
	if d.err != nil {
		return 0, 0
	}
	return len(s.m.types[t].params), len(s.m.types[t].results)
}

func (s *scanner) enter(o byte) {
	if o == opIf {
		s.acc++
		s.move(-1)
	}
	params, results := s.blockType()
	if len(s.frames) >= maxDepth {
		s.d.refuse(&LimitError{What: "blocks in each other", Has: maxDepth + 1, Max: maxDepth})
	}
	if s.d.err != nil {
		return
	}
	s.move(-params)
	s.frames = append(s.frames, frame{
		op: o, low: int32(len(s.frames)), start: s.cur, base: int32(s.height),
		params: uint16(params), results: uint16(results),
	})
	s.height += params
	switch {
	case o == opIf:
		s.inside(s.cur)
	case o == opLoop && s.cur != dead:
		s.f.leads = s.f.leads || !s.f.loops && len(s.points) == s.f.points.from+1 && len(s.edits) == s.f.edits.from
		s.f.loops = true
		s.inside(s.cur)
		s.points[s.cur].loop = true
		s.acc++
	}
}

func (s *scanner) otherwise() {
	f := &s.frames[len(s.frames)-1]
	if f.op != opIf {
		s.d.fail("else without if")
		return
	}
	f.op = opElse
	f.reached = f.reached || s.cur != dead
	s.height = int(f.base) + int(f.params)
	s.inside(f.start)
}

func (s *scanner) leave() {
	n := len(s.frames) - 1
	f := s.frames[n]
	s.frames = s.frames[:n]
	if n == 0 {
		s.to(dead)
		return
	}
	outer := &s.frames[n-1]
	outer.low = min(outer.low, f.low)
	s.height = int(f.base)
	s.move(int(f.results))
	switch {
	case s.cur == dead && !f.reached && f.op != opIf:
		s.to(dead)
	case f.low < int32(n): // code in it may go elsewhere
		s.inside(f.start)
	default:
		s.to(f.start)
	}
}

// branch reads a branch, or the return that is one to the outermost frame.
func (s *scanner) branch(o byte) {
	d, at := s.d, s.d.at-1
	s.acc++
	switch o {
	case opReturn:
		s.f.returns = true
		s.edit(edit{kind: editReturn, at: uint32(at), size: 1, arg: uint32(len(s.frames) - 1)})
		s.target(uint32(len(s.frames) - 1))
	case opBrTable:
		s.acc += 3
		for range uint64(d.count()) + 1 {
			s.target(d.u32())
		}
	default:
		s.target(d.u32())
	}
	if o != opBrIf {
		s.die()
		return
	}
	s.move(-1)
	s.inside(s.cur)
}

// target notes a branch to the frame that is depth frames out.
func (s *scanner) target(depth uint32) {
	n := len(s.frames) - 1
	if uint64(depth) > uint64(n) {
		s.d.fail("a branch out of %d blocks of %d", depth, n)
	}
	if s.d.err != nil || s.cur == dead {
		return
	}
	t := n - int(depth)
	if f := &s.frames[t]; f.op != opLoop {
		f.reached = true
	}
	s.frames[n].low = min(s.frames[n].low, int32(t))
}

func (s *scanner) call() {
	d, at := s.d, s.d.at-1
	f := d.index("function", s.m.functions())
	if d.err != nil {
		return
	}
	s.acc += 4
	s.edit(edit{kind: editCall, at: uint32(at), size: uint8(d.at - at), arg: f, point: s.cur})
	s.apply(s.m.typeOf(f))
}

func (s *scanner) callIndirect() {
	d, at := s.d, s.d.at-1
	t := d.index("type", len(s.m.types))
	d.index("table", len(s.m.tables))
	if d.err != nil {
		return
	}
	s.acc += 10
	s.f.indirect = true
	s.edit(edit{kind: editIndirect, at: uint32(at), size: uint8(d.at - at), arg: s.m.types[t].canon})
	s.move(-1)
	s.apply(&s.m.types[t])
}

func (s *scanner) apply(t *funcType) {
	s.move(-len(t.params))
	s.move(len(t.results))
}

// inline is up to how many bytes a fill or copy of known size is left as it is.
const inline = 4096

// bulk reads the instructions after 0xfc.
func (s *scanner) bulk(at int) {
	d := s.d
	switch o := d.u32(); {
	case o < 8: // saturating truncation
		s.acc += 3
	case o == fcDataDrop || o == fcElemDrop:
		if o == fcDataDrop {
			s.dataIndex()
		} else {
			d.index("element segment", s.m.elements)
		}
		s.acc += 3
		s.edit(edit{kind: editTaint, at: uint32(at)})
	case o == fcTableSize:
		d.index("table", len(s.m.tables))
		s.acc++
		s.move(1)
	case o <= fcTableFill:
		s.bulkOperands(o)
		if (o == fcMemoryCopy || o == fcMemoryFill) && s.known >= 0 && s.known <= inline {
			s.acc += 10 + uint64(s.known)/16
		} else {
			s.helper(at)
		}
		if s.move(-3); o == fcTableGrow {
			s.height += 2
		}
	default:
		if o <= 22 && o >= 19 {
			d.refuse(&FeatureError{Feature: WideArithmetic})
		}
		d.fail("opcode 0xfc %d", o)
	}
}

func (s *scanner) bulkOperands(o uint32) {
	d := s.d
	switch o {
	case fcMemoryInit:
		s.dataIndex()
		s.zero()
	case fcMemoryCopy:
		s.zero()
		s.zero()
	case fcMemoryFill:
		s.zero()
	case fcTableInit:
		d.index("element segment", s.m.elements)
		d.index("table", len(s.m.tables))
	case fcTableCopy:
		d.index("table", len(s.m.tables))
		d.index("table", len(s.m.tables))
	default:
		d.index("table", len(s.m.tables))
	}
}

// dataIndex reads the index of a data segment: they come after the code, so that
// their number must have been announced.
func (s *scanner) dataIndex() {
	if s.m.dataCount < 0 {
		s.d.fail("an instruction on data without a data count section")
	}
	s.d.index("data segment", max(s.m.dataCount, 0))
}

// helper replaces the instruction that began at by a call of the helper that does it.
func (s *scanner) helper(at int) {
	if s.d.err != nil {
		return
	}
	s.f.dynamic = true
	s.acc += 4
	id := s.helpers.id(s.d.b[at:s.d.at])
	s.edit(edit{kind: editHelper, at: uint32(at), size: uint8(s.d.at - at), arg: uint32(id)})
}
