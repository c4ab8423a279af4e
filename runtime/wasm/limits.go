package wasm

import "fmt"

// Ceilings of a module that [Prepare] accepts, each well above what compilers emit.
// They bound what an engine allocates for a module that is only a few bytes long.
const (
	// MaxTable bounds a table's elements, at first and later.
	MaxTable = 100_000
	// MaxLocals bounds the locals of a function, its parameters not counted.
	MaxLocals = 50_000
	// MaxBody bounds a function's code in bytes.
	MaxBody = 8 << 20

	maxParams    = 1_000      // parameters, and results, of a function
	maxVars      = 10_000_000 // parameters, results and locals of all functions
	maxDepth     = 50_000     // blocks in blocks
	maxTypes     = 100_000
	maxImports   = 10_000
	maxFunctions = 1_000_000
	maxTables    = 32
	maxPages     = 65_536
	maxGlobals   = 100_000
	maxExports   = 100_000
	maxSegments  = 100_000
	maxElements  = 1_000_000 // in element segments
	maxSaved     = 10_000    // mutable globals that are exported
)

// LimitError says that a module goes over one of the ceilings.
type LimitError struct {
	// What is counted: "locals in function 3".
	What     string
	Has, Max uint64
}

// Error names the ceiling.
func (e *LimitError) Error() string {
	return fmt.Sprintf("wasm: the module has %d %s, more than %d", e.Has, e.What, e.Max)
}

// RefusedError says that a module asks for something that no host here offers.
type RefusedError struct {
	// What is asked for, as a clause, and what to do instead.
	What string
}

// Error says what is asked for.
func (e *RefusedError) Error() string { return "wasm: the module " + e.What }
