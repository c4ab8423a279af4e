// Command kv is a handler that uses the key-value store and its secrets through package
// guest: GET, PUT and DELETE of /KEY, GET of / for the list, POST of /KEY to count.
package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/orla-edge/orla/guest"
)

func init() {
	guest.Handle(http.HandlerFunc(serve))
}

func main() {}

func serve(w http.ResponseWriter, r *http.Request) {
	store := r.URL.Query().Get("store")
	if store == "" {
		store = "sessions"
	}
	key := strings.TrimPrefix(r.URL.Path, "/")
	if err := do(w, r, guest.OpenKV(store), key); err != nil {
		http.Error(w, err.Error(), status(err))
	}
}

func do(w http.ResponseWriter, r *http.Request, kv *guest.KV, key string) error {
	switch {
	case key == "env":
		_, err := io.WriteString(w, os.Getenv(r.URL.Query().Get("name")))
		return err
	case r.Method == http.MethodGet && key == "":
		for key, err := range kv.List(r.URL.Query().Get("prefix")) {
			if err != nil {
				return err
			}
			if _, err := fmt.Fprintln(w, key); err != nil {
				return err
			}
		}
	case r.Method == http.MethodGet:
		value, revision, err := kv.Get(key)
		if err != nil {
			return err
		}
		w.Header().Set("ETag", strconv.FormatUint(revision, 10))
		_, err = w.Write(value)
		return err
	case r.Method == http.MethodPut:
		value, err := io.ReadAll(r.Body)
		if err != nil {
			return err
		}
		ttl, _ := strconv.Atoi(r.URL.Query().Get("ttl"))
		_, err = kv.Put(key, value, guest.TTL(time.Duration(ttl)*time.Second))
		return err
	case r.Method == http.MethodDelete:
		return kv.Delete(key)
	case r.Method == http.MethodPost:
		return count(w, kv, key)
	}
	return nil
}

// count adds one to the number that is the key's value.
func count(w io.Writer, kv *guest.KV, key string) error {
	for {
		value, revision, err := kv.Get(key)
		if err != nil && !errors.Is(err, guest.ErrNotFound) {
			return err
		}
		n, _ := strconv.Atoi(string(value))
		_, err = kv.Put(key, strconv.AppendInt(nil, int64(n+1), 10), guest.Expect(revision))
		if errors.Is(err, guest.ErrConflict) {
			continue
		}
		if err == nil {
			_, err = fmt.Fprint(w, n+1)
		}
		return err
	}
}

func status(err error) int {
	switch {
	case errors.Is(err, guest.ErrNotFound):
		return http.StatusNotFound
	case errors.Is(err, guest.ErrDenied):
		return http.StatusForbidden
	case errors.Is(err, guest.ErrTooLarge):
		return http.StatusRequestEntityTooLarge
	case errors.Is(err, guest.ErrInvalid):
		return http.StatusBadRequest
	}
	return http.StatusInternalServerError
}
