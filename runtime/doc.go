// Package runtime runs WebAssembly modules as HTTP handlers: an [Engine] a process,
// a [Program] a function of a release, an instance a request. It hands out
// [http.Handler]s and nothing else, and knows neither routes nor releases, nor where
// modules come from; no key, token or other app's secret can be reached from it.
//
// A module is checked and rewritten (package wasm), compiled by a child process
// (package compile), initialised once, and kept as an image of its memory (package
// memory). Every request gets an instance that is equal to that image, so that nothing a
// guest leaves in its memory is seen by the next request. Instances are used again: what
// a request has written to is put back. One that cannot be put back is closed.
//
// A guest is bounded in CPU time, wall-clock time, memory, stack, tables, bodies, calls
// into the node, requests at one time and what it prints. The rewritten code counts its
// own work and calls the node when a slice is used up; there the guest is stopped, or
// waits for its turn, and nowhere does one keep the garbage collector waiting for longer
// than a slice.
package runtime
