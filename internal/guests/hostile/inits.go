package hostile

// inits are guests that don't come up.
func inits() []Module {
	start := func(m *module) { m.start = u(len(m.imports)) }
	initialize := func(m *module) { m.exports = []export{{"_initialize", 0, uint32(len(m.imports))}} }
	two := func(body ...[]byte) []function { return []function{void(body...), answer()} }
	outside := cat([]byte{0}, const32(65536-2), end, name("out of bounds"))
	method := func(m *module) {
		withTypes(funcType([]byte{i32, i32}, []byte{i32}))(m)
		withHost("get_method", firstType)(m)
	}
	all := []struct {
		name string
		wasm []byte
	}{
		{"loop in the start function", guest(two(forever()), start)},
		{"loop in _initialize", guest(two(forever()), initialize)},
		{"trap in the start function", guest(two(unreachable), start)},
		{"trap in _initialize", guest(two(unreachable), initialize)},
		{"recursion in the start function", guest(two(call(0)), start)},
		{"call tree in _initialize", guest(append(tree(60), answer()), func(m *module) {
			m.exports = []export{{"_initialize", 0, 60}}
		})},
		{"memory.fill in the start function", guest(two(forever(fill(16))), start, withPages(16*pagesPerMiB))},
		{"data out of bounds", guest([]function{answer()}, func(m *module) { m.data = [][]byte{outside} })},
		{"request asked for in _initialize", guest(two(const32(0), const32(64), call(0), drop), method, initialize)},
	}
	var list []Module
	for _, c := range all {
		list = append(list, Module{c.name, c.wasm, FailsInit})
	}
	return list
}
