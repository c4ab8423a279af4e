package dispatch

import (
	"crypto/x509"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// cookieName is the name of the cookie that keeps a client with its release.
const cookieName = "orla-split"

// Header fields of requests and responses of an app with a split.
const (
	fieldCookie    = "Cookie"
	fieldSetCookie = "Set-Cookie"
	fieldVary      = "Vary"
	fieldCache     = "Cache-Control"
)

// split divides the clients of a host among several releases. A client is a number
// below Whole; each release has a range of numbers as wide as its weight, in the
// order of the releases. So a number leads to the same release on every node, and
// between two releases only as many clients move as the weights do.
type split struct {
	hosts []*host
	until []uint32 // where the range of each host ends; the last one is Whole
	main  int      // index of the largest share

	clients *x509.CertPool // CAs whose certificates clients may show; nil: none
}

// choose returns the host whose range holds number, which is below Whole.
func (s *split) choose(number uint32) *host {
	at := 0
	for number >= s.until[at] {
		at++
	}
	return s.hosts[at]
}

// lot is the number of a request's client.
type lot struct {
	drawn  bool // false for an app without a split
	fresh  bool // the client does not have it yet
	number uint32
}

// draw returns the number that the client has in a cookie, and takes the cookie
// off the request: the app has not set it. A client without one gets a number by
// chance.
func draw(h http.Header) lot {
	number, known := lotOf(h[fieldCookie])
	stripLot(h)
	if known {
		return lot{drawn: true, number: number}
	}
	return lot{drawn: true, fresh: true, number: rand.Uint32N(Whole)} //nolint:gosec // spreads clients, keeps no secret
}

// response returns the header changes of an answer. An answer of a split app
// depends on the cookie, which a cache between has to know; and one that gives the
// cookie out is for that client alone.
func (l lot) response(secure bool) *changes {
	c := &changes{add: []field{{fieldVary, fieldCookie}}}
	if l.fresh {
		cookie := http.Cookie{
			Name: cookieName, Value: strconv.FormatUint(uint64(l.number), 10), Path: "/",
			HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: secure,
		}
		c.add = append(c.add, field{fieldSetCookie, cookie.String()}, field{fieldCache, "private"})
	}
	return c
}

// lotOf returns the first valid number in lines of the Cookie field (RFC 6265
// §4.2.1).
func lotOf(lines []string) (number uint32, ok bool) {
	for _, line := range lines {
		for pair := range strings.SplitSeq(line, ";") {
			value, is := lotPair(pair)
			if !is {
				continue
			}
			n, err := strconv.ParseUint(value, 10, 32)
			if err == nil && n < Whole {
				return uint32(n), true
			}
		}
	}
	return 0, false
}

// lotPair reports whether a pair of a Cookie field is the split's, and returns its
// value.
func lotPair(pair string) (value string, ok bool) {
	name, value, _ := strings.Cut(pair, "=")
	return strings.TrimSpace(value), strings.TrimSpace(name) == cookieName
}

// stripLot takes the split's cookie off a request. Fields without it stay as they
// are, to the byte.
func stripLot(h http.Header) {
	lines := h[fieldCookie]
	if !slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, cookieName) }) {
		return
	}
	kept := make([]string, 0, len(lines))
	for _, line := range lines {
		pairs := strings.Split(line, ";")
		others := slices.DeleteFunc(slices.Clone(pairs), func(p string) bool { _, is := lotPair(p); return is })
		if len(others) < len(pairs) {
			line = strings.TrimSpace(strings.Join(others, ";"))
		}
		if line != "" {
			kept = append(kept, line)
		}
	}
	if len(kept) == 0 {
		delete(h, fieldCookie)
		return
	}
	h[fieldCookie] = kept
}
