// Package runtime runs WebAssembly modules as HTTP handlers: an [Engine] a process,
// a [Program] a function of a release, an instance a request. It hands out
// [http.Handler]s and nothing else, and knows neither routes nor releases, nor where
// modules come from; no key, token or other app's secret can be reached from it.
//
// Every request gets an instance of its own, so that nothing a guest leaves in its
// memory is seen by the next request.
//
// A guest is bounded in memory, in wall-clock time, in requests at one time and in
// what it prints. Time is checked where the engine checks it, at loop headers and in
// host functions: a guest that recurses without a loop is stopped late.
package runtime
