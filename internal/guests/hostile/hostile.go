package hostile

import "slices"

// Kind is what must come of a module.
type Kind int

const (
	// Refused modules are not loaded, and the refusal is quick and cheap.
	Refused Kind = iota
	// Bomb modules are valid, at most 1 MiB, and want more than 10 s or 1 GiB of a
	// compiler. They may be refused or loaded, but what that costs is bounded.
	Bomb
	// FailsInit modules compile, and fail or never end when they are instantiated.
	FailsInit
	// Deadline modules answer a request only if nothing stops them: for practical
	// purposes they run for ever. A deadline or a budget has to stop them.
	Deadline
	// Crash modules end each request by a trap or by breaking the ABI.
	Crash
	// Survives modules ask for too much, are refused it, and answer 200.
	Survives
)

// String returns the kind's name.
func (k Kind) String() string {
	return [...]string{"refused", "bomb", "fails init", "deadline", "crash", "survives"}[k]
}

// Module is one guest. All but those that are Refused are http-wasm handlers.
type Module struct {
	// Name is unique, of lower-case words.
	Name string
	Wasm []byte
	Kind Kind
}

// Modules returns all guests, those of a kind together. They are the same each time.
func Modules() []Module {
	return slices.Concat(counts(), refused(), bombs(1), inits(), endless(), crashes(), survivors())
}

// Of returns the guests of one kind.
func Of(k Kind) []Module {
	return slices.DeleteFunc(Modules(), func(m Module) bool { return m.Kind != k })
}
