// A handler that answers "hello": see guests.Hellos.
package main

import (
	"io"
	"net/http"

	"github.com/orla-edge/orla/guest"
)

func init() {
	guest.Handle(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		_, _ = io.WriteString(w, "hello")
	}))
}

func main() {}
