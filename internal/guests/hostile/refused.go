package hostile

// refused are modules that are well-formed but no guests, or guests that ask for what
// no engine should try.
func refused() []Module {
	i32s := funcType([]byte{i32}, nil)
	first := uint32(firstType)
	only := func(m module) []byte {
		m.funcs = []function{answer()}
		return m.bytes()
	}
	all := []struct {
		name string
		wasm []byte
	}{
		{"nothing exported", only(module{memory: limits(1)})},
		{"no handler exported", only(module{memory: limits(1), exports: []export{{"memory", 2, 0}}})},
		{"no memory", only(module{imports: []hostFunc{{"get_status_code", firstType}}, types: [][]byte{funcType(nil, []byte{i32})}, exports: []export{{entry, 0, 1}}})},
		{"handler is a memory", only(module{memory: limits(1), exports: []export{{entry, 2, 0}}})},
		{"handler with a parameter", guest([]function{{typ: first}}, withTypes(i32s))},
		{"handler without a result", guest([]function{void()})},
		{"handle_response without parameters", guest([]function{answer()}, func(m *module) {
			m.exports = []export{{"handle_response", 0, 0}}
		})},
		{"import of an unknown function", guest([]function{answer()}, withHost("get_root", plain))},
		{"import with another signature", guest([]function{answer()}, withHost("get_method", plain))},
		{"start function with a parameter", guest([]function{{typ: first}, answer()}, withTypes(i32s), func(m *module) { m.start = u(0) })},
		{"export of a function that is not there", only(module{memory: limits(1), exports: []export{{entry, 0, most}}})},
		{"500 million locals", guest([]function{{typ: handler, locals: locals(500_000_000, i32), body: const64(0)}})},
		{"500 million locals in groups", guest([]function{{typ: handler, locals: vec(
			cat(u(250_000_000), []byte{i32}), cat(u(250_000_000), []byte{i64}),
		), body: const64(0)}})},
		{"table of a billion elements", guest([]function{answer()}, withTable(1_000_000_000, 1_000_000_000))},
		{"memory of four gigabytes", guest([]function{answer()}, withPages(65536))},
		{"branch table of billions", guest([]function{answer(block(empty, const32(0), []byte{0x0e}, u(uint32(most))))})},
		{"two handlers", only(module{memory: limits(1), exports: []export{{entry, 0, 0}, {entry, 0, 0}, {"memory", 2, 0}}})},
		{"not a module", []byte("#!/bin/sh\nexec cat /etc/shadow\n")},
		{"component", []byte{0, 'a', 's', 'm', 0x0d, 0, 1, 0}},
		{"cut off", cat(guest([]function{answer()})[:20])},
	}
	var list []Module
	for _, c := range all {
		list = append(list, Module{c.name, c.wasm, Refused})
	}
	return list
}
