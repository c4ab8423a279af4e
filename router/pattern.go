package router

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
)

// maxPattern is the longest pattern in bytes.
const maxPattern = 2048

// Splat is the name under which the rest of the path behind a star is captured.
const Splat = "splat"

// Pattern matches paths:
//
//	/about        that path alone
//	/users/{id}   {id} stands for one whole segment that is not empty
//	/api/*        /api, /api/ and all below; the rest is captured as "splat"
//	/*            every path
//
// The zero Pattern is "/*".
type Pattern struct {
	text     string
	segments []segment
	exact    bool // no star at the end
}

// segment is what stands between two slashes of a pattern.
type segment struct {
	text  string // the canonical literal, or the parameter's name
	param bool
}

// ParsePattern reads a pattern. Literal segments may be in any spelling that
// [CleanPath] knows; a literal star is written "%2A". The error says what to
// write instead.
func ParsePattern(s string) (Pattern, error) {
	p, err := parsePattern(s)
	if err != nil {
		return Pattern{}, fmt.Errorf("router: path pattern %s %w", quote(s), err)
	}
	return p, nil
}

func parsePattern(s string) (Pattern, error) {
	if err := patternAdvice(s); err != nil {
		return Pattern{}, err
	}
	parts := strings.Split(s[1:], "/")
	p := Pattern{exact: true}
	if parts[len(parts)-1] == "*" {
		p.exact = false
		parts = parts[:len(parts)-1]
	}
	for _, part := range parts {
		seg, err := parseSegment(part)
		if err != nil {
			return Pattern{}, err
		}
		p.segments = append(p.segments, seg)
	}
	names := p.Names()
	for i, name := range names {
		if slices.Contains(names[:i], name) {
			return Pattern{}, fmt.Errorf("captures %q twice: give each its own name", name)
		}
	}
	p.text = p.format()
	return p, nil
}

// patternAdvice recognises what is wrong with the whole.
func patternAdvice(s string) error {
	switch {
	case s == "":
		return errors.New(`is empty: write "/*" for every path`)
	case len(s) > maxPattern:
		return fmt.Errorf("is longer than %d bytes: shorten it", maxPattern)
	case s[0] != '/':
		return fmt.Errorf("does not begin with a slash: write %s", quote("/"+s))
	case strings.ContainsAny(s, "?#"):
		return errors.New("has a query or fragment: match a query with the route's query conditions; write %3F or %23 for the character itself")
	}
	return nil
}

func parseSegment(part string) (segment, error) {
	if name, ok := strings.CutPrefix(part, "{"); ok {
		if name, ok = strings.CutSuffix(name, "}"); ok && isName(name) {
			return segment{text: name, param: true}, nil
		}
	}
	switch {
	case strings.ContainsAny(part, "{}"):
		return segment{}, fmt.Errorf("has %s: a parameter is a whole segment with a name of letters, digits and _, such as /users/{id}; write %%7B and %%7D for the braces themselves", quote(part))
	case strings.Contains(part, "*"):
		return segment{}, errors.New("has a star that is not its last segment: only /folder/* matches all below; write %2A for the star itself")
	}
	clean, err := CleanPath("/" + part)
	switch {
	case errors.Is(err, errPathRoot) || err == nil && part != "" && clean == "/":
		return segment{}, errors.New("has a dot segment, which no request has when it is matched: write the path that it leads to")
	case err != nil:
		return segment{}, fmt.Errorf("can match no request: %w", err)
	}
	return segment{text: clean[1:]}, nil
}

// isName reports whether s can name a capture: letters, digits and "_", not a
// digit first.
func isName(s string) bool {
	for i := range len(s) {
		if !isNameByte(s[i], i == 0) {
			return false
		}
	}
	return s != ""
}

func isNameByte(c byte, first bool) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_' || !first && '0' <= c && c <= '9'
}

// format writes the pattern so that parsing gives it back.
func (p *Pattern) format() string {
	var b strings.Builder
	for _, seg := range p.segments {
		b.WriteByte('/')
		if seg.param {
			b.WriteString("{" + seg.text + "}")
		} else {
			b.WriteString(strings.ReplaceAll(seg.text, "*", "%2A"))
		}
	}
	if !p.exact {
		b.WriteString("/*")
	}
	return b.String()
}

// String returns the canonical form, which [ParsePattern] reads.
func (p Pattern) String() string {
	if p.text == "" {
		return "/*"
	}
	return p.text
}

// LiteralPrefix returns the path before the first parameter or star, without a
// slash at its end: "/api" for "/api/*", "/hooks" for "/hooks/{id}", "" for
// "/*". A pattern that has neither is returned whole.
func (p Pattern) LiteralPrefix() string {
	var b strings.Builder
	for _, seg := range p.segments {
		if seg.param {
			break
		}
		b.WriteString("/" + seg.text)
	}
	return b.String()
}

// Names returns the names of what the pattern captures, from left to right.
func (p Pattern) Names() []string {
	var names []string
	for _, seg := range p.segments {
		if seg.param {
			names = append(names, seg.text)
		}
	}
	if !p.exact {
		names = append(names, Splat)
	}
	return names
}

// matches reports whether the pattern matches a canonical path.
func (p *Pattern) matches(path string) bool {
	for _, seg := range p.segments {
		if path == "" {
			return false
		}
		var part string
		part, path = cutSegment(path)
		if seg.param && part == "" || !seg.param && part != seg.text {
			return false
		}
	}
	return !p.exact || path == ""
}

// captures goes through what the pattern captured from a path that it matches.
func (p *Pattern) captures(path string) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for _, seg := range p.segments {
			var part string
			part, path = cutSegment(path)
			if seg.param && !yield(seg.text, part) {
				return
			}
		}
		if !p.exact {
			yield(Splat, strings.TrimPrefix(path, "/"))
		}
	}
}

// capture returns what the pattern captured under name from a path that it
// matches.
func (p *Pattern) capture(path, name string) (value string, ok bool) {
	for _, seg := range p.segments {
		var part string
		part, path = cutSegment(path)
		if seg.param && seg.text == name {
			return part, true
		}
	}
	if !p.exact && name == Splat {
		return strings.TrimPrefix(path, "/"), true
	}
	return "", false
}

// cutSegment cuts the first segment off a path that begins with a slash; rest is
// empty or begins with the next slash.
func cutSegment(path string) (segment, rest string) {
	path = path[1:]
	if i := strings.IndexByte(path, '/'); i >= 0 {
		return path[:i], path[i:]
	}
	return path, ""
}
