package proxy

import (
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/textproto"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// pseudonym is the node's name in Via.
const pseudonym = "orla"

// maxHops is how often a request may have passed a node already. More means that
// an upstream is a node that sends it here again.
const maxHops = 8

// upgradeOf returns the protocol that a message asks to switch to, "" for none.
func upgradeOf(h http.Header) string {
	if !httpguts.HeaderValuesContainsToken(h["Connection"], "upgrade") {
		return ""
	}
	return h.Get("Upgrade")
}

// isPrintable reports whether s is printable ASCII.
func isPrintable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}

// hops returns how often a node is among the proxies that a Via field lists.
func hops(via []string) int {
	n := 0
	for _, v := range via {
		for item := range strings.SplitSeq(v, ",") {
			if f := strings.Fields(item); len(f) >= 2 && f[1] == pseudonym {
				n++
			}
		}
	}
	return n
}

// outgoingURL returns where at t the request for in goes: t's path before in's,
// with the same octets, and in's query as it is.
func outgoingURL(t *target, in *url.URL) *url.URL {
	path, raw := in.Path, in.EscapedPath()
	if !strings.HasPrefix(path, "/") {
		path, raw = "/"+path, "/"+raw
	}
	return &url.URL{
		Scheme:     t.scheme,
		Host:       t.host,
		Path:       t.path + path,
		RawPath:    t.rawPath + raw,
		RawQuery:   in.RawQuery,
		ForceQuery: in.ForceQuery,
	}
}

// outgoingHeader returns the header that upstreams get: r's without what belongs
// to the client's connection (RFC 9110, section 7.6.1) or may only be said by the
// node, and with what the node says about the client.
func outgoingHeader(r *http.Request, upgrade, requestID string) http.Header {
	h := make(http.Header, len(r.Header)+8)
	for name, values := range r.Header {
		if !isHopByHop(name) && !isOurs(name) {
			h[name] = values
		}
	}
	dropNamed(h, r.Header["Connection"])
	if cert, ok := r.Header["Client-Cert"]; ok { // the node's word; no Connection field takes it away
		h["Client-Cert"] = cert
	}
	if upgrade != "" {
		h["Connection"], h["Upgrade"] = []string{"Upgrade"}, []string{upgrade}
	}
	if httpguts.HeaderValuesContainsToken(r.Header["Te"], "trailers") {
		h["Te"] = []string{"trailers"}
	}
	if _, ok := h["User-Agent"]; !ok {
		h["User-Agent"] = []string{""} // else the transport would name itself
	}
	if requestID != "" {
		h["X-Request-Id"] = []string{requestID}
	}
	h["Via"] = []string{via(r)}
	setForwarded(h, r)
	return h
}

// via returns the Via field with the node added (RFC 9110, section 7.6.3).
func via(r *http.Request) string {
	version := "1.1"
	switch {
	case r.ProtoMajor == 1 && r.ProtoMinor == 0:
		version = "1.0"
	case r.ProtoMajor == 2:
		version = "2.0"
	case r.ProtoMajor == 3:
		version = "3.0"
	}
	own := version + " " + pseudonym
	if before := strings.Join(r.Header["Via"], ", "); before != "" {
		return before + ", " + own
	}
	return own
}

// setForwarded says who the client is and what it asked for: Forwarded (RFC 7239)
// and the X-Forwarded fields that most app servers read.
func setForwarded(h http.Header, r *http.Request) {
	proto := "http"
	if r.TLS != nil {
		proto = "https"
	}
	pairs := make([]string, 0, 3)
	if ip := clientIP(r.RemoteAddr); ip.IsValid() {
		s := ip.String()
		h["X-Forwarded-For"], h["X-Real-Ip"] = []string{s}, []string{s}
		if ip.Is6() {
			s = `"[` + s + `]"`
		}
		pairs = append(pairs, "for="+s)
	}
	h["X-Forwarded-Proto"] = []string{proto}
	if r.Host != "" {
		h["X-Forwarded-Host"] = []string{r.Host}
		if !strings.ContainsAny(r.Host, `"\`) {
			pairs = append(pairs, `host="`+r.Host+`"`)
		}
	}
	h["Forwarded"] = []string{strings.Join(append(pairs, "proto="+proto), ";")}
}

func clientIP(remote string) netip.Addr {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		host = remote
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Addr{}
	}
	return ip.Unmap().WithZone("")
}

// isHopByHop reports whether a field, canonically spelled, belongs to one
// connection and not to the message.
func isHopByHop(name string) bool {
	switch name {
	case "Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization",
		"Te", "Trailer", "Transfer-Encoding", "Upgrade":
		return true
	}
	return false
}

// isOurs reports whether a field of a request may only come from the node: what
// it says about the client, and what was said to the node itself. Many app
// servers do not tell "_" from "-", so that it makes no difference here.
func isOurs(name string) bool {
	if strings.Contains(name, "_") {
		name = textproto.CanonicalMIMEHeaderKey(strings.ReplaceAll(name, "_", "-"))
		switch name {
		case "X-Request-Id", "Via", "Client-Cert", "Client-Cert-Chain":
			return true
		}
	}
	return name == "Forwarded" || name == "X-Real-Ip" ||
		strings.HasPrefix(name, "X-Forwarded-") || strings.HasPrefix(name, "Orla-")
}

// dropNamed removes from h the fields that a Connection field names.
func dropNamed(h http.Header, connection []string) {
	for _, v := range connection {
		for name := range strings.SplitSeq(v, ",") {
			if name = textproto.TrimString(name); name != "" {
				delete(h, textproto.CanonicalMIMEHeaderKey(name))
			}
		}
	}
}

// copyResponseHeader adds an upstream's fields to what the handlers around have
// set already. Where a message has one value only, theirs stands.
func copyResponseHeader(dst, src http.Header) {
	for name, values := range src {
		if isHopByHop(name) {
			continue
		}
		if have, ok := dst[name]; ok {
			if isSingle(name) {
				continue
			}
			values = append(slices.Clip(have), values...)
		}
		dst[name] = values
	}
}

func isSingle(name string) bool {
	switch name {
	case "Server", "Date", "X-Request-Id", "Alt-Svc", "Strict-Transport-Security", "Content-Type", "Content-Length":
		return true
	}
	return strings.HasPrefix(name, "Orla-")
}

// writeInformational passes a 1xx response on without touching the fields that
// wait for the final one.
func writeInformational(w http.ResponseWriter, code int, fields map[string][]string) {
	h := w.Header()
	final := maps.Clone(h)
	clear(h)
	src := http.Header(fields)
	dropNamed(src, src["Connection"])
	copyResponseHeader(h, src)
	w.WriteHeader(code)
	clear(h)
	maps.Copy(h, final)
}
