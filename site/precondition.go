package site

import (
	"net/http"
	"strings"
	"time"
)

// validators are what preconditions are compared with. A zero time means that there
// is no modification date.
type validators struct {
	etag     string
	modified time.Time
	// modifiedField is modified as sent, so that a client's copy of it needs no
	// parsing.
	modifiedField []string
}

// precondition evaluates a GET or HEAD request's conditional fields in the order
// of RFC 9110 §13.2.2, all but If-Range. It returns 304, 412, or 0 to go on.
func (v *validators) precondition(h http.Header) int {
	if lines := h["If-Match"]; len(lines) > 0 {
		if !matchETag(lines, v.etag, strong) {
			return http.StatusPreconditionFailed
		}
	} else if lines := h["If-Unmodified-Since"]; len(lines) > 0 {
		if since, ok := v.since(lines); ok && v.modified.After(since) {
			return http.StatusPreconditionFailed
		}
	}
	if lines := h["If-None-Match"]; len(lines) > 0 {
		if matchETag(lines, v.etag, weak) {
			return http.StatusNotModified
		}
	} else if lines := h["If-Modified-Since"]; len(lines) > 0 {
		if since, ok := v.since(lines); ok && !v.modified.After(since) {
			return http.StatusNotModified
		}
	}
	return 0
}

// since reads the date of a precondition. The precondition is void if the field has
// several lines or no date, or the representation has none (RFC 9110 §13.1.3).
func (v *validators) since(lines []string) (date time.Time, ok bool) {
	if v.modified.IsZero() || len(lines) != 1 {
		return time.Time{}, false
	}
	if lines[0] == v.modifiedField[0] {
		return v.modified, true
	}
	date, err := http.ParseTime(lines[0])
	return date, err == nil
}

// rangeHolds reports whether a Range field is to be heeded: whether there is no
// If-Range or it names this representation. Both comparisons are exact (RFC 9110
// §13.1.5); the date counts as strong, since a release's content never changes.
func (v *validators) rangeHolds(h http.Header) bool {
	lines := h["If-Range"]
	switch {
	case len(lines) == 0:
		return true
	case len(lines) > 1:
		return false
	case strings.HasPrefix(lines[0], `"`), strings.HasPrefix(lines[0], "W/"):
		tag, rest, ok := cutETag(lines[0])
		return ok && rest == "" && tag == v.etag
	}
	date, ok := v.since(lines)
	return ok && date.Equal(v.modified)
}

// comparison is how entity tags are compared (RFC 9110 §8.8.3.2).
type comparison bool

const (
	strong comparison = false
	weak   comparison = true
)

// maxETagListBytes is the longest If-Match or If-None-Match that is read, all lines
// together: some 200 tags.
const maxETagListBytes = 8 << 10

// matchETag reports whether the list in the lines of If-Match or If-None-Match is
// "*" or has a tag equal to etag, which is strong. The list is read up to where it
// is malformed or over the limit.
func matchETag(lines []string, etag string, how comparison) bool {
	size := 0
	for _, line := range lines {
		if size += len(line); size > maxETagListBytes {
			return false
		}
		if len(lines) == 1 && strings.Trim(line, " \t") == "*" {
			return true
		}
		for {
			line = strings.TrimLeft(line, " \t,")
			if line == "" {
				break
			}
			tag, rest, ok := cutETag(line)
			if !ok {
				return false
			}
			if how == weak {
				tag = strings.TrimPrefix(tag, "W/")
			}
			if tag == etag {
				return true
			}
			if rest = strings.TrimLeft(rest, " \t"); rest != "" && rest[0] != ',' {
				return false
			}
			line = rest
		}
	}
	return false
}

// cutETag splits an entity-tag (RFC 9110 §8.8.3) off the front of s.
func cutETag(s string) (tag, rest string, ok bool) {
	start := 0
	if strings.HasPrefix(s, "W/") {
		start = len("W/")
	}
	if start >= len(s) || s[start] != '"' {
		return "", s, false
	}
	for i := start + 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return s[:i+1], s[i+1:], true
		case c == 0x21, 0x23 <= c && c <= 0x7e, c >= 0x80: // etagc
		default:
			return "", s, false
		}
	}
	return "", s, false
}
