// Command go-handler is a function in stock Go: an http.Handler with the router of
// net/http, JSON in and out, a streamed answer and configuration from the environment.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/orla-edge/orla/guest"
)

// The node calls the handler, never main: what has to be set up is set up here.
func init() {
	log := slog.New(guest.LogHandler())
	guest.Handle(newHandler(os.Getenv("GREETING"), log))
}

func main() {}

// newHandler returns the app. It knows nothing of WebAssembly.
func newHandler(greeting string, log *slog.Logger) http.Handler {
	if greeting == "" {
		greeting = "hello"
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintln(w, "try /hello/NAME, POST /sum, /count and POST /upper")
	})
	mux.HandleFunc("GET /hello/{name}", func(w http.ResponseWriter, r *http.Request) {
		log.Info("greeting", "name", r.PathValue("name"))
		_, _ = fmt.Fprintf(w, "%s, %s\n", greeting, r.PathValue("name"))
	})
	mux.HandleFunc("POST /sum", sum)
	mux.HandleFunc("GET /count", count)
	mux.HandleFunc("POST /upper", func(w http.ResponseWriter, r *http.Request) {
		if err := upper(w, r); err != nil {
			log.Warn("reading the body failed", "error", err)
			panic(http.ErrAbortHandler) // the client sees that the answer is cut short
		}
	})
	return mux
}

// sum adds the numbers of a JSON array.
func sum(w http.ResponseWriter, r *http.Request) {
	var numbers []float64
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&numbers); err != nil {
		http.Error(w, "want a JSON array of numbers: "+err.Error(), http.StatusBadRequest)
		return
	}
	total := 0.0
	for _, n := range numbers {
		total += n
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]float64{"sum": total}) // the client may be gone
}

// count streams server-sent events: each is on its way before the next is made.
func count(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	for n := range 3 {
		if n > 0 {
			time.Sleep(200 * time.Millisecond)
		}
		if _, err := fmt.Fprintf(w, "data: %d\n\n", n+1); err != nil {
			return
		}
		if err := http.NewResponseController(w).Flush(); err != nil {
			return
		}
	}
}

// upper answers while it is still reading: memory stays small, however long the body.
func upper(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	buf := make([]byte, 16<<10)
	for {
		n, readErr := r.Body.Read(buf)
		if _, err := w.Write(bytes.ToUpper(buf[:n])); err != nil {
			return err
		}
		if err := http.NewResponseController(w).Flush(); err != nil {
			return err
		}
		if errors.Is(readErr, io.EOF) {
			return nil
		}
		if readErr != nil {
			return readErr
		}
	}
}
