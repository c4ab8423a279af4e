package router

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Template makes a path or URL from what a match captured.
type Template struct {
	text  string
	parts []templatePart
	path  bool // else an absolute URL
}

// templatePart is a literal text, then a capture unless name is empty.
type templatePart struct {
	literal string
	name    string
	query   bool // the capture stands in the query
}

// ParseTemplate reads the target of a redirect or rewrite: a path, or a URL with
// http or https. ":name" stands for what the pattern captured under one of
// names, ":splat" for what its star did; a colon that no name follows is a
// colon. Captures may not choose the host, so they stand behind it only. The
// error says what to write instead.
func ParseTemplate(s string, names []string) (Template, error) {
	t, err := parseTemplate(s, names)
	if err != nil {
		return Template{}, fmt.Errorf("router: target %s %w", quote(s), err)
	}
	t.text = s
	return t, nil
}

func parseTemplate(s string, names []string) (Template, error) {
	t := Template{path: strings.HasPrefix(s, "/")}
	head, err := templateHead(s)
	if err != nil {
		return Template{}, err
	}
	rest := s[len(head):]
	if err := checkTemplateText(rest); err != nil {
		return Template{}, err
	}
	literal, query := []byte(head), false
	for i := 0; i < len(rest); i++ {
		c := rest[i]
		if c == ':' {
			if name := leadingName(rest[i+1:]); name != "" {
				if !slices.Contains(names, name) {
					return Template{}, unknownCapture(name, names)
				}
				t.parts = append(t.parts, templatePart{literal: string(literal), name: name, query: query})
				literal = literal[:0]
				i += len(name)
				continue
			}
		}
		query = query || c == '?'
		if c < utf8.RuneSelf {
			literal = append(literal, c)
		} else {
			literal = appendEscaped(literal, c)
		}
	}
	t.parts = append(t.parts, templatePart{literal: string(literal)})
	return t, nil
}

// templateHead returns the part of an absolute URL before its path, "" for a
// path.
func templateHead(s string) (string, error) {
	switch {
	case len(s) > maxPattern:
		return "", fmt.Errorf("is longer than %d bytes: shorten it", maxPattern)
	case strings.HasPrefix(s, "//"):
		return "", errors.New(`begins with two slashes, which browsers take for a host: write the scheme too, as in "https://new.example/", or one slash for a path`)
	case strings.HasPrefix(s, "/"):
		return "", nil
	}
	scheme, after, ok := strings.Cut(s, "://")
	if lower := strings.ToLower(scheme); !ok || lower != "http" && lower != "https" {
		return "", errors.New(`is neither a path nor an http or https URL: begin it with "/", "https://" or "http://"`)
	}
	authority := after
	if end := strings.IndexAny(after, "/?#"); end >= 0 {
		authority = after[:end]
	}
	host, ok := cutPort(authority)
	switch {
	case !ok && strings.Contains(authority, ":") && !strings.ContainsAny(authority, "@["):
		return "", errors.New("has a colon in its host that no port follows: a capture cannot stand there, name the host")
	case strings.Contains(authority, "@"):
		return "", errors.New("has a user name: browsers refuse or hide it, leave it out")
	case !ok || CleanHost(host) == "":
		return "", fmt.Errorf("has no valid host: %s is not one", quote(authority))
	}
	return s[:len(scheme)+len("://")+len(authority)], nil
}

// checkTemplateText refuses what no Location may contain.
func checkTemplateText(s string) error {
	if !utf8.ValidString(s) {
		return errors.New("is not UTF-8: save the file in UTF-8")
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c == '%':
			if _, ok := unescape(s, i); !ok {
				return errors.New("has a percent sign that no two hexadecimal digits follow: write %25 for the sign itself")
			}
		case c == ' ':
			return errors.New("has a space: write %20")
		case c == '\\':
			return errors.New("has a backslash, which browsers take for a slash: write a slash, or %5C")
		case c < ' ' || c == 0x7f || strings.IndexByte("\"<>^`{|}", c) >= 0:
			return fmt.Errorf("has %s, which no URL may have: percent-encode it (a capture is written :name)", quote(s[i:i+1]))
		}
	}
	return nil
}

func leadingName(s string) string {
	i := 0
	for i < len(s) && isNameByte(s[i], i == 0) {
		i++
	}
	return s[:i]
}

func unknownCapture(name string, known []string) error {
	if len(known) == 0 {
		return fmt.Errorf("uses :%s, but the path pattern captures nothing: capture with /{%[1]s} or /*, or write %%3A%[1]s for the text itself", name)
	}
	return fmt.Errorf("uses :%s, but the path pattern captures only :%s: use one of them, or write %%3A%s for the text itself",
		name, strings.Join(known, ", :"), name)
}

// String returns what [ParseTemplate] read.
func (t Template) String() string { return t.text }

// Expand fills in what m captured. The result of a path template begins with
// exactly one slash, so that no request can make a host of it. Captures go into
// a path as they stand in the request's; in a query, what has a meaning there is
// encoded.
func (t Template) Expand(m *Match) string {
	var b strings.Builder
	for _, part := range t.parts {
		b.WriteString(part.literal)
		if part.name == "" {
			continue
		}
		value, _ := m.Param(part.name)
		if part.query {
			value = queryEscaper.Replace(value)
		}
		b.WriteString(value)
	}
	out := b.String()
	if t.path {
		out = "/" + strings.TrimLeft(out, "/")
	}
	return out
}

// queryEscaper encodes what a segment may contain and a query gives a meaning.
var queryEscaper = strings.NewReplacer("&", "%26", "+", "%2B", "=", "%3D", ";", "%3B")
