package site

import (
	"net/http"
	"net/url"
	"path"
	"strings"
)

// spell returns how a decoded path is written in a canonical URL: what RFC 3986
// §3.3 allows in a segment is written as it is, every other octet in upper-case
// percent-encoding. It is path itself if nothing needs encoding.
func spell(p string) string {
	n := 0
	for i := range len(p) {
		if !plainOctet(p[i]) {
			n++
		}
	}
	if n == 0 {
		return p
	}
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	b.Grow(len(p) + 2*n)
	for i := range len(p) {
		if c := p[i]; plainOctet(c) {
			b.WriteByte(c)
		} else {
			b.WriteByte('%')
			b.WriteByte(digits[c>>4])
			b.WriteByte(digits[c&15])
		}
	}
	return b.String()
}

// plainOctet reports whether c is a slash or a pchar that needs no encoding.
func plainOctet(c byte) bool {
	return isAlnum(c) || strings.IndexByte("/-._~!$&'()*+,;=:@", c) >= 0
}

func isAlnum(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// spelledAsGo reports whether net/url writes p as it is: the set that
// [url.URL.EscapedPath] leaves alone is smaller than that of spell.
func spelledAsGo(p string) bool {
	for i := range len(p) {
		if c := p[i]; !isAlnum(c) && strings.IndexByte("/-._~$&+,;=:@", c) < 0 {
			return false
		}
	}
	return true
}

// collapse replaces runs of slashes by one.
func collapse(p string) string {
	var b strings.Builder
	b.Grow(len(p))
	for i := range len(p) {
		if p[i] != '/' || i == 0 || p[i-1] != '/' {
			b.WriteByte(p[i])
		}
	}
	return b.String()
}

// asked returns the path that the client itself wrote, still encoded. The ingress
// may have cleaned r.URL since, and a route may have rewritten it.
func asked(r *http.Request) string {
	target := r.RequestURI
	if !strings.HasPrefix(target, "/") {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			return r.URL.EscapedPath()
		}
		return u.EscapedPath()
	}
	target, _, _ = strings.Cut(target, "?")
	return target
}

// rewritten reports whether r.URL.Path is another path than the one the client
// asked for, not only another spelling of it.
func rewritten(r *http.Request, asked string) bool {
	decoded, err := url.PathUnescape(asked)
	return err == nil && path.Clean(decoded) != path.Clean(r.URL.Path)
}
