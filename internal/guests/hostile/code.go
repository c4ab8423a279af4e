package hostile

// Instructions that have no immediate.
var (
	unreachable = []byte{0x00}
	end         = []byte{0x0b}
	drop        = []byte{0x1a}
	add32       = []byte{0x6a}
	memorySize  = []byte{0x3f, 0}
	memoryGrow  = []byte{0x40, 0}
	memoryFill  = []byte{0xfc, 11, 0}
	memoryCopy  = []byte{0xfc, 10, 0, 0}
	tableGrow   = []byte{0xfc, 15, 0}
	tableFill   = []byte{0xfc, 17, 0}
	tableCopy   = []byte{0xfc, 14, 0, 0}
	nullFunc    = []byte{0xd0, funcref}
)

// empty is the type of a block without parameters and results.
const empty = 0x40

func const32(v int32) []byte { return cat([]byte{0x41}, s(int64(v))) }
func const64(v int64) []byte { return cat([]byte{0x42}, s(v)) }
func get(i int) []byte       { return cat([]byte{0x20}, u(i)) }
func set(i int) []byte       { return cat([]byte{0x21}, u(i)) }
func call(i int) []byte      { return cat([]byte{0x10}, u(i)) }
func br(depth int) []byte    { return cat([]byte{0x0c}, u(depth)) }
func brIf(depth int) []byte  { return cat([]byte{0x0d}, u(depth)) }
func load32(at int) []byte   { return cat([]byte{0x28, 2}, u(at)) }

// callTable calls the function of the type at the index on the stack.
func callTable(typ int) []byte { return cat([]byte{0x11}, u(typ), []byte{0}) }

func block(typ byte, body ...[]byte) []byte { return cat([]byte{0x02, typ}, cat(body...), end) }
func loop(body ...[]byte) []byte            { return cat([]byte{0x03, empty}, cat(body...), end) }
func then(body ...[]byte) []byte            { return cat([]byte{0x04, empty}, cat(body...), end) }

// forever repeats body.
func forever(body ...[]byte) []byte { return loop(cat(body...), br(0)) }

// brTable branches to depths[i], i from the stack, the last being the default.
func brTable(depths ...int) []byte {
	last := len(depths) - 1
	return cat([]byte{0x0e}, u(last), each(last, func(i int) []byte { return u(depths[i]) }), u(depths[last]))
}
