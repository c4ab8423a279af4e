package wasm

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
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

// decoder reads from b; after the first fault it returns zeros and keeps err.
type decoder struct {
	b   []byte
	at  int
	err error
}

func (d *decoder) left() int { return len(d.b) - d.at }

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: "+format, append([]any{ErrMalformed}, args...)...)
	}
	d.at = len(d.b)
}

func (d *decoder) byte() byte {
	if d.left() < 1 {
		d.fail("the file is cut short")
		return 0
	}
	d.at++
	return d.b[d.at-1]
}

func (d *decoder) bytes(n uint32) []byte {
	if int64(n) > int64(d.left()) {
		d.fail("%d bytes announced, %d left", n, d.left())
		return nil
	}
	d.at += int(n)
	return d.b[d.at-int(n) : d.at]
}

// u32 reads an unsigned LEB128 of at most 32 bits (core specification, 5.2.2).
func (d *decoder) u32() uint32 {
	var v uint64
	for shift := 0; shift < 35; shift += 7 {
		c := d.byte()
		v |= uint64(c&0x7f) << shift
		if c&0x80 == 0 {
			if v > 1<<32-1 {
				break
			}
			return uint32(v)
		}
	}
	d.fail("a number of more than 32 bits")
	return 0
}

// count reads the length of a vector, each element of which takes at least a byte.
func (d *decoder) count() uint32 {
	n := d.u32()
	if int64(n) > int64(d.left()) {
		d.fail("%d elements announced, %d bytes left", n, d.left())
		return 0
	}
	return n
}

func (d *decoder) name() string {
	b := d.bytes(d.u32())
	if !utf8.Valid(b) {
		d.fail("a name that is not UTF-8: %q", strings.ToValidUTF8(string(b[:min(len(b), 64)]), "?"))
		return ""
	}
	return string(b)
}

// refType reads the type of a table's elements (5.3.3).
func (d *decoder) refType() error {
	switch t := d.byte(); {
	case d.err != nil, t == 0x70, t == 0x6f: // funcref, externref
		return d.err
	default:
		return &FeatureError{Feature: GC}
	}
}

// valType reads a value type (5.3.4).
func (d *decoder) valType() error {
	switch t := d.byte(); {
	case d.err != nil, t >= 0x7b && t <= 0x7f, t == 0x70, t == 0x6f:
		return d.err
	case t == 0x69: // exnref
		return &FeatureError{Feature: Exceptions}
	default:
		return &FeatureError{Feature: GC}
	}
}

// limits reads the limits of a memory or table (5.3.7, with the flags of the
// threads and memory64 proposals).
func (d *decoder) limits() (Limits, error) {
	flags := d.byte()
	switch {
	case d.err != nil:
		return Limits{}, d.err
	case flags&0x4 != 0:
		return Limits{}, &FeatureError{Feature: Memory64}
	case flags&0x2 != 0:
		return Limits{}, &FeatureError{Feature: Threads}
	case flags > 1:
		return Limits{}, fmt.Errorf("%w: limits with flags %#x", ErrMalformed, flags)
	}
	l := Limits{Min: d.u32(), HasMax: flags == 1}
	if l.HasMax {
		l.Max = d.u32()
	}
	return l, nil
}
