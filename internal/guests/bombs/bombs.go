// Package bombs makes modules that are small and valid and cost a compiler much: time
// or memory that grows faster than the module does.
package bombs

import (
	"encoding/binary"
	"iter"
	"slices"
)

// Kind is a way to hurt a compiler.
type Kind struct {
	Name string
	// Module returns a valid module of about size bytes, which exports nothing and
	// imports nothing.
	Module func(size int) []byte
}

// All yields every kind.
func All() iter.Seq[Kind] {
	return slices.Values([]Kind{
		{"sequential ifs", sequentialIfs},
		{"sequential ifs over many locals", ifsOverLocals},
		{"deep blocks", deepBlocks},
		{"nested loops over many locals", nestedLoops},
		{"deep ifs with else", deepIfs},
		{"locals live across calls", localsAcrossCalls},
		{"calls with a thousand arguments", wideCalls},
		{"blocks with a thousand results", wideBlocks},
		{"one giant br_table", giantTable},
		{"br_tables out of deep blocks", manyTables},
		{"deep operand stack", deepStack},
		{"chain of selects", selects},
		{"straight loads and stores", straight},
		{"tiny functions", tinyFunctions},
	})
}

// Find returns the kind with that name; it panics if there is none.
func Find(name string) Kind {
	for k := range All() {
		if k.Name == name {
			return k
		}
	}
	panic("bombs: there is no kind " + name)
}

const (
	i32      = 0x7f
	empty    = 0x40
	wide     = 1000 // parameters, results or locals of what is wide
	opBlock  = 0x02
	opLoop   = 0x03
	opIf     = 0x04
	opElse   = 0x05
	opEnd    = 0x0b
	opBrIf   = 0x0d
	opTable  = 0x0e
	opCall   = 0x10
	opDrop   = 0x1a
	opSelect = 0x1b
	opGet    = 0x20
	opSet    = 0x21
	opLoad   = 0x28
	opStore  = 0x36
	opConst  = 0x41
	opAdd    = 0x6a
)

func u(v int) []byte { return binary.AppendUvarint(nil, uint64(v)) }

func section(id byte, content []byte) []byte {
	return slices.Concat([]byte{id}, u(len(content)), content)
}

func vector(items ...[]byte) []byte { return slices.Concat(u(len(items)), slices.Concat(items...)) }

// signature is a function type of so many i32 in and out.
func signature(params, results int) []byte {
	return slices.Concat([]byte{0x60}, u(params), slices.Repeat([]byte{i32}, params), u(results), slices.Repeat([]byte{i32}, results))
}

// body is a function's code with so many i32 locals.
func body(locals int, code ...[]byte) []byte {
	b := slices.Concat(vector(slices.Concat(u(locals), []byte{i32})), slices.Concat(code...), []byte{opEnd})
	return slices.Concat(u(len(b)), b)
}

// function is a type's index and a body.
type function struct {
	typ  int
	body []byte
}

// module puts functions together, with a memory of one page.
func module(types [][]byte, functions ...function) []byte {
	var indices, bodies [][]byte
	for _, f := range functions {
		indices, bodies = append(indices, u(f.typ)), append(bodies, f.body)
	}
	return slices.Concat([]byte("\x00asm\x01\x00\x00\x00"),
		section(1, vector(types...)), section(3, vector(indices...)),
		section(5, vector([]byte{0, 1})), section(10, vector(bodies...)))
}

// one is a module of one function from i32 to nothing.
func one(locals int, code ...[]byte) []byte {
	return module([][]byte{signature(1, 0)}, function{0, body(locals, code...)})
}

func get(l int) []byte { return append([]byte{opGet}, u(l)...) }
func set(l int) []byte { return append([]byte{opSet}, u(l)...) }

// fill repeats what next makes until there are size bytes.
func fill(size int, next func(i int) []byte) []byte {
	b := make([]byte, 0, size+64)
	for i := 0; len(b) < size; i++ {
		b = append(b, next(i)...)
	}
	return b
}

// times concatenates what next makes n times.
func times(n int, next func(i int) []byte) []byte {
	var b []byte
	for i := range n {
		b = append(b, next(i)...)
	}
	return b
}

func increment(l int) []byte {
	return slices.Concat(get(l), []byte{opConst, 1, opAdd}, set(l))
}

func sequentialIfs(size int) []byte {
	part := slices.Concat(get(0), []byte{opIf, empty}, increment(0), []byte{opEnd})
	return one(1, fill(size, func(int) []byte { return part }))
}

