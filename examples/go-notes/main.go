// Command go-notes is a function that keeps something: notes in the app's key-value
// store, which all nodes share, and a secret that writers have to know.
package main

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strconv"
	"strings"

	"github.com/orla-edge/orla/guest"
)

// The node calls the handler, never main: what has to be set up is set up here.
func init() {
	guest.Handle(newHandler(os.Getenv("NOTES_TOKEN"), slog.New(guest.LogHandler())))
}

func main() {}

// notes is the app. It is made anew for every request: what lasts is in the stores.
type notes struct {
	token string
	log   *slog.Logger
	texts *guest.KV
	reads *guest.KV
}

func newHandler(token string, log *slog.Logger) http.Handler {
	n := &notes{token: token, log: log, texts: guest.OpenKV("texts"), reads: guest.OpenKV("reads")}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /notes", n.answer(n.list))
	mux.HandleFunc("GET /notes/{name}", n.answer(n.read))
	mux.HandleFunc("PUT /notes/{name}", n.answer(n.writers(n.write)))
	mux.HandleFunc("DELETE /notes/{name}", n.answer(n.writers(n.remove)))
	return mux
}

// answer turns the errors of a handler into answers.
func (n *notes) answer(f func(http.ResponseWriter, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		switch err := f(w, r); {
		case err == nil:
		case errors.Is(err, guest.ErrNotFound):
			http.Error(w, "there is no such note", http.StatusNotFound)
		case errors.Is(err, guest.ErrTooLarge), errors.Is(err, guest.ErrInvalid):
			http.Error(w, err.Error(), http.StatusBadRequest)
		default: // the store cannot be reached, or is full
			n.log.Error("note not served", "error", err)
			http.Error(w, "try again in a moment", http.StatusServiceUnavailable)
		}
	}
}

// writers lets only those pass who know the token.
func (n *notes) writers(next func(http.ResponseWriter, *http.Request) error) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		got, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if n.token == "" || subtle.ConstantTimeCompare([]byte(got), []byte(n.token)) != 1 {
			http.Error(w, "only who knows the token may write", http.StatusUnauthorized)
			return nil
		}
		return next(w, r)
	}
}

func (n *notes) list(w http.ResponseWriter, _ *http.Request) error {
	for name, err := range n.texts.List("") {
		if err != nil {
			return err
		}
		_, _ = fmt.Fprintln(w, name)
	}
	return nil
}

func (n *notes) read(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("name")
	text, _, err := n.texts.Get(name)
	if err != nil {
		return err
	}
	reads, err := n.count(name)
	if err != nil {
		return err
	}
	w.Header().Set("Notes-Reads", strconv.Itoa(reads))
	_, _ = w.Write(text) // the client may be gone
	return nil
}

// count adds one to the reads of a note, whoever else does so at the same time, on
// whichever node.
func (n *notes) count(name string) (int, error) {
	for {
		old, revision, err := n.reads.Get(name)
		if err != nil && !errors.Is(err, guest.ErrNotFound) {
			return 0, err
		}
		reads, _ := strconv.Atoi(string(old)) // none is 0
		reads++
		_, err = n.reads.Put(name, []byte(strconv.Itoa(reads)), guest.Expect(revision))
		if !errors.Is(err, guest.ErrConflict) {
			return reads, err
		}
	}
}

func (n *notes) write(w http.ResponseWriter, r *http.Request) error {
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 64<<10))
	if err != nil {
		http.Error(w, "a note has 64 KiB at most", http.StatusRequestEntityTooLarge)
		return nil //nolint:nilerr // it is answered
	}
	if _, err := n.texts.Put(r.PathValue("name"), text); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (n *notes) remove(w http.ResponseWriter, r *http.Request) error {
	for _, kv := range []*guest.KV{n.texts, n.reads} {
		if err := kv.Delete(r.PathValue("name")); err != nil {
			return err
		}
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
