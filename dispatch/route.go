package dispatch

import (
	"crypto/x509"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"strings"
	"time"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/router"
	"github.com/orla-edge/orla/telemetry"
)

// maxRewrites is how often a request may be rewritten and matched again. What is
// accepted at deploy seldom needs more than one; a loop needs more than any.
const maxRewrites = 8

// route is one route of a release, ready to serve.
type route struct {
	spec     *orlav1.Route
	pattern  string
	rewrite  *router.Template // nil: none
	request  *changes         // nil: none
	response *changes         // nil: none
	handle   handler          // nil: match the rewritten path again
	front    http.Handler     // middleware, then the rest; nil: none
}

// handler is a target. It gets the match for what it captured.
type handler func(w http.ResponseWriter, r *http.Request, m router.Match)

// plain is the handler of a target that does not care what the match captured.
func plain(h http.Handler) handler {
	return func(w http.ResponseWriter, r *http.Request, _ router.Match) { h.ServeHTTP(w, r) }
}

// serve matches r among the routes of h and has the winner answer. The request
// has been counted into the release.
func (h *host) serve(w http.ResponseWriter, r *http.Request, rewrites int) {
	info := telemetry.RequestFrom(r.Context())
	request := router.Request{Method: r.Method, Path: r.URL.EscapedPath(), RawQuery: r.URL.RawQuery, Header: r.Header}
	var cert *x509.Certificate
	if h.release.asks {
		cert = h.release.https.trust.verified(r.TLS, time.Now())
		request.ClientCert = facts(cert)
	}
	m := h.tree.Match(&request)
	if m.Index < 0 {
		if h.release.asks {
			info.Err = certProblem(r, cert, m.CertMismatch(request.ClientCert))
		}
		noRoute(w, m.Allow())
		return
	}
	rt := h.routes[m.Index]
	info.Route = rt.pattern
	if rt.response != nil {
		rw := &headerWriter{ResponseWriter: w, changes: rt.response}
		defer rw.finish()
		w = rw
	}
	if h.release.asks {
		pass(r.Header, rt, cert)
	}
	if rt.request != nil {
		rt.request.apply(r.Header)
	}
	if rt.rewrite != nil {
		rewritten, err := rewrite(r, rt.rewrite.Expand(&m))
		if err != nil {
			info.Err = err
			http.Error(w, "the path cannot be rewritten", http.StatusBadRequest)
			return
		}
		r = rewritten
	}
	if rt.front != nil {
		h.through(w, r, rt, passage{match: m, rewrites: rewrites})
		return
	}
	h.proceed(w, r, rt, m, rewrites)
}

// proceed has the route's target answer, or the request matched again if it has none.
func (h *host) proceed(w http.ResponseWriter, r *http.Request, rt *route, m router.Match, rewrites int) {
	switch {
	case rt.handle != nil:
		rt.handle(w, r, m)
	case rewrites == maxRewrites:
		telemetry.RequestFrom(r.Context()).Err = fmt.Errorf("dispatch: rewritten %d times, last by %s", rewrites, rt.pattern)
		http.Error(w, "the request is rewritten in a loop", http.StatusLoopDetected)
	default:
		h.serve(w, r, rewrites+1)
	}
}

// rewrite returns r with another path, an escaped one; a query in it goes before
// the request's own.
func rewrite(r *http.Request, to string) (*http.Request, error) {
	path, query, _ := strings.Cut(to, "?")
	path, err := router.CleanPath(path)
	if err != nil {
		return nil, fmt.Errorf("rewrite %q: %w", r.URL.EscapedPath(), err)
	}
	decoded, err := url.PathUnescape(path)
	if err != nil {
		return nil, fmt.Errorf("rewrite %q: %w", r.URL.EscapedPath(), err)
	}
	out := new(http.Request)
	*out = *r
	u := *r.URL
	out.URL = &u
	u.Path, u.RawPath = decoded, path
	u.RawQuery = joinQuery(query, u.RawQuery)
	return out, nil
}

func joinQuery(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + "&" + b
}

// redirect answers with a Location (RFC 9110 §10.2.2). The request's query is
// kept unless the target brings one of its own.
func redirect(spec *orlav1.Redirect, p router.Pattern) (handler, error) {
	to, err := router.ParseTemplate(spec.GetTo(), p.Names())
	if err != nil {
		return nil, err
	}
	status := int(spec.GetStatus())
	return func(w http.ResponseWriter, r *http.Request, m router.Match) {
		telemetry.RequestFrom(r.Context()).Target = "redirect"
		sendTo(w, r, withQuery(to.Expand(&m), r.URL.RawQuery), status)
	}, nil
}

// sendTo answers with a Location, and a link to it for those who read the body.
func sendTo(w http.ResponseWriter, r *http.Request, location string, status int) {
	head := w.Header()
	head.Set("Location", location)
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.WriteHeader(status)
		return
	}
	head.Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	if r.Method == http.MethodGet {
		_, _ = fmt.Fprintf(w, "<a href=\"%s\">%s</a>.\n", html.EscapeString(location), http.StatusText(status))
	}
}

// withQuery adds query to location unless it has one; a fragment stays last.
func withQuery(location, query string) string {
	target, fragment, hasFragment := strings.Cut(location, "#")
	if query == "" || strings.Contains(target, "?") {
		return location
	}
	target += "?" + query
	if hasFragment {
		target += "#" + fragment
	}
	return target
}

func respond(spec *orlav1.Respond) handler {
	status, body := int(spec.GetStatus()), spec.GetBody()
	media := spec.GetMediaType()
	if media == "" {
		media = "text/plain; charset=utf-8"
	}
	return func(w http.ResponseWriter, r *http.Request, _ router.Match) {
		telemetry.RequestFrom(r.Context()).Target = "respond"
		if body != "" {
			w.Header().Set("Content-Type", media)
		}
		w.WriteHeader(status)
		if body != "" && r.Method != http.MethodHead && status != http.StatusNoContent && status != http.StatusNotModified {
			_, _ = w.Write([]byte(body)) // a client that has gone is no event
		}
	}
}

// unknownHost answers for a host that nobody serves: a plain page that says
// nothing of what else the node serves.
func unknownHost(w http.ResponseWriter) {
	http.Error(w, "nothing is served under this name", http.StatusNotFound)
}

// noRoute answers for a host's path that no route matches; allow lists the
// methods that would have matched, if the method is all that was wrong.
func noRoute(w http.ResponseWriter, allow string) {
	if allow == "" {
		http.Error(w, "not found", http.StatusNotFound)
		return
	}
	w.Header().Set("Allow", allow)
	http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
}
