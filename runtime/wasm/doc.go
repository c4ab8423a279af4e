// Package wasm reads core WebAssembly modules and rewrites them so that an engine can
// bound and undo what a guest does: [Read] tells what a module declares, [Prepare]
// refuses what could hurt the engine's compiler and adds counters of work, of native
// stack and of host calls. It knows neither HTTP nor WASI nor the engine.
//
// Reading is bounded by the input: every count is checked against the bytes that
// are left, and against a ceiling, before anything is allocated.
package wasm
