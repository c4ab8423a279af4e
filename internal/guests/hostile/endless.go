package hostile

const pagesPerMiB = 16

// fill is a memory.fill of the first mib megabytes.
func fill(mib int) []byte {
	return cat(const32(0), const32(0x55), const32(int32(mib<<20)), memoryFill)
}

// tree is n+1 functions, each of which calls the one before it twice: the last of
// them makes 2^n calls without a loop.
func tree(n int) []function {
	funcs := []function{void()}
	for i := range n {
		funcs = append(funcs, void(call(i), call(i)))
	}
	return funcs
}

// endless are guests whose requests never end, or not within a lifetime.
func endless() []Module {
	var list []Module
	add := func(name string, wasm []byte) { list = append(list, Module{name, wasm, Deadline}) }
	add("endless loop", guest([]function{answer(forever())}))
	add("endless loop with work", guest([]function{{typ: handler, locals: locals(1, i32), body: cat(
		forever(get(0), const32(1), add32, set(0)), const64(0))}}))
	add("endless loop of conditional branches", guest([]function{answer(loop(const32(1), brIf(0)))}))
	add("endless loop through a branch table", guest([]function{answer(loop(const32(0), brTable(0, 0)))}))
	add("nested loops", guest([]function{answer(forever(forever(forever())))}))
	add("call tree", guest(append(tree(60), answer(call(60)))))
	add("call tree with a wide root", guest(append(tree(60), answer(times(10_000, call(60))))))
	add("indirect call tree", indirectTree())
	add("mutual call tree", guest(mutualTree(), withTypes(funcType([]byte{i32}, nil))))
	trees(add)
	bulk(add)
	hosts(add)
	return list
}

// trees are more shapes of calls.
func trees(add func(string, []byte)) {
	wide := []function{void()}
	for i := range 12 {
		wide = append(wide, void(times(64, call(i))))
	}
	add("wide call tree", guest(append(wide, answer(call(12)))))
	vars := make([]byte, 1000)
	for i := range vars {
		vars[i] = i64
	}
	args := each(1000, get)
	funcs := []function{{typ: firstType}}
	for i := range 40 {
		funcs = append(funcs, function{typ: firstType, body: cat(args, call(i), args, call(i))})
	}
	funcs = append(funcs, answer(times(1000, const64(1)), call(40)))
	add("call tree with 1000 parameters", guest(funcs, withTypes(funcType(vars, nil))))
}

// indirectTree is a call tree through a table.
func indirectTree() []byte {
	const n = 60
	funcs := []function{void()}
	for i := range n {
		funcs = append(funcs, void(const32(int32(i)), callTable(plain), const32(int32(i)), callTable(plain)))
	}
	return guest(append(funcs, answer(const32(n), callTable(plain))), withTable(n+1, n+1), func(m *module) {
		m.elems = [][]byte{cat([]byte{0}, const32(0), end, u(n+1), each(n+1, u))}
	})
}

// mutualTree is two functions that call each other twice with a depth that counts
// down.
func mutualTree() []function {
	step := func(other int) function {
		down := cat(get(0), const32(-1), add32, call(other))
		return function{typ: firstType, body: cat(get(0), then(down, down))}
	}
	return []function{step(1), step(0), answer(const32(60), call(0))}
}

// bulk are guests that spend their time in few instructions.
func bulk(add func(string, []byte)) {
	const mib = 16
	pages, table := withPages(mib*pagesPerMiB), withTable(10_000, 10_000)
	copies := cat(const32(0), const32(mib<<19), const32(mib<<19), memoryCopy)
	overlap := cat(const32(1), const32(0), const32(mib<<20-1), memoryCopy)
	lines := func(code []byte) []function {
		return []function{void(times(200, code)), answer(times(1000, call(0)))}
	}
	elements := cat(const32(0), nullFunc, const32(10_000), tableFill)
	add("memory.fill in straight lines", guest(lines(fill(mib)), pages))
	add("memory.copy in straight lines", guest(lines(copies), pages))
	add("memory.copy of overlapping ranges", guest(lines(overlap), pages))
	add("memory.fill in a loop", guest([]function{answer(forever(fill(mib)))}, pages))
	add("table.fill in a loop", guest([]function{answer(forever(elements))}, table))
	add("table.copy in a loop", guest([]function{answer(forever(
		const32(1), const32(0), const32(9_999), tableCopy))}, table))
	add("memory.grow in a loop", guest([]function{answer(forever(const32(1), memoryGrow, drop))}))
	add("table.grow in a loop", guest([]function{answer(forever(nullFunc, const32(1), tableGrow, drop))}, func(m *module) { m.table = limits(1) }))
}

// hosts are guests that keep the host busy.
func hosts(add func(string, []byte)) {
	ask := withTypes(funcType([]byte{i32, i32}, []byte{i32}))
	add("host calls in a loop", guest([]function{answer(forever(const32(0), const32(64), call(0), drop))},
		ask, withHost("get_method", firstType)))
	features := withTypes(funcType([]byte{i32}, []byte{i32}))
	add("feature requests in a loop", guest([]function{answer(forever(const32(0), call(0), drop))},
		features, withHost("enable_features", firstType)))
	add("log lines in a loop", guest([]function{answer(forever(const32(2), const32(0), const32(60_000), call(0)))},
		withTypes(funcType([]byte{i32, i32, i32}, nil)), withHost("log", firstType)))
	add("short log lines in a loop", guest([]function{answer(forever(const32(2), const32(0), const32(1), call(0)))},
		withTypes(funcType([]byte{i32, i32, i32}, nil)), withHost("log", firstType)))
	names := withTypes(funcType([]byte{i32, i32, i32}, []byte{i64}))
	add("header names in a loop", guest([]function{answer(forever(const32(0), const32(0), const32(60_000), call(0), drop))},
		names, withHost("get_header_names", firstType)))
	add("empty writes in a loop", guest([]function{answer(forever(const32(1), const32(0), const32(0), call(0)))},
		withTypes(funcType([]byte{i32, i32, i32}, nil)), withHost("write_body", firstType)))
}