func ifsOverLocals(size int) []byte {
	return one(wide, fill(size, func(i int) []byte {
		return slices.Concat(get(0), []byte{opIf, empty}, increment(i*7%wide), []byte{opEnd})
	}), total())
}

// total reads all of a thousand locals, so that they stay alive until here.
func total() []byte {
	sum := times(wide, func(l int) []byte { return append(get(l), opAdd) })
	return slices.Concat([]byte{opConst, 0}, sum, []byte{opDrop})
}

func deepBlocks(size int) []byte {
	depth := size / 9
	return one(1,
		slices.Repeat([]byte{opBlock, empty}, depth),
		fill(depth*6, func(i int) []byte { return slices.Concat(increment(0), get(0), []byte{opBrIf}, u(i%depth)) }),
		slices.Repeat([]byte{opEnd}, depth))
}

func nestedLoops(size int) []byte {
	depth := size / 16
	return one(wide,
		times(depth, func(i int) []byte { return slices.Concat([]byte{opLoop, empty}, increment(i*13%wide)) }),
		slices.Repeat([]byte{opGet, 0, opBrIf, 0, opEnd}, depth), total())
}

func deepIfs(size int) []byte {
	depth := size / 17
	return one(wide,
		slices.Repeat([]byte{opGet, 0, opIf, empty}, depth),
		times(depth, func(i int) []byte {
			return slices.Concat(increment(i%wide), []byte{opElse}, increment(1), []byte{opEnd})
		}))
}

func localsAcrossCalls(size int) []byte {
	locals := 4 * wide
	main := body(locals,
		fill(size/2, func(i int) []byte { return slices.Concat([]byte{opGet, 0, opCall, 1}, increment(i%locals)) }),
		fill(size/2, func(i int) []byte { return slices.Concat(get(i%locals), []byte{opCall, 1}) }))
	return module([][]byte{signature(1, 0)}, function{0, main}, function{0, body(0)})
}

func wideCalls(size int) []byte {
	arguments := times(wide, get)
	call := slices.Concat(arguments, []byte{opCall, 1}, times(wide, set))
	main := body(wide, fill(size, func(int) []byte { return call }))
	return module([][]byte{signature(1, 0), signature(wide, wide)},
		function{0, main}, function{1, body(0, arguments)})
}

func wideBlocks(size int) []byte {
	values := slices.Repeat([]byte{opConst, 1}, wide)
	block := []byte{opBlock, 1, opGet, 0, opBrIf, 0, opEnd}
	drop := slices.Repeat([]byte{opDrop}, wide)
	return module([][]byte{signature(1, 0), signature(wide, wide)},
		function{0, body(1, values, fill(size, func(int) []byte { return block }), drop)})
}

func giantTable(size int) []byte {
	depth := 100
	targets := fill(size, func(i int) []byte { return u(i * 31 % depth) })
	return one(wide,
		slices.Repeat([]byte{opBlock, empty}, depth), increment(5), get(0),
		[]byte{opTable}, u(len(targets)-1), targets,
		slices.Repeat([]byte{opEnd}, depth), total())
}

func manyTables(size int) []byte {
	depth := 120
	targets := times(depth, u)
	table := slices.Concat([]byte{opBlock, empty}, increment(3), get(0), []byte{opTable}, u(depth-1), targets, []byte{opEnd})
	return one(wide, slices.Repeat([]byte{opBlock, empty}, depth),
		fill(size, func(i int) []byte { return slices.Concat(increment(i%wide), table) }),
		slices.Repeat([]byte{opEnd}, depth), total())
}

func deepStack(size int) []byte {
	n := size / 4
	return module([][]byte{signature(1, 0), signature(0, 1)},
		function{0, body(0, slices.Repeat([]byte{opCall, 1}, n), slices.Repeat([]byte{opAdd}, n-1), []byte{opDrop})},
		function{1, body(0, []byte{opConst, 1})})
}

func selects(size int) []byte {
	return one(wide, fill(size, func(i int) []byte {
		return slices.Concat(get(i%wide), get((i*7+1)%wide), get(0), []byte{opSelect}, set((i*3+1)%wide))
	}), total())
}

func straight(size int) []byte {
	return one(1, fill(size, func(i int) []byte {
		return slices.Concat(get(0), get(0), []byte{opLoad, 2}, u(i%16000), []byte{opStore, 2}, u(i*3%16000))
	}))
}

func tinyFunctions(size int) []byte {
	f := function{0, body(0)}
	return module([][]byte{signature(1, 0)}, slices.Repeat([]function{f}, size/5)...)
}
