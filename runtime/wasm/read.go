package wasm

import (
	"cmp"
	"errors"
	"fmt"
)

// ErrMalformed is what [Read] wraps for bytes that are no well-formed core module.
var ErrMalformed = errors.New("wasm: malformed module")

// FeatureError says that a module needs a feature that is not offered.
type FeatureError struct {
	// Feature is the proposal's name: "threads".
	Feature string
}

// Error names the feature.
func (e *FeatureError) Error() string { return "wasm: the module needs " + e.Feature }

// The features that [Read] can see in a module's declarations.
const (
	Threads    = "threads"
	Exceptions = "exception handling"
	GC         = "garbage collection"
	Memory64   = "memory64"
	Memories   = "multiple memories"
)

// The features that [Prepare] sees beyond those, in code.
const (
	TailCalls          = "tail calls"
	FunctionReferences = "typed function references"
	StackSwitching     = "stack switching"
	RelaxedSIMD        = "relaxed SIMD"
	WideArithmetic     = "wide arithmetic"
	ExtendedConst      = "extended constant expressions"
)

// maxNames bounds imports, exports and their names together; real modules have a
// few hundred.
const maxNames = 100_000

// Read reads the declarations of the core module b. It returns a [*FeatureError]
// for what they show to need more than the features of WebAssembly 2.0, and an
// error that wraps [ErrMalformed] for anything else that is wrong with them. The
// module may still be invalid: code and types are not looked at.
func Read(b []byte) (*Module, error) {
	if f, looks := Sniff(b); f != CoreModule {
		return nil, fmt.Errorf("%w: looks like %s", ErrMalformed, looks)
	}
	m := new(Module)
	d := &decoder{b: b, at: 8}
	for d.err == nil && d.left() > 0 {
		id := d.byte()
		body := d.bytes(d.u32())
		if d.err != nil {
			break
		}
		if err := m.section(id, &decoder{b: body}); err != nil {
			return nil, err
		}
	}
	if d.err != nil {
		return nil, d.err
	}
	return m, nil
}

var sectionNames = [...]string{
	"custom", "type", "import", "function", "table", "memory", "global",
	"export", "start", "element", "code", "data", "datacount", "tag",
}

// section reads one section. What is wrong with its bytes is in d.err, or returned.
func (m *Module) section(id byte, d *decoder) error {
	if int(id) >= len(sectionNames) {
		return fmt.Errorf("%w: section %d is not defined", ErrMalformed, id)
	}
	s := Section{Name: sectionNames[id], Custom: id == 0, Size: len(d.b)}
	var err error
	switch s.Name {
	case "custom":
		if s.Name = d.name(); s.Name == "target_features" {
			m.Features = readFeatures(d)
		}
	case "type":
		err = checkTypes(d)
	case "import":
		err = m.imports(d)
	case "function":
		m.Functions = int(d.count())
	case "table":
		err = m.tables(d)
	case "memory":
		err = m.memories(d)
	case "export":
		m.exports(d)
	case "tag":
		return &FeatureError{Feature: Exceptions}
	}
	m.Sections = append(m.Sections, s)
	if err != nil {
		return err
	}
	return d.err
}

// readFeatures reads the tool convention's "target_features" section. A fault in
// it is no fault of the module.
func readFeatures(d *decoder) []string {
	var fs []string
	for range d.count() {
		prefix, name := d.byte(), d.name()
		if d.err != nil {
			d.err = nil
			break
		}
		if prefix == '+' {
			fs = append(fs, name)
		}
	}
	return fs
}

// checkTypes looks at the form of the first type only: a module that uses the
// garbage collection proposal declares recursive groups or struct types first in
// practice, and the engine refuses what is left.
func checkTypes(d *decoder) error {
	if d.count() == 0 {
		return d.err
	}
	switch d.byte() {
	case 0x4e, 0x4f, 0x50, 0x5e, 0x5f: // rec, sub final, sub, array, struct
		return &FeatureError{Feature: GC}
	}
	return nil
}

func (m *Module) imports(d *decoder) error {
	n := d.count()
	if n > maxNames {
		return fmt.Errorf("%w: %d imports", ErrMalformed, n)
	}
	for range n {
		i := Import{Module: d.name(), Name: d.name(), Kind: Kind(d.byte())}
		var err error
		switch i.Kind {
		case Func:
			d.u32()
		case Table:
			if err = d.refType(); err == nil {
				_, err = d.limits()
			}
		case Memory:
			var l Limits
			if l, err = d.limits(); err == nil {
				err = m.setMemory(l)
			}
		case Global:
			err = d.valType()
			d.byte()
		case Tag:
			return &FeatureError{Feature: Exceptions}
		default:
			return fmt.Errorf("%w: import %q of %s", ErrMalformed, i.Name, i.Kind)
		}
		if err = cmp.Or(err, d.err); err != nil {
			return err
		}
		m.Imports = append(m.Imports, i)
	}
	return d.err
}

func (m *Module) tables(d *decoder) error {
	for range d.count() {
		if err := d.refType(); err != nil {
			return err
		}
		l, err := d.limits()
		if err = cmp.Or(err, d.err); err != nil {
			return err
		}
		m.Tables = append(m.Tables, l)
	}
	return d.err
}

func (m *Module) memories(d *decoder) error {
	for range d.count() {
		l, err := d.limits()
		if err = cmp.Or(err, d.err); err != nil {
			return err
		}
		if err := m.setMemory(l); err != nil {
			return err
		}
	}
	return d.err
}

func (m *Module) setMemory(l Limits) error {
	if m.Memory != nil {
		return &FeatureError{Feature: Memories}
	}
	m.Memory = &l
	return nil
}

func (m *Module) exports(d *decoder) {
	n := d.count()
	if n > maxNames {
		d.fail("%d exports", n)
	}
	for range n {
		e := Export{Name: d.name(), Kind: Kind(d.byte())}
		d.u32()
		if d.err != nil {
			return
		}
		m.Exports = append(m.Exports, e)
	}
}
