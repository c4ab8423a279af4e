package hostile

// crashes are guests that trap in each request, or break the ABI.
func crashes() []Module {
	var list []Module
	add := func(name string, wasm []byte) { list = append(list, Module{name, wasm, Crash}) }
	simple := func(name string, code ...[]byte) { add(name, guest([]function{answer(code...)})) }
	op := func(b ...byte) []byte { return b }
	simple("unreachable", unreachable)
	simple("load out of bounds", const32(65536), load32(0), drop)
	simple("load at the end of 32 bits", const32(-1), load32(most), drop)
	simple("store out of bounds", const32(-4), const32(1), op(0x36, 2, 0))
	simple("memory.fill out of bounds", const32(1), const32(0), const32(65536), memoryFill)
	simple("memory.copy out of bounds", const32(0), const32(-1), const32(65536), memoryCopy)
	simple("division by zero", const32(1), const32(0), op(0x6d), drop)
	simple("remainder by zero", const64(1), const64(0), op(0x82), drop)
	simple("division that overflows", const32(-1<<31), const32(-1), op(0x6d), drop)
	simple("conversion of not a number", op(0x44, 0, 0, 0, 0, 0, 0, 0xf8, 0x7f), op(0xaa), drop)
	tables(add)
	recursions(add)
	answers(add)
	return list
}

// tables are faults of indirect calls.
func tables(add func(string, []byte)) {
	one := withTable(2, 2)
	first := func(m *module) { m.elems = [][]byte{cat([]byte{0}, const32(0), end, vec(u(0)))} }
	add("indirect call of null", guest([]function{answer(const32(1), callTable(plain))}, one, first))
	add("indirect call of another type", guest([]function{answer(const32(0), callTable(plain))}, one, first))
	add("indirect call out of the table", guest([]function{answer(const32(2), callTable(plain))}, one, first))
	add("table.get out of the table", guest([]function{answer(const32(2), []byte{0x25, 0}, drop)}, one))
	add("table.fill out of the table", guest([]function{answer(const32(1), nullFunc, const32(2), tableFill)}, one))
}

// recursions overflow a stack.
func recursions(add func(string, []byte)) {
	add("infinite recursion", guest([]function{{typ: handler, body: call(0)}}))
	add("mutual recursion", guest([]function{void(call(1)), void(call(0)), answer(call(0))}))
	add("indirect recursion", guest([]function{{typ: handler, body: cat(const32(0), callTable(handler))}}, withTable(1, 1), func(m *module) {
		m.elems = [][]byte{cat([]byte{0}, const32(0), end, vec(u(0)))}
	}))
	vars := make([]byte, 1000)
	for i := range vars {
		vars[i] = i64
	}
	add("infinite recursion with 1000 parameters", guest([]function{
		{typ: firstType, body: cat(each(1000, get), call(0))}, answer(times(1000, const64(7)), call(0)),
	}, withTypes(funcType(vars, nil))))
	add("infinite recursion with 1000 results", guest([]function{
		{typ: firstType, body: call(0)}, answer(call(0), times(1000, drop)),
	}, withTypes(funcType(nil, vars))))
	add("infinite recursion with 40000 locals", guest([]function{
		{typ: plain, locals: locals(40_000, i64), body: cat(call(0), get(39_999), drop)}, answer(call(0)),
	}))
}

// answers break the http-wasm ABI.
func answers(add func(string, []byte)) {
	three := withTypes(funcType([]byte{i32, i32, i32}, nil))
	five := withTypes(funcType([]byte{i32, i32, i32, i32, i32}, nil))
	args := func(v ...int32) []byte { return each(len(v), func(i int) []byte { return const32(v[i]) }) }
	add("body out of bounds", guest([]function{answer(args(1, -16, 4096), call(0))}, three, withHost("write_body", firstType)))
	add("body of four gigabytes", guest([]function{answer(args(1, 0, -1), call(0))}, three, withHost("write_body", firstType)))
	add("body of an unknown kind", guest([]function{answer(args(99, 0, 1), call(0))}, three, withHost("write_body", firstType)))
	add("header out of bounds", guest([]function{answer(args(1, 0, -1, 0, -1), call(0))}, five, withHost("add_header_value", firstType)))
	add("headers in a loop", guest([]function{answer(
		[]byte{0x41, 0, 0x41}, s('x'), const32(30_000), memoryFill, forever(args(1, 0, 8, 0, 30_000), call(0)),
	)}, five, withHost("add_header_value", firstType)))
	add("status out of range", guest([]function{answer(const32(-1), call(0))}, withTypes(funcType([]byte{i32}, nil)), withHost("set_status_code", firstType)))
}

// survivors ask for more than there is, are told no, and answer.
func survivors() []Module {
	grow := func(n int32) []byte { return cat(nullFunc, const32(n), tableGrow, drop) }
	open := func(m *module) { m.table = limits(1) }
	// Local 0 counts addresses: each page of 4096 bytes gets a byte.
	touch := forever(
		get(0), memorySize, const32(16), []byte{0x74}, []byte{0x4f}, // at or above memory.size << 16
		brIf(1),
		get(0), const32(1), []byte{0x3a, 0, 0}, get(0), const32(4096), add32, set(0),
	)
	growAll := loop(const32(1), memoryGrow, const32(-1), []byte{0x47}, brIf(0))
	all := []struct {
		name string
		wasm []byte
	}{
		{"memory.grow until refused, each page touched", guest([]function{{
			typ: handler, locals: locals(1, i32), body: cat(growAll, block(empty, touch), const64(0)),
		}})},
		{"memory.grow by four gigabytes", guest([]function{answer(const32(65535), memoryGrow, drop, const32(-1), memoryGrow, drop)})},
		{"table.grow by 2^31", guest([]function{answer(grow(-1 << 31))}, open)},
		{"table.grow by 2^32-1", guest([]function{answer(grow(-1))}, open)},
		{"table.grow below a great maximum", guest([]function{answer(grow(1_000_000_000))}, withTable(1, 1<<32-1))},
	}
	var list []Module
	for _, c := range all {
		list = append(list, Module{c.name, c.wasm, Survives})
	}
	return list
}
