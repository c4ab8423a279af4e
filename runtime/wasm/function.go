package wasm

// function is what a scan of a function's code found.
type function struct {
	typ       *funcType
	locals    code // the declared locals' groups, as they came
	groups    uint32
	variables uint32 // parameters and locals
	body      []byte // instructions, with the last end

	// Its parts of scanned.edits and scanned.points.
	edits, points span
	// total is the cost of all its code, what it calls not counted.
	total uint64
	// frame is an upper estimate of the native stack that a call takes, in bytes.
	frame uint64

	loops    bool
	leads    bool // the first thing that happens is a loop
	returns  bool // uses return
	dynamic  bool // does something whose cost depends on its operands
	indirect bool // calls through a table
	classed
}

// classed is what the call graph shows of a function.
type classed struct {
	// recursive: it may be on the stack twice.
	recursive bool
	// cheap: it is charged where it is called, by weight.
	cheap bool
	// weight bounds what a call costs, callees included; see unbounded.
	weight uint64
	// depth bounds the native stack of a call beyond what is counted, callees included.
	depth uint64
}

type span struct{ from, to int }

// editKind tells what happens at a place in a function's code.
type editKind byte

const (
	editCharge   editKind = iota // charge point arg
	editCall                     // call function arg of the original
	editIndirect                 // call through a table, with the canonical type arg
	editRef                      // ref.func arg of the original
	editHelper                   // replaced by a call of helper arg
	editTaint                    // spoils the instance
	editReturn                   // return from arg blocks deep
)

// edit is a change of a function's code: at comes the change, in place of size bytes.
type edit struct {
	at, arg uint32
	// point is what a call is charged with.
	point int32
	size  uint8
	kind  editKind
}

// point is a place where fuel is charged: for all the code that runs at most as often
// as the point is passed, up to the points in it.
type point struct {
	cost uint32
	// merged is the part of cost that does not run each time.
	merged uint32
	// parent is a point that was passed before this one, since the last turn of a loop.
	parent int32
	loop   bool
	live   bool
}

// scanned is the code of all functions.
type scanned struct {
	functions []function
	edits     []edit
	points    []point // the first is that of code that never runs
	helpers   helpers
}
