package router

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// ErrPath is wrapped by every error of [CleanPath].
var ErrPath = errors.New("router: path refused")

// The reasons are made once, for a refusal must cost an attacked node nothing.
var (
	errPathStart   = fmt.Errorf("%w: it does not begin with a slash", ErrPath)
	errPathEscape  = fmt.Errorf("%w: a percent sign is not followed by two hexadecimal digits", ErrPath)
	errPathControl = fmt.Errorf("%w: it has a control character", ErrPath)
	errPathSlash   = fmt.Errorf("%w: it has a backslash", ErrPath)
	errPathUTF8    = fmt.Errorf("%w: it is not UTF-8", ErrPath)
	errPathDots    = fmt.Errorf("%w: it has an encoded dot-dot segment", ErrPath)
	errPathRoot    = fmt.Errorf("%w: it climbs above the root", ErrPath)
)

// CleanPath returns the canonical form of a URL's escaped path, the one form in
// which matchers, caches, upstreams and guests see it:
//
//   - what RFC 3986 §3.3 allows in a segment (pchar) stands for itself, any
//     other byte is percent-encoded in upper case;
//   - dot segments are resolved (RFC 3986 §5.2.4);
//   - an encoded slash stays encoded and separates nothing; empty segments stay.
//
// Refused with an error that wraps [ErrPath]: a path that does not begin with a
// slash ("*" neither), malformed escapes, control characters, backslashes and
// invalid UTF-8 in whatever spelling, a path that climbs above the root, and a
// ".." that hides behind escapes: "%2e%2e", ".%2E", "..%2Fx".
//
// CleanPath is idempotent and does not allocate for a path that is canonical.
func CleanPath(escaped string) (string, error) {
	if plainPath(escaped) {
		return escaped, nil
	}
	if !strings.HasPrefix(escaped, "/") {
		return "", errPathStart
	}
	p := pathScanner{canonical: true}
	if err := p.scan(escaped); err != nil {
		return "", err
	}
	if p.canonical {
		return escaped, nil
	}
	return rewritePath(escaped)
}

// isPchar holds the bytes that may stand for themselves in a segment: RFC 3986
// §3.3, unreserved, sub-delims, ":" and "@".
var isPchar = func() (set [256]bool) {
	const all = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~!$&'()*+,;=:@"
	for _, c := range []byte(all) {
		set[c] = true
	}
	return set
}()

// plainPath reports whether path is canonical beyond doubt: no escapes, and no
// segment that begins with a dot.
func plainPath(path string) bool {
	if path == "" || path[0] != '/' {
		return false
	}
	previous := byte(0)
	for _, c := range []byte(path) {
		if c != '/' && !isPchar[c] || c == '.' && previous == '/' {
			return false
		}
		previous = c
	}
	return true
}

// pathScanner finds what is to be refused, and whether anything is to be
// changed.
type pathScanner struct {
	canonical bool
	utf8      utf8Checker

	// The piece since the last slash, be it raw or encoded.
	dots       int  // how many dots it consists of; -1 if of anything else too
	escapedDot bool // some of them were escaped
	encoded    bool // the slash before it was encoded
}

func (p *pathScanner) scan(path string) error {
	for i := 1; i < len(path); i++ {
		c, escaped := path[i], false
		if c == '%' {
			var ok bool
			if c, ok = unescape(path, i); !ok {
				return errPathEscape
			}
			escaped = true
			p.canonical = p.canonical && !isPchar[c] && isUpperHex(path[i+1]) && isUpperHex(path[i+2])
			i += 2
		} else {
			p.canonical = p.canonical && (c == '/' || isPchar[c])
		}
		if err := p.take(c, escaped); err != nil {
			return err
		}
	}
	if !p.utf8.complete() {
		return errPathUTF8
	}
	return p.endPiece(false)
}

// take looks at one decoded byte.
func (p *pathScanner) take(c byte, escaped bool) error {
	switch {
	case c < ' ' || c == 0x7f:
		return errPathControl
	case c == '\\':
		return errPathSlash
	case !p.utf8.take(c):
		return errPathUTF8
	case c == '/':
		if err := p.endPiece(escaped); err != nil {
			return err
		}
		p.dots, p.escapedDot, p.encoded = 0, false, escaped
	case c == '.' && p.dots >= 0:
		p.dots++
		p.escapedDot = p.escapedDot || escaped
	default:
		p.dots = -1
	}
	return nil
}

// endPiece looks at the piece that a slash, encoded or not, or the path's end
// has closed.
func (p *pathScanner) endPiece(encoded bool) error {
	segment := !encoded && !p.encoded // else it is a part of one
	switch p.dots {
	case 1:
		p.canonical = p.canonical && !segment
	case 2:
		if p.escapedDot || !segment {
			return errPathDots
		}
		p.canonical = false
	}
	return nil
}

// rewritePath makes the canonical form of a path that was scanned.
func rewritePath(path string) (string, error) {
	out := make([]byte, 1, len(path)+16)
	out[0] = '/'
	start := 1 // of the segment in out
	for i := 1; i < len(path); i++ {
		switch c := path[i]; c {
		case '/':
			var err error
			if out, err = closeSegment(out, start, false); err != nil {
				return "", err
			}
			out = append(out, '/')
			start = len(out)
		case '%':
			c, _ = unescape(path, i)
			out = appendEscaped(out, c)
			i += 2
		default:
			out = appendEscaped(out, c)
		}
	}
	out, err := closeSegment(out, start, true)
	return string(out), err
}

// closeSegment resolves the segment at the end of out if it is a dot segment
// (RFC 3986 §5.2.4).
func closeSegment(out []byte, start int, last bool) ([]byte, error) {
	switch string(out[start:]) {
	default:
		return out, nil
	case ".":
		out = out[:start-1]
	case "..":
		out = out[:start-1]
		if len(out) == 0 {
			return nil, errPathRoot
		}
		out = out[:bytes.LastIndexByte(out, '/')]
	}
	if last {
		out = append(out, '/')
	}
	return out, nil
}

const upperHex = "0123456789ABCDEF"

func appendEscaped(out []byte, c byte) []byte {
	if isPchar[c] {
		return append(out, c)
	}
	return append(out, '%', upperHex[c>>4], upperHex[c&15])
}

// unescape reads the escape whose percent sign is s[i].
func unescape(s string, i int) (c byte, ok bool) {
	if i+2 >= len(s) {
		return 0, false
	}
	high, low := hexValue(s[i+1]), hexValue(s[i+2])
	return high<<4 | low&15, high < 16 && low < 16
}

// hexValue returns 16 for what is no hexadecimal digit.
func hexValue(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 16
}

func isUpperHex(c byte) bool { return c < 'a' }

// utf8Checker takes UTF-8 byte by byte.
type utf8Checker struct {
	pending [utf8.UTFMax]byte
	n       int
}

// take reports whether c can follow what came before.
func (u *utf8Checker) take(c byte) bool {
	if c < utf8.RuneSelf {
		return u.n == 0
	}
	u.pending[u.n] = c
	u.n++
	if !utf8.FullRune(u.pending[:u.n]) {
		return true
	}
	_, size := utf8.DecodeRune(u.pending[:u.n])
	ok := size == u.n // an error has size 1, and no rune beyond ASCII has
	ok = ok && size > 1
	u.n = 0
	return ok
}

// complete reports whether no rune is cut short.
func (u *utf8Checker) complete() bool { return u.n == 0 }
