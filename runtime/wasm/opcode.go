package wasm

// Opcodes that are read for more than their length, or written.
const (
	opUnreachable  = 0x00
	opBlock        = 0x02
	opLoop         = 0x03
	opIf           = 0x04
	opElse         = 0x05
	opEnd          = 0x0b
	opBr           = 0x0c
	opBrIf         = 0x0d
	opBrTable      = 0x0e
	opReturn       = 0x0f
	opCall         = 0x10
	opCallIndirect = 0x11
	opDrop         = 0x1a
	opSelect       = 0x1b
	opSelectTyped  = 0x1c
	opLocalGet     = 0x20
	opLocalSet     = 0x21
	opLocalTee     = 0x22
	opGlobalGet    = 0x23
	opGlobalSet    = 0x24
	opTableGet     = 0x25
	opTableSet     = 0x26
	opMemorySize   = 0x3f
	opMemoryGrow   = 0x40
	opI32Const     = 0x41
	opI64Const     = 0x42
	opF32Const     = 0x43
	opF64Const     = 0x44
	opI32Eqz       = 0x45
	opI32Eq        = 0x46
	opI32LtU       = 0x49
	opI32LeU       = 0x4d
	opI64LtS       = 0x53
	opI64GtU       = 0x56
	opI64GeS       = 0x59
	opI32Add       = 0x6a
	opI32Sub       = 0x6b
	opI64Add       = 0x7c
	opI64Sub       = 0x7d
	opI64Mul       = 0x7e
	opI64And       = 0x83
	opI64Or        = 0x84
	opI64Shl       = 0x86
	opI64ShrU      = 0x88
	opI64ExtendU   = 0xad
	opRefNull      = 0xd0
	opRefIsNull    = 0xd1
	opRefFunc      = 0xd2
	opPrefixFC     = 0xfc
	opPrefixFD     = 0xfd

	fcMemoryInit = 8
	fcDataDrop   = 9
	fcMemoryCopy = 10
	fcMemoryFill = 11
	fcTableInit  = 12
	fcElemDrop   = 13
	fcTableCopy  = 14
	fcTableGrow  = 15
	fcTableSize  = 16
	fcTableFill  = 17

	typeI32       = 0x7f
	typeI64       = 0x7e
	typeF32       = 0x7d
	typeF64       = 0x7c
	typeV128      = 0x7b
	typeFuncref   = 0x70
	typeExternref = 0x6f
	typeNone      = 0x40 // of a block
)

// shape tells what follows an opcode.
type shape byte

const (
	shapeBad     shape = iota
	shapePlain         // nothing
	shapeMem           // alignment and offset
	shapeLocal         // index of a local
	shapeGlobal        // index of a global
	shapeI32           // LEB128 of at most 32 bits
	shapeI64           // of at most 64
	shapeF32           // four bytes
	shapeF64           // eight bytes
	shapeSpecial       // see scanner.special
)

// op describes a one-byte opcode.
type op struct {
	shape shape
	// delta is by how much it changes the operand stack's height, if shape says all.
	delta int8
	// cost is what it takes, in simple instructions.
	cost uint8
}

var ops = makeOps()

func makeOps() (t [256]op) {
	set := func(from, to int, o op) {
		for i := from; i <= to; i++ {
			t[i] = o
		}
	}
	set(0x00, 0x00, op{shape: shapeSpecial})
	set(0x01, 0x01, op{shape: shapePlain})
	for _, o := range []int{opBlock, opLoop, opIf, opElse, opEnd, opBr, opBrIf, opBrTable, opReturn, opCall, opCallIndirect, opSelectTyped} {
		t[o] = op{shape: shapeSpecial}
	}
	t[opDrop] = op{shapePlain, -1, 0}
	t[opSelect] = op{shapePlain, -2, 1}
	t[opLocalGet] = op{shapeLocal, 1, 0}
	t[opLocalSet] = op{shapeLocal, -1, 1}
	t[opLocalTee] = op{shapeLocal, 0, 1}
	t[opGlobalGet] = op{shapeGlobal, 1, 1}
	t[opGlobalSet] = op{shapeGlobal, -1, 1}
	for _, o := range []int{opTableGet, opTableSet, opMemorySize, opMemoryGrow, opRefNull, opRefFunc, opPrefixFC, opPrefixFD} {
		t[o] = op{shape: shapeSpecial}
	}
	set(0x28, 0x35, op{shapeMem, 0, 2})  // loads
	set(0x36, 0x3e, op{shapeMem, -2, 2}) // stores
	t[opI32Const] = op{shapeI32, 1, 0}
	t[opI64Const] = op{shapeI64, 1, 0}
	t[opF32Const] = op{shapeF32, 1, 0}
	t[opF64Const] = op{shapeF64, 1, 0}
	numeric(set)
	t[opRefIsNull] = op{shapePlain, 0, 1}
	return t
}

