// Package wasm reads what a core WebAssembly module declares: imports, exports,
// memory, tables, sections. It does not read code, and it knows neither HTTP nor
// the engine that runs modules.
//
// Reading is bounded by the input: every count is checked against the bytes that
// are left before anything is allocated.
package wasm
