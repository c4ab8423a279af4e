package hostile

import "bytes"

// bombs are modules that are dear to compile: with wazero v1.12 on one core each takes
// more than 10 s or 1 GiB, most of them a multiple of both. Sizes are divided by part,
// which is 1 for the real ones.
func bombs(part int) []Module {
	var list []Module
	add := func(name string, wasm []byte) { list = append(list, Module{name, wasm, Bomb}) }
	sequential(add, part)
	nested(add, part)
	wide(add, part)
	return list
}

// working is a handler whose locals are as many i32.
func working(n int, body ...[]byte) []byte {
	return guest([]function{{typ: handler, locals: locals(n, i32), body: cat(cat(body...), const64(0))}})
}

// sequential are long rows of small blocks.
func sequential(add func(string, []byte), part int) {
	again := loop(get(0), brIf(0))
	n := 120_000 / part
	vars := 10_000 / part
	add("sequential ifs", working(1, times(n, get(0), then())))
	add("sequential ifs that set locals", working(1000, each(n/2, func(i int) []byte {
		return cat(get(i%1000), then(get((i+1)%1000), set((i+7)%1000)))
	}), sum(1000)))
	add("sequential loops", working(1, times(n, again)))
	add("sequential loops across live locals", working(vars, loads(vars), times(n*5/6, again), sum(vars)))
	add("live locals across calls", guest([]function{void(), {
		typ: handler, locals: locals(4*vars, i32), body: cat(loads(4*vars), times(n*3/2, call(0)), sum(4*vars), const64(0)),
	}}))
}

// nested are blocks in blocks.
func nested(add func(string, []byte), part int) {
	in := func(n int, open []byte, body ...[]byte) []byte {
		return cat(bytes.Repeat(open, n), cat(body...), bytes.Repeat(end, n))
	}
	n, vars := 49_000/part, 3000/part
	block, loop, leave := []byte{0x02, empty}, []byte{0x03, empty}, cat(get(0), brIf(0))
	add("deep blocks", working(1, in(n, cat(block, leave))))
	add("deep ifs", working(1, in(n, cat(get(0), []byte{0x04, empty}))))
	add("deep loops", working(1, in(n, cat(loop, leave, get(0), const32(1), add32, set(0)))))
	add("deep loops across live locals", working(vars, loads(vars), in(n*4/5, cat(loop, leave)), sum(vars)))
	depths := make([]int, 300_000/part)
	for i := range depths {
		depths[i] = i % n
	}
	add("giant branch table", working(1, in(n, block, get(0), brTable(depths...))))
}

// wide are blocks and calls with many values.
func wide(add func(string, []byte), part int) {
	const params = 1000
	vars := bytes.Repeat([]byte{i64}, params)
	same := withTypes(funcType(vars, vars))
	enter := func(body ...[]byte) function {
		return answer(times(params, const64(1)), cat(body...), times(params, drop))
	}
	n := 160_000 / part
	identity := function{typ: firstType, body: each(params, get)}
	add("calls with 1000 parameters and results", guest([]function{identity, enter(times(n, call(0)))}, same))
	add("blocks with 1000 parameters and results", guest([]function{enter(times(n, []byte{0x02, firstType}, end))}, same))
	add("loops with 1000 parameters and results", guest([]function{enter(times(n, []byte{0x03, firstType}, end))}, same))
	add("ifs with 1000 parameters and results", guest([]function{enter(times(n, const32(0), []byte{0x04, firstType, 0x05}, end))}, same))
	add("branches with 1000 results", guest([]function{enter([]byte{0x02, firstType}, times(n, const32(0), brIf(0)), end)}, same))
}

// loads gives n locals values that no compiler can know.
func loads(n int) []byte {
	return each(n, func(i int) []byte { return cat(const32(0), load32(i), set(i)) })
}

// sum uses n locals.
func sum(n int) []byte {
	return cat(get(0), each(n-1, func(i int) []byte { return cat(get(i+1), add32) }), set(0))
}
