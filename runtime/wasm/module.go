package wasm

import "fmt"

// PageSize is the unit of a memory's limits in bytes.
const PageSize = 65536

// Kind tells what an import or export is.
type Kind byte

// The kinds, numbered as in the binary format (core specification, 5.5.5).
const (
	Func Kind = iota
	Table
	Memory
	Global
	Tag
)

// String returns the kind's name in the text format.
func (k Kind) String() string {
	if names := [...]string{"func", "table", "memory", "global", "tag"}; int(k) < len(names) {
		return names[k]
	}
	return fmt.Sprintf("kind %d", byte(k))
}

// Module is what a core module declares.
type Module struct {
	Imports []Import
	Exports []Export
	// Memory is nil if the module defines and imports none.
	Memory *Limits
	Tables []Limits
	// Functions counts those that the module defines.
	Functions int
	// Sections are in file order.
	Sections []Section
	// Features lists what the toolchain says it used ("target_features"), each
	// without its "+": a hint, not a requirement.
	Features []string
}

// Import is one import.
type Import struct {
	Module, Name string
	Kind         Kind
}

// Export is one export.
type Export struct {
	Name string
	Kind Kind
}

// Limits bound a memory (in pages of 64 KiB) or a table (in elements).
type Limits struct {
	Min uint32
	// Max counts only if HasMax.
	Max    uint32
	HasMax bool
}

// Section is one section of the file.
type Section struct {
	// Name is "code", "data" …, or a custom section's own name.
	Name   string
	Custom bool
	// Size is the length of the contents in bytes.
	Size int
}

// Exported reports whether the module exports name as a function.
func (m *Module) Exported(name string) bool {
	for _, e := range m.Exports {
		if e.Kind == Func && e.Name == name {
			return true
		}
	}
	return false
}

// ImportsFrom reports whether the module imports anything from module.
func (m *Module) ImportsFrom(module string) bool {
	for _, i := range m.Imports {
		if i.Module == module {
			return true
		}
	}
	return false
}
