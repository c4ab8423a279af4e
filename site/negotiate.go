package site

import (
	"strings"
)

// coding is a content coding that a site can have (RFC 9110 §8.4.1). The order is
// the preference where nothing else decides.
type coding uint8

const (
	codingBrotli coding = iota
	codingZstd
	codingGzip
	codingIdentity
	codingCount = iota
)

// codings are the names, as IANA registers them.
var codings = [codingCount]string{
	codingBrotli:   "br",
	codingZstd:     "zstd",
	codingGzip:     "gzip",
	codingIdentity: "identity",
}

// contentEncoding are the field's values; identity has none.
var contentEncoding = [codingIdentity][]string{
	codingBrotli: one("br"),
	codingZstd:   one("zstd"),
	codingGzip:   one("gzip"),
}

// codingOf returns the coding of a name, in any case. "x-gzip" is gzip
// (RFC 9110 §8.4.1.3).
func codingOf(name string) (coding, bool) {
	for c, known := range codings {
		if strings.EqualFold(name, known) {
			return coding(c), true
		}
	}
	return codingGzip, strings.EqualFold(name, "x-gzip")
}

// Limits of an Accept-Encoding field; browsers send about 30 bytes, 5 members.
const (
	maxAcceptEncodingBytes   = 1024
	maxAcceptEncodingMembers = 32
)

// weights are the quality values of a request's Accept-Encoding in thousandths.
type weights [codingCount]int16

// unweighted stands for a coding that the field does not speak of.
const unweighted = -1

// parseAcceptEncoding reads the field's lines (RFC 9110 §12.5.3). Members that are
// malformed, or have a weight that is, count as absent; a field over the limits
// counts as absent altogether. A coding named twice has the weight of the last.
func parseAcceptEncoding(lines []string) weights {
	q := weights{unweighted, unweighted, unweighted, unweighted}
	var rest int16 = unweighted
	size, members := 0, 0
	for _, line := range lines {
		if size += len(line); size > maxAcceptEncodingBytes {
			return weights{unweighted, unweighted, unweighted, unweighted}
		}
		for line != "" {
			var member string
			member, line, _ = strings.Cut(line, ",")
			if members++; members > maxAcceptEncodingMembers {
				return weights{unweighted, unweighted, unweighted, unweighted}
			}
			name, weight, ok := parseWeighted(member)
			if !ok {
				continue
			}
			if name == "*" {
				rest = weight
			} else if c, ok := codingOf(name); ok {
				q[c] = weight
			}
		}
	}
	if rest != unweighted {
		q.fill(rest)
	}
	return q
}

// fill gives the weight of "*" to what was not named. Identity is only ever
// excluded by it, not asked for.
func (q *weights) fill(rest int16) {
	for c := range q {
		if q[c] == unweighted && (coding(c) != codingIdentity || rest == 0) {
			q[c] = rest
		}
	}
}

// parseWeighted reads `name` or `name;q=0.5`, with optional white space.
func parseWeighted(member string) (name string, thousandths int16, ok bool) {
	name, param, weighted := strings.Cut(member, ";")
	name = strings.Trim(name, " \t")
	if name == "" {
		return "", 0, false
	}
	if !weighted {
		return name, 1000, true
	}
	param = strings.Trim(param, " \t")
	if len(param) < 2 || param[0]|0x20 != 'q' || param[1] != '=' {
		return "", 0, false
	}
	thousandths, ok = parseQvalue(param[2:])
	return name, thousandths, ok
}

// parseQvalue reads a qvalue (RFC 9110 §12.4.2): 0 to 1 with at most three digits
// after the point.
func parseQvalue(s string) (thousandths int16, ok bool) {
	if s == "" || len(s) > len("0.000") || s[0] != '0' && s[0] != '1' {
		return 0, false
	}
	thousandths = int16(s[0]-'0') * 1000
	if len(s) == 1 {
		return thousandths, true
	}
	if s[1] != '.' {
		return 0, false
	}
	unit := int16(100)
	for _, digit := range []byte(s[2:]) {
		if digit < '0' || digit > '9' {
			return 0, false
		}
		thousandths += int16(digit-'0') * unit
		unit /= 10
	}
	return thousandths, thousandths <= 1000
}

// negotiate returns the representation that a request gets: the one with the
// highest weight, of those the smallest. Identity is sent where nothing else is
// acceptable, even if it is excluded too (RFC 9110 §12.5.3 allows that instead of
// 406), and where the request has no Accept-Encoding: such clients rarely decode.
func (e *entry) negotiate(acceptEncoding []string) *representation {
	best := &e.identity
	if len(e.variants) == 0 || len(acceptEncoding) == 0 {
		return best
	}
	q := parseAcceptEncoding(acceptEncoding)
	highest := q[codingIdentity]
	for i := range e.variants {
		v := &e.variants[i]
		if w := q[v.coding]; w > 0 && (w > highest || w == highest && best == &e.identity) {
			best, highest = v, w
		}
	}
	return best
}