// numeric sets the instructions on numbers (core specification, 5.4.7).
func numeric(set func(from, to int, o op)) {
	unary, binary := op{shapePlain, 0, 1}, op{shapePlain, -1, 1}
	set(0x45, 0x45, unary) // i32.eqz
	set(0x46, 0x4f, binary)
	set(0x50, 0x50, unary) // i64.eqz
	set(0x51, 0x66, binary)
	set(0x67, 0x69, unary) // clz, ctz, popcnt
	set(0x6a, 0x78, binary)
	set(0x79, 0x7b, unary)
	set(0x7c, 0x8a, binary)
	set(0x8b, 0x91, unary) // f32.abs …
	set(0x92, 0x98, op{shapePlain, -1, 2})
	set(0x99, 0x9f, unary)
	set(0xa0, 0xa6, op{shapePlain, -1, 2})
	set(0xa7, 0xc4, op{shapePlain, 0, 1}) // conversions
	for _, div := range []int{0x6d, 0x7f, 0x95, 0xa3} {
		set(div, div, op{shapePlain, -1, 12})
	}
	set(0x6e, 0x70, op{shapePlain, -1, 12})
	set(0x80, 0x82, op{shapePlain, -1, 12})
	set(0x91, 0x91, op{shapePlain, 0, 12}) // sqrt
	set(0x9f, 0x9f, op{shapePlain, 0, 12})
}

// feature names the proposal that opcode o belongs to, if it is not in WebAssembly 2.0.
func feature(o byte) string {
	switch o {
	case 0x06, 0x07, 0x08, 0x09, 0x0a, 0x18, 0x19, 0x1f:
		return Exceptions
	case 0x12, 0x13:
		return TailCalls
	case 0x14, 0x15, 0xd4, 0xd5, 0xd6:
		return FunctionReferences
	case 0xd3, 0xfb:
		return GC
	case 0xfe:
		return Threads
	case 0xe0, 0xe1, 0xe2, 0xe3, 0xe4, 0xe5, 0xe6:
		return StackSwitching
	}
	return ""
}

// vectorShape tells what follows vector instruction v (after 0xfd): the bytes of its
// immediate, whether an alignment and offset come first, and how it changes the
// height of the operand stack at most; ok is false if it is not defined.
func vectorShape(v uint32) (imm int, mem bool, delta int, ok bool) {
	switch {
	case v <= 10, v == 92, v == 93: // loads
		return 0, true, 0, true
	case v == 11: // store
		return 0, true, -2, true
	case v == 12: // const
		return 16, false, 1, true
	case v == 13: // shuffle
		return 16, false, -1, true
	case v >= 15 && v <= 20: // splat
		return 0, false, 0, true
	case v == 23, v == 26, v == 28, v == 30, v == 32, v == 34: // replace lane
		return 1, false, -1, true
	case v >= 21 && v <= 33: // extract lane
		return 1, false, 0, true
	case v >= 84 && v <= 87: // load lane
		return 1, true, -1, true
	case v >= 88 && v <= 91: // store lane
		return 1, true, -2, true
	case v == 82: // bitselect
		return 0, false, -2, true
	case v > 0xff, undefinedVector(v):
		return 0, false, 0, false
	case vectorUnary(v):
		return 0, false, 0, true
	}
	return 0, false, -1, true
}

func vectorUnary(v uint32) bool {
	switch v {
	case 77, 83, 94, 95, 96, 97, 98, 99, 100, 103, 104, 105, 106, 116, 117, 122, 124, 125, 126, 127, 128, 129, 131, 132,
		135, 136, 137, 138, 148, 160, 161, 163, 164, 167, 168, 169, 170, 192, 193, 195, 196, 199, 200, 201, 202,
		224, 225, 227, 236, 237, 239, 248, 249, 250, 251, 252, 253, 254, 255:
		return true
	}
	return false
}

func undefinedVector(v uint32) bool {
	switch v {
	case 154, 162, 165, 166, 175, 176, 178, 179, 180, 187, 194, 197, 198, 207, 208, 210, 211, 212, 226, 238:
		return true
	}
	return false
}
