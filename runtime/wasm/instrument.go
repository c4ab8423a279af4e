package wasm

import "math"

// Costs of code that runs less often than its point, up to which it is charged there
// all the same: of one such piece, and of all of a point. Where the fuel is in a local
// a charge costs less than where it is in the global.
const (
	armInLocal, armsInLocal   = 8, 32
	armInGlobal, armsInGlobal = 16, 64
)

// rewriter writes one function's code. Where the function has loops the fuel is kept
// in a local, because the engine can keep that in a register: it is taken from the
// global at the entry and after calls, and put back before calls and at the exit.
type rewriter struct {
	code
	*writer
	f     *function
	local uint32 // index of the fuel's local, if f.loops
	wrap  bool   // there is something to do at the exit
	dense bool   // check at every point and call
}

// function returns f's entry in the code section, which is good until the next call.
func (w *writer) function(f *function) []byte {
	r := &rewriter{writer: w, f: f, local: f.variables, wrap: !f.cheap && (f.loops || f.recursive)}
	r.b = w.scratch[:0]
	groups := f.groups
	if f.loops {
		groups++
	}
	r.u32(groups)
	r.raw(f.locals.b...)
	if f.loops {
		r.raw(1, typeI64)
	}
	if !f.cheap {
		r.price()
		r.entry()
	}
	if r.wrap {
		r.open()
	}
	at := uint32(0)
	for _, e := range w.s.edits[f.edits.from:f.edits.to] {
		r.raw(f.body[at:e.at]...)
		r.apply(e)
		at = e.at + uint32(e.size)
	}
	r.raw(f.body[at:]...)
	if r.wrap {
		r.exit()
		r.raw(opEnd)
	}
	w.scratch = r.b
	return r.b
}

// price adds what calls of cheap functions cost to their points, and merges small
// points into their parents: children come after their parents.
func (r *rewriter) price() {
	total := r.f.total
	calls := r.s.edits[r.f.edits.from:r.f.edits.to]
	for _, e := range calls {
		if callee := r.callee(e); callee != nil && callee.weight <= quietWeight {
			total += callee.weight
		}
	}
	if r.dense = total > denseCost; !r.dense {
		for _, e := range calls {
			if callee := r.callee(e); callee != nil && callee.cheap {
				r.s.points[e.point].cost += uint32(callee.weight)
			}
		}
	}
	r.merge()
}

func (r *rewriter) merge() {
	arm, arms := uint32(armInGlobal), uint32(armsInGlobal)
	if r.f.loops {
		arm, arms = armInLocal, armsInLocal
	}
	for i := r.f.points.to - 1; i > r.f.points.from; i-- {
		p := &r.s.points[i]
		parent := &r.s.points[p.parent]
		switch {
		case p.loop:
		case p.cost == 0:
			p.live = false
		case p.cost <= arm && parent.merged+p.cost <= arms:
			parent.cost += p.cost
			parent.merged += p.cost
			p.live = false
		}
	}
}

// callee returns the function that a call edit calls, nil if it is an import or none.
func (r *rewriter) callee(e edit) *function {
	if e.kind != editCall || int(e.arg) < len(r.m.imports) {
		return nil
	}
	return &r.s.functions[int(e.arg)-len(r.m.imports)]
}

// entry charges for the function's first code, takes its frame off the stack, and
// checks both. A call of bounded weight need not check: who calls it will. Nor need
// one that comes to a loop at once, as every function that Go compiles does: there the
// sign of the stack goes into the fuel, and the loop's check sees it.
func (r *rewriter) entry() {
	if r.f.recursive {
		r.adjust(r.stack, opI64Sub, int64(r.f.frame))
	}
	if r.f.loops {
		r.load()
	}
	r.charge(int64(r.s.points[r.f.points.from].cost) + 2)
	switch {
	case r.f.leads && r.f.recursive:
		r.index(opLocalGet, r.local)
		r.index(opGlobalGet, r.stack)
		r.i64(math.MinInt64)
		r.raw(opI64And, opI64Or)
		r.index(opLocalSet, r.local)
	case r.f.recursive:
		r.check(true)
	case !r.f.leads && (r.f.weight > quietWeight || r.dense):
		r.check(false)
	}
}

