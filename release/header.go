package release

import (
	"net/textproto"
	"slices"
	"strings"
	"unicode/utf8"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

const (
	maxChanges     = 100     // header changes of one route in one direction
	maxHeaderName  = 256     // bytes
	maxHeaderValue = 8 << 10 // bytes
)

// isToken reports whether s is a token (RFC 9110 §5.6.2).
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("!#$%&'*+-.^_`|~", r)
	})
}

// validHeaderValue reports whether s can be a field's value (RFC 9110 §5.5): no
// control characters but the tab, no space at either end; and it is UTF-8, since
// a manifest can hold nothing else.
func validHeaderValue(s string) bool {
	return utf8.ValidString(s) && strings.Trim(s, " \t") == s && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}

// framing are the fields that say how a message is sent on one connection (RFC
// 9110 §7.6.1, RFC 9112 §6). They belong to the node.
var framing = []string{
	"Connection", "Content-Length", "Host", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization",
	"Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
}

// headerName reports whether name can be the name of a field in a route.
func (v *validator) headerName(field, name string) bool {
	if !isToken(name) || len(name) > maxHeaderName {
		v.reject(field, "%s is not the name of a header field; use letters, digits and hyphens", quote(name))
		return false
	}
	return true
}

func (v *validator) headerValue(field, name, value string) {
	if len(value) > maxHeaderValue {
		v.reject(field, "the value of %s has %d bytes, the most is %d; shorten it", quote(name), len(value), maxHeaderValue)
	} else if !validHeaderValue(value) {
		v.reject(field, "the value of %s has a control character, a space at its begin or end, or is not UTF-8; mend it", quote(name))
	}
}

// changes checks the changes that a route makes to the headers of requests or
// responses.
func (v *validator) changes(field string, c *orlav1.HeaderChanges) {
	if n := len(c.GetSet()) + len(c.GetAdd()) + len(c.GetRemove()); n > maxChanges {
		v.reject(field, "there are %d changes, the most is %d; remove some", n, maxChanges)
		return
	}
	var names []string
	for _, f := range c.GetSet() {
		names = append(names, textproto.CanonicalMIMEHeaderKey(f.GetName()))
		v.change(field+".set", f.GetName(), f.GetValue())
	}
	if i, ok := duplicate(names); ok {
		v.reject(field+".set", "%s is set twice; remove one, or use add for a second line", quote(names[i]))
	}
	for _, f := range c.GetAdd() {
		v.change(field+".add", f.GetName(), f.GetValue())
	}
	for _, name := range c.GetRemove() {
		v.change(field+".remove", name, "")
	}
}

func (v *validator) change(field, name, value string) {
	if !v.headerName(field, name) {
		return
	}
	canonical := textproto.CanonicalMIMEHeaderKey(name)
	if slices.Contains(framing, canonical) || strings.HasPrefix(canonical, "Orla-") {
		v.reject(field, "%s belongs to the node, which would have to send a broken message; leave it out", quote(name))
		return
	}
	v.headerValue(field, name, value)
}
