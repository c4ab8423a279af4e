package wasm

import "strconv"

// Version names what [Prepare] makes of a module: it changes when the output for some
// input does, and belongs into the key of anything that is made from the output.
const Version = "4"

// Names that [Prepare] adds to a module. A guest can use none of them.
const (
	// Reserved begins the names of exports, and of modules imported from, that a guest
	// may not use.
	Reserved = "orla:"
	// FuelGlobal is an i64 that counts down with the work done, about one for a simple
	// instruction. While a function runs its latest value may be in that function only:
	// it is right in a call of the host and after a call of the guest has returned,
	// and may be too high after a trap. In a visit for want of stack its sign bit may
	// have been set: below -1<<62 it is 1<<63 too low.
	FuelGlobal = Reserved + "fuel"
	// StackGlobal is an i64, the bytes of native stack that are left.
	StackGlobal = Reserved + "stack"
	// CallsGlobal is an i64, the calls of the host that are left.
	CallsGlobal = Reserved + "calls"
	// ElementsGlobal is an i32, the elements that a table may grow to.
	ElementsGlobal = Reserved + "elements"
	// TaintGlobal is an i32 that is 1 once memory and globals are not all that the
	// guest has changed.
	TaintGlobal = Reserved + "taint"
	// StartExport is a function that calls what the module had as its start function.
	StartExport = Reserved + "start"
	// HostModule is the module that VisitImport is imported from.
	HostModule = "orla"
	// VisitImport is a function without parameters and results that is called when
	// fuel, stack or calls is below zero. It sets what is, through the exports, or
	// panics. All are zero in a new instance.
	VisitImport = "visit"
	// ForkImport is what Code imports from there as well: a function without parameters
	// that returns an i32. It is called before the functions that Rules.Fork names, again
	// and again until it returns 0, so that the engine can take a snapshot of the call
	// each time, to begin again from there.
	ForkImport = "fork"

	globalPrefix = Reserved + "global:"
)

// Rules says what [Prepare] is to watch for the caller.
type Rules struct {
	// Taint returns for an imported function below which value of its first parameter,
	// an i32, a call spoils the instance for reuse: 0 is never, 1<<32 always. nil: none
	// does.
	Taint func(module, name string) uint64
	// Fork reports whether calls of an imported function are announced. nil: none are.
	Fork func(module, name string) bool
}

// Prepared is a module that is fit to be compiled and run.
type Prepared struct {
	// Module is what the original declares.
	*Module
	// Code is the module to compile.
	Code []byte
	// Data are the active data segments, in order, which are no longer in Code: whoever
	// makes a memory writes them into it. They share the original's bytes and lie
	// within the memory's minimum.
	Data []Segment
	// Start is the name of the export that has to be called once Data has been written,
	// "" for none. Code has no start function.
	Start string
	// Globals are the guest's own mutable globals, to be saved and restored.
	Globals []SavedGlobal
	// Unsaved is why Globals are not all of them: "a mutable global of type v128".
	Unsaved string
	// DataEnd is the first byte of memory after Data.
	DataEnd uint64
	// Uncounted is about how many bytes of native stack calls may take beyond what
	// StackGlobal counts.
	Uncounted uint64
}

// Segment is an active data segment.
type Segment struct {
	Offset uint32
	Bytes  []byte
}

// SavedGlobal is a mutable global of the guest.
type SavedGlobal struct {
	// Export is the name under which Code exports it.
	Export string
	// Type is its type as in the binary format: i32 0x7f, i64 0x7e, f32 0x7d, f64 0x7c.
	Type byte
}

// Prepare checks and rewrites the core module b. What it accepts may still be invalid,
// which the engine finds out when it compiles Code; an invalid module never becomes a
// valid one that behaves differently. It returns a [*FeatureError] for a module that
// needs more than WebAssembly 2.0, a [*RefusedError] for one that imports a memory,
// table or global or uses a reserved name, a [*LimitError] for one over a ceiling, and
// an error that wraps [ErrMalformed] for all else. The same input gives the same output.
// It does not keep or change b, but the result refers to it.
func Prepare(b []byte, r Rules) (*Prepared, error) {
	declared, err := Read(b)
	if err != nil {
		return nil, err
	}
	m, err := parse(b)
	if err != nil {
		return nil, err
	}
	s, err := scan(m)
	if err != nil {
		return nil, err
	}
	p := &Prepared{Module: declared, Uncounted: classify(m, s)}
	if m.start >= 0 {
		p.Start = StartExport
	}
	for _, d := range m.data {
		if d.active {
			p.Data = append(p.Data, Segment{Offset: d.offset, Bytes: d.bytes})
			p.DataEnd = max(p.DataEnd, uint64(d.offset)+uint64(len(d.bytes)))
		}
	}
	p.saveGlobals(m)
	p.Code = write(m, s, r, len(b))
	return p, nil
}

// saveGlobals exports the mutable globals.
func (p *Prepared) saveGlobals(m *layout) {
	for i, g := range m.globals {
		if !g.mutable {
			continue
		}
		if g.typ < typeF64 {
			p.Unsaved = "a mutable global of type " + typeName(g.typ)
			continue
		}
		if len(p.Globals) == maxSaved {
			p.Unsaved = "more than " + strconv.Itoa(maxSaved) + " mutable globals"
			return
		}
		name := globalPrefix + strconv.Itoa(i)
		p.Globals = append(p.Globals, SavedGlobal{Export: name, Type: g.typ})
		m.exports = append(m.exports, exported{name: name, kind: Global, index: uint32(i)})
	}
}

func typeName(t byte) string {
	switch t {
	case typeV128:
		return "v128"
	case typeFuncref:
		return "funcref"
	}
	return "externref"
}
