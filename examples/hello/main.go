// Hello is the function of the example app: an ordinary http.Handler that the
// node runs as WebAssembly, in a clean instance for each request.
package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"runtime"
	"strings"

	"github.com/orla-edge/orla/guest"
)

// maxText is the most bytes of a request's body that shout reads.
const maxText = 64 << 10

func init() { guest.Handle(routes(slog.New(guest.LogHandler()))) }

func main() {} // never run: the node calls the handler

func routes(log *slog.Logger) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/hello", func(w http.ResponseWriter, r *http.Request) {
		name := cmp.Or(r.FormValue("name"), "stranger")
		log.Info("greeting", "name", name)
		greet(w, name)
	})
	mux.HandleFunc("GET /api/hello/{name}", func(w http.ResponseWriter, r *http.Request) { greet(w, r.PathValue("name")) })
	mux.HandleFunc("POST /api/shout", shout)
	return mux
}

func greet(w http.ResponseWriter, name string) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]string{ // a client that has gone needs no answer
		"greeting": cmp.Or(os.Getenv("GREETING"), "Hello") + ", " + name + "!",
		"by":       runtime.Version() + " on " + runtime.GOOS + "/" + runtime.GOARCH,
	})
}

// shout answers with the request's body in upper case.
func shout(w http.ResponseWriter, r *http.Request) {
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxText))
	switch {
	case errors.As(err, new(*http.MaxBytesError)):
		http.Error(w, "at most 64 KiB can be shouted", http.StatusRequestEntityTooLarge)
		return
	case err != nil:
		http.Error(w, "the body did not arrive whole", http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, strings.ToUpper(string(text))) // as above
}
