// Package guest lets a program in stock Go serve an [net/http.Handler] as a
// WebAssembly function: it speaks the http-wasm handler ABI to the node that runs it.
//
//	package main
//
//	import (
//		"fmt"
//		"net/http"
//
//		"github.com/orla-edge/orla/guest"
//	)
//
//	func init() {
//		http.HandleFunc("GET /hello/{name}", func(w http.ResponseWriter, r *http.Request) {
//			fmt.Fprintf(w, "hello, %s\n", r.PathValue("name"))
//		})
//		guest.Handle(http.DefaultServeMux)
//	}
//
//	func main() {}
//
// Build it with
//
//	GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -o api.wasm .
//
// A program built so is a library: the node runs its init functions and then calls the
// handler; main is never run. That is why Handle belongs into an init function. State
// that init leaves in memory is there for each request; what a request changes is not
// seen by the next.
//
// The request's context is canceled when the handler returns, and when the client goes
// away: a handler that waits for Done learns of it within 20 ms, one that computes when
// it calls Err. Hosts other than Orla don't tell.
//
// What the program prints goes to the node's log; [LogHandler] keeps the levels of
// log/slog.
//
// On other platforms Handle only remembers the handler, so that the package builds and
// its handlers can be tested natively.
package guest
