package server

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/orla-edge/orla/router"
)

// refusal is why a request is not handed to the handler.
type refusal struct {
	status int
	reason string
}

// Error says what was wrong, for the log; the client sees the status only.
func (r *refusal) Error() string { return "server: " + r.reason }

// The refusals are made once: an attacked node allocates nothing for them.
var (
	refuseOldCoding = &refusal{http.StatusBadRequest, "HTTP/1.0 request with Transfer-Encoding"}
	refuseHost      = &refusal{http.StatusBadRequest, "missing or invalid host"}
	refuseTwoHosts  = &refusal{http.StatusBadRequest, ":authority and Host differ"}
	refuseTarget    = &refusal{http.StatusBadRequest, "request target is neither a path nor an http URL"}
	refusePath      = &refusal{http.StatusBadRequest, "path refused"}
	refuseLongURL   = &refusal{http.StatusRequestURITooLong, "request target too long"}
	refuseFields    = &refusal{http.StatusRequestHeaderFieldsTooLarge, "too many header fields"}
	refuseMethod    = &refusal{http.StatusMethodNotAllowed, "method not allowed"}
)

// methods is what a 405 and "OPTIONS *" answer in Allow. A route may allow less,
// and more.
const methods = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"

// normalise checks r against RFC 9110, RFC 9112 and the limits, and brings it
// into the one form that matchers, caches, upstreams and guests see: an origin
// form target whose escaped path is router.CleanPath's, the host of the target,
// and none of the fields by which a client could speak in a proxy's or the
// node's name. For "OPTIONS *" it returns nil and leaves the path "*".
func normalise(r *http.Request, f framing, l *Limits) *refusal {
	if len(r.RequestURI) > l.URLBytes {
		return refuseLongURL
	}
	if f.coding && !r.ProtoAtLeast(1, 1) {
		return refuseOldCoding
	}
	if r.Method == http.MethodConnect || r.Method == http.MethodTrace {
		return refuseMethod
	}
	if ref := cleanFields(r, l); ref != nil {
		return ref
	}
	if router.CleanHost(r.Host) == "" {
		return refuseHost
	}
	if r.RequestURI == "*" {
		if r.Method != http.MethodOptions {
			return refuseTarget
		}
		return nil
	}
	return cleanTarget(r)
}

// cleanTarget brings the request target into origin form (RFC 9112 §3.2) and
// its path into canonical form.
func cleanTarget(r *http.Request) *refusal {
	u := r.URL
	changed := false
	if u.Scheme != "" || u.Host != "" { // absolute form; net/http took the host
		if u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.Opaque != "" || u.Host == "" {
			return refuseTarget
		}
		u.Scheme, u.Host, changed = "", "", true
	}
	escaped := u.EscapedPath()
	if escaped == "" && changed {
		escaped = "/"
	}
	clean, err := router.CleanPath(escaped)
	if err != nil {
		return refusePath
	}
	if clean != u.EscapedPath() {
		if !setPath(u, clean) {
			return refusePath
		}
		changed = true
	}
	// net/url passes some bytes that EscapedPath writes as escapes.
	if path, _, _ := strings.Cut(r.RequestURI, "?"); changed || path != clean {
		r.RequestURI = u.RequestURI()
	}
	return nil
}

// setPath makes clean what u.EscapedPath returns, and reports whether it could.
func setPath(u *url.URL, clean string) bool {
	path, err := url.PathUnescape(clean)
	if err != nil {
		return false
	}
	u.Path, u.RawPath = path, ""
	if u.EscapedPath() != clean {
		u.RawPath = clean
	}
	return u.EscapedPath() == clean
}

// cleanFields counts the header fields and removes those that a client has no
// business sending.
func cleanFields(r *http.Request, l *Limits) *refusal {
	if hosts, ok := r.Header["Host"]; ok { // HTTP/2 leaves it beside :authority
		if len(hosts) != 1 || !strings.EqualFold(hosts[0], r.Host) {
			return refuseTwoHosts
		}
		delete(r.Header, "Host")
	}
	fields := 0
	for name, values := range r.Header {
		fields += len(values)
		if forged(name) {
			delete(r.Header, name)
		}
	}
	if fields > l.HeaderFields {
		return refuseFields
	}
	return nil
}

// forged reports whether a field, its name in canonical form, is one that only
// proxies and the node itself set, or one that would become another field's
// name in a CGI environment: X_Forwarded_For, and Proxy (CVE-2016-5385).
func forged(name string) bool {
	switch name[0] {
	case 'X':
		if strings.HasPrefix(name, "X-Forwarded-") || name == "X-Real-Ip" {
			return true
		}
	case 'C':
		if name == "Client-Cert" || name == "Client-Cert-Chain" { // RFC 9440 §2.4
			return true
		}
	case 'F':
		if name == "Forwarded" {
			return true
		}
	case 'O':
		if strings.HasPrefix(name, "Orla-") {
			return name != "Orla-Min-Revision" && name != "Orla-Debug" && name != "Orla-Token"
		}
	case 'P':
		if name == "Proxy" {
			return true
		}
	}
	return strings.IndexByte(name, '_') >= 0
}