// adjust adds to or subtracts from a global.
func (r *rewriter) adjust(global uint32, op byte, by int64) {
	r.index(opGlobalGet, global)
	r.i64(by)
	r.raw(op)
	r.index(opGlobalSet, global)
}

func (r *rewriter) charge(cost int64) {
	if !r.f.loops {
		r.adjust(r.fuel, opI64Sub, cost)
		return
	}
	r.index(opLocalGet, r.local)
	r.i64(cost)
	r.raw(opI64Sub)
	r.index(opLocalSet, r.local)
}

// check visits the host if the fuel, or the stack if that is checked too, is below zero.
// The usual case has an arm of its own, which is empty and comes first: the engine's
// register allocator goes on after the join with what the first arm had in registers,
// and after a call that is nothing.
func (r *rewriter) check(stack bool) {
	if r.f.loops {
		r.index(opLocalGet, r.local)
	} else {
		r.index(opGlobalGet, r.fuel)
	}
	if stack {
		r.index(opGlobalGet, r.stack)
		r.raw(opI64Or)
	}
	r.i64(0)
	r.raw(opI64GeS, opIf, typeNone, opElse)
	r.store()
	r.index(opCall, r.visit)
	r.load()
	r.raw(opEnd)
}

// store and load move the fuel between the global and the local, if there is one.
func (r *rewriter) store() {
	if r.f.loops {
		r.index(opLocalGet, r.local)
		r.index(opGlobalSet, r.fuel)
	}
}

func (r *rewriter) load() {
	if r.f.loops {
		r.index(opGlobalGet, r.fuel)
		r.index(opLocalSet, r.local)
	}
}

// open begins a block around the function's code, so that all ways out of it lead to
// its end: a branch to the function's frame is one to the block, as it is.
func (r *rewriter) open() {
	r.raw(opBlock)
	switch results := r.f.typ.results; len(results) {
	case 0:
		r.raw(typeNone)
	case 1:
		r.raw(results[0])
	default:
		r.s64(int64(r.m.typeID(nil, results)))
	}
}

func (r *rewriter) exit() {
	r.store()
	if r.f.recursive {
		r.adjust(r.stack, opI64Add, int64(r.f.frame))
	}
}

// apply writes what e asks for.
func (r *rewriter) apply(e edit) {
	switch e.kind {
	case editCharge:
		r.point(&r.s.points[e.arg])
	case editCall:
		r.call(e)
	case editIndirect:
		r.store()
		r.raw(r.f.body[e.at : e.at+uint32(e.size)]...)
		r.load()
	case editRef:
		r.index(opRefFunc, r.m.renumber(e.arg))
	case editHelper:
		r.store()
		r.index(opCall, r.firstHelper+e.arg)
		r.load()
	case editTaint:
		r.i32(1)
		r.index(opGlobalSet, r.taint)
	case editReturn:
		if r.wrap {
			r.index(opBr, e.arg)
		} else {
			r.raw(opReturn)
		}
	}
}

// call calls a function. In dense code what it costs, if it does not check by itself,
// is checked here: there may be millions of calls in a row.
func (r *rewriter) call(e edit) {
	callee := r.callee(e)
	switch {
	case callee == nil || !callee.cheap:
		r.store()
		r.index(opCall, r.m.renumber(e.arg))
		r.load()
		if r.dense && callee != nil && callee.weight <= quietWeight {
			r.check(false)
		}
	case r.dense:
		r.charge(int64(callee.weight))
		r.check(false)
		fallthrough
	default:
		r.index(opCall, r.m.renumber(e.arg))
	}
}

func (r *rewriter) point(p *point) {
	if r.f.cheap || !p.live {
		return
	}
	r.charge(int64(p.cost))
	if p.loop || r.dense {
		r.check(false)
	}
}
