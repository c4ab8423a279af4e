package router

import (
	"iter"
	"slices"
	"strings"
)

// Request is what a match looks at.
type Request struct {
	Method   string
	Path     string              // as [CleanPath] returns it
	RawQuery string              // as received, without "?"
	Header   map[string][]string // names in canonical MIME form
	// ClientCert is the client's certificate; nil if it has none, or none that is
	// trusted.
	ClientCert *ClientCert
}

// Match is the answer to a request.
type Match struct {
	// Index of the winning route; −1 if none matches.
	Index int

	tree    *Tree
	path    string
	allowed uint64 // methods that would have matched
	lacking int    // 1 + index of the route that the client's certificate alone kept from matching; 0: none
}

// Match returns the route that comes first among those that r matches. It does
// not allocate. Its cost is bounded by the path's length and the number of
// routes whose path matches, however the patterns are made.
func (t *Tree) Match(r *Request) Match {
	if !strings.HasPrefix(r.Path, "/") {
		return Match{Index: -1}
	}
	s := search{request: r, method: t.methodBit(r.Method)}
	for i := range t.layers {
		if won := s.walk(&t.layers[i].root, r.Path); won != nil {
			return Match{Index: won.index, tree: t, path: r.Path}
		}
	}
	return Match{Index: -1, tree: t, allowed: s.allowed, lacking: s.lacking}
}

// search is one match under way.
type search struct {
	request *Request
	method  uint64
	allowed uint64
	lacking int
}

// walk returns the first rule that matches at n or below; rest is the part of
// the path that the segments on the way to n have left. Every node is visited
// once at most, since one way only leads to it.
func (s *search) walk(n *node, rest string) *rule {
	if rest == "" {
		if won := s.first(n.exact); won != nil {
			return won
		}
		return s.first(n.prefix)
	}
	part, next := cutSegment(rest)
	if child := n.literal[part]; child != nil {
		if won := s.walk(child, next); won != nil {
			return won
		}
	}
	if n.param != nil && part != "" {
		if won := s.walk(n.param, next); won != nil {
			return won
		}
	}
	return s.first(n.prefix)
}

// first returns the first of rules whose conditions are met, and notes the
// methods of those that fail by their method alone, and the first that fails by the
// client's certificate alone.
func (s *search) first(rules []*rule) *rule {
	for _, r := range rules {
		if r.methods == 0 || r.methods&s.method != 0 {
			if certMet := s.request.ClientCert.meets(r.cert); (certMet || s.lacking == 0) && r.fieldsMet(s.request) {
				if certMet {
					return r
				}
				s.lacking = r.index + 1
			}
		} else if s.allowed|r.methods != s.allowed && s.request.ClientCert.meets(r.cert) && r.fieldsMet(s.request) {
			s.allowed |= r.methods
		}
	}
	return nil
}

// fieldsMet reports whether the conditions on headers and query parameters are met.
func (r *rule) fieldsMet(request *Request) bool {
	for _, c := range r.headers {
		if !slices.Contains(request.Header[c.Name], c.Value) {
			return false
		}
	}
	for _, c := range r.query {
		if value, ok := findQuery(request.RawQuery, c.Name); !ok || !queryEqual(value, c.Value) {
			return false
		}
	}
	return true
}

// Param returns what the winning route's pattern captured under name, a part of
// the request's path and as such still escaped.
func (m *Match) Param(name string) (value string, ok bool) {
	if m.tree == nil || m.Index < 0 {
		return "", false
	}
	return m.tree.rules[m.Index].path.capture(m.path, name)
}

// Captures goes through the names and values of what was captured, from left to
// right.
func (m *Match) Captures() iter.Seq2[string, string] {
	if m.tree == nil || m.Index < 0 {
		return func(func(string, string) bool) {}
	}
	return m.tree.rules[m.Index].path.captures(m.path)
}

// Allow returns the value of the Allow header (RFC 9110 §10.2.1) for a request
// that failed by its method alone, "" for any other.
func (m *Match) Allow() string {
	if m.allowed == 0 {
		return ""
	}
	return strings.Join(m.tree.methodNames(m.allowed), ", ")
}

// CertMismatch says why the client's certificate c, nil if there is none, kept the request
// from a route that it would have matched otherwise, and so from all; "" if it did not.
func (m *Match) CertMismatch(c *ClientCert) string {
	if m.lacking == 0 {
		return ""
	}
	return c.mismatch(m.tree.rules[m.lacking-1].cert)
}

// methodNames returns the methods of a set in alphabetical order.
func (t *Tree) methodNames(set uint64) []string {
	var names []string
	for i, name := range t.methods {
		if set&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return names
}
