package dispatch

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Header fields by which a client talks to the node rather than to the app.
const (
	headerDebug       = "Orla-Debug"
	headerToken       = "Orla-Token"
	headerMinRevision = "Orla-Min-Revision"
	headerRevision    = "Orla-Revision"
	headerNode        = "Orla-Node"
	headerRelease     = "Orla-Release"
)

// minRevisionWait is how long a request waits for the revision that it asks for.
const minRevisionWait = 2 * time.Second

// control obeys the header fields that are meant for the node and takes them off
// the request. It reports whether the request goes on, and whether its client may
// see which release answers.
func (d *Dispatcher) control(w http.ResponseWriter, r *http.Request) (debug, ok bool) {
	if want := r.Header.Get(headerMinRevision); want != "" {
		r.Header.Del(headerMinRevision)
		if !d.await(w, r, want) {
			return false, false
		}
	}
	if r.Header.Get(headerDebug) != "" {
		debug = d.debug(w, r)
	}
	r.Header.Del(headerToken) // of no use to the app, and a secret
	return debug, true
}

func (d *Dispatcher) await(w http.ResponseWriter, r *http.Request, want string) bool {
	revision, err := strconv.ParseUint(want, 10, 64)
	if err != nil {
		http.Error(w, "Orla-Min-Revision is not a number", http.StatusBadRequest)
		return false
	}
	if d.cfg.Wait == nil || d.Revision() >= revision {
		return true
	}
	ctx, cancel := context.WithTimeout(r.Context(), minRevisionWait)
	defer cancel()
	if err := d.cfg.Wait(ctx, revision); err != nil {
		w.Header().Set("Retry-After", "1")
		http.Error(w, "this node is behind the revision that the request asks for", http.StatusServiceUnavailable)
		return false
	}
	return true
}

// debug answers "Orla-Debug: 1" of a client that shows a valid token, in
// Orla-Token or as a bearer, and reports whether it did. The token never reaches
// the app.
func (d *Dispatcher) debug(w http.ResponseWriter, r *http.Request) bool {
	on := r.Header.Get(headerDebug) == "1"
	token := r.Header.Get(headerToken)
	r.Header.Del(headerDebug)
	if !on || d.cfg.Debug == nil {
		return false
	}
	if token == "" {
		bearer, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok || !d.cfg.Debug(bearer) {
			return false
		}
		r.Header.Del("Authorization")
	} else if !d.cfg.Debug(token) {
		return false
	}
	w.Header().Set(headerRevision, strconv.FormatUint(d.Revision(), 10))
	w.Header().Set(headerNode, d.cfg.Node)
	return true
}
