package site

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/orla-edge/orla/telemetry"
)

// Field values that every site sends.
var (
	fieldNosniff      = one("nosniff")
	fieldAcceptRanges = one("bytes")
	fieldPlainText    = one("text/plain; charset=utf-8")
	fieldAllow        = one("GET, HEAD, OPTIONS")
	fieldZero         = one("0")
	// varyCoding goes with every answer about a file that has variants; the others
	// with a single-page application's, where the same path answers navigations and
	// scripts differently.
	varyCoding           = one("Accept-Encoding")
	varyNavigation       = one("Sec-Fetch-Mode, Accept")
	varyCodingNavigation = one("Accept-Encoding, Sec-Fetch-Mode, Accept")
)

// ServeHTTP answers GET and HEAD with a file, 304, 307, 404, 412 or 416; OPTIONS
// with 204; any other method with 405. A content that cannot be read is a 500,
// whose cause is left in the request's [telemetry.Request].
func (s *Site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	telemetry.RequestFrom(r.Context()).Target = "site"
	switch r.Method {
	case http.MethodGet, http.MethodHead:
	case http.MethodOptions:
		w.Header()["Allow"] = fieldAllow
		w.WriteHeader(http.StatusNoContent)
		return
	default:
		w.Header()["Allow"] = fieldAllow
		s.fail(w, http.StatusMethodNotAllowed, "method not allowed\n")
		return
	}

	e, canonical := s.find(r)
	switch {
	case e == nil:
		s.serveNotFound(w, r)
	case canonical:
		s.serveFile(w, r, e, e.varies())
	default:
		s.redirect(w, r, e)
	}
}

// find returns the entry that the request's path stands for, or nil, and whether the
// path is its canonical one, canonically spelled.
func (s *Site) find(r *http.Request) (e *entry, canonical bool) {
	path := r.URL.Path
	e = s.paths[path]
	if e == nil {
		return s.findOther(path), false
	}
	switch {
	case e.path != path:
		return e, false
	case r.URL.RawPath == "" && e.plain, r.URL.RawPath == e.spelled:
		return e, true
	}
	return e, r.URL.EscapedPath() == e.spelled
}

// findOther looks for a path that is neither a canonical one nor a file's.
func (s *Site) findOther(path string) *entry {
	if strings.Contains(path, "//") {
		path = collapse(path)
		if e := s.paths[path]; e != nil {
			return e
		}
	}
	return s.aliased(path)
}

// redirect sends the client to an entry's canonical path: with 307, so that a later
// release may decide otherwise, and with its query. Where the client asked for that
// very spelling, or for another path, which a route has rewritten, there is nothing
// that it could do better, and it gets the file.
func (s *Site) redirect(w http.ResponseWriter, r *http.Request, e *entry) {
	was := asked(r)
	if was == e.spelled || rewritten(r, was) {
		s.serveFile(w, r, e, e.varies())
		return
	}
	location := e.spelled
	if r.URL.RawQuery != "" {
		location += "?" + asciiQuery(r.URL.RawQuery)
	}
	h := w.Header()
	h["Location"] = []string{location}
	h["Content-Length"] = fieldZero
	w.WriteHeader(http.StatusTemporaryRedirect)
}

// asciiQuery encodes the octets of a query that a header field may not have.
func asciiQuery(query string) string {
	plain := true
	for i := range len(query) {
		plain = plain && ' ' < query[i] && query[i] <= '~'
	}
	if plain {
		return query
	}
	var b strings.Builder
	for i := range len(query) {
		if c := query[i]; ' ' < c && c <= '~' {
			b.WriteByte(c)
		} else {
			b.WriteByte('%')
			if c < 16 {
				b.WriteByte('0')
			}
			b.WriteString(strings.ToUpper(strconv.FormatUint(uint64(c), 16)))
		}
	}
	return b.String()
}

// serveNotFound answers a path that the site does not have, as its mode says.
func (s *Site) serveNotFound(w http.ResponseWriter, r *http.Request) {
	switch {
	case s.shell != nil && navigation(r):
		vary := varyNavigation
		if len(s.shell.variants) > 0 {
			vary = varyCodingNavigation
		}
		s.serveFile(w, r, s.shell, vary)
		return
	case s.shell != nil:
		setVary(w.Header(), varyNavigation)
	case s.pages != nil:
		if e := s.nearestPage(r.URL.Path); e != nil {
			s.servePage(w, r, e)
			return
		}
	}
	w.Header()["Cache-Control"] = cacheRevalidate
	s.fail(w, http.StatusNotFound, "not found\n")
}

// nearestPage returns the 404.html of the path's folder or the closest one above.
func (s *Site) nearestPage(path string) *entry {
	for {
		slash := strings.LastIndexByte(path, '/')
		if slash < 0 {
			return nil
		}
		path = path[:slash]
		if e := s.pages[path]; e != nil {
			return e
		}
	}
}

// navigation reports whether a request is a browser's for a page, not a script's or
// a subresource's. Sec-Fetch-Mode says so (Fetch Metadata §2.3); for clients without
// it, wanting HTML does, unless the path is named like a file.
func navigation(r *http.Request) bool {
	if mode := r.Header["Sec-Fetch-Mode"]; len(mode) > 0 {
		return mode[0] == "navigate"
	}
	last := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
	if strings.Contains(last, ".") {
		return false
	}
	for _, accept := range r.Header["Accept"] {
		if strings.Contains(accept, "text/html") {
			return true
		}
	}
	return false
}

// varies returns the entry's Vary.
func (e *entry) varies() []string {
	if len(e.variants) == 0 {
		return nil
	}
	return varyCoding
}

// setVary adds to what an outer handler may have set.
func setVary(h http.Header, vary []string) {
	if vary == nil {
		return
	}
	if set := h["Vary"]; len(set) > 0 {
		h["Vary"] = append(slices.Clip(set), vary...)
		return
	}
	h["Vary"] = vary
}

// fail answers with a fixed phrase.
func (s *Site) fail(w http.ResponseWriter, status int, phrase string) {
	h := w.Header()
	h["Content-Type"] = fieldPlainText
	h["X-Content-Type-Options"] = fieldNosniff
	h["Content-Length"] = []string{strconv.Itoa(len(phrase))}
	w.WriteHeader(status)
	_, _ = w.Write([]byte(phrase)) // the client may be gone; there is nothing to undo
}
