package router

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// Longest name and label of a host in bytes (RFC 1035 §2.3.4).
const (
	maxHost  = 253
	maxLabel = 63
)

// CleanHost returns the canonical form of a request's Host (RFC 9110 §7.2): in
// lower case, without port and without the root's dot; an IPv6 address is in
// brackets and in its shortest form (RFC 5952). It returns "" for what is no
// host: empty or overlong labels, characters beyond letters, digits, "-" and
// "_", a last label of digits that does not end an IPv4 address. It does not
// allocate for a host that is canonical but for its port.
func CleanHost(host string) string {
	name, ok := cutPort(host)
	if !ok {
		return ""
	}
	if strings.HasPrefix(name, "[") {
		return cleanIPv6(name)
	}
	name = strings.TrimSuffix(name, ".")
	if !validName(name) {
		return ""
	}
	return strings.ToLower(name) // returns name itself if that changes nothing
}

// cutPort cuts ":port" off. It reports whether what follows the host is a port
// (RFC 3986 §3.2.3: it may be empty).
func cutPort(host string) (name string, ok bool) {
	end := strings.IndexByte(host, ':')
	if strings.HasPrefix(host, "[") {
		end = strings.IndexByte(host, ']') + 1
		if end == 0 {
			return "", false
		}
	}
	if end < 0 || end == len(host) {
		return host, true
	}
	port := host[end:]
	if port[0] != ':' || len(port) > len(":65535") {
		return "", false
	}
	number := 0
	for _, c := range []byte(port[1:]) {
		if c < '0' || c > '9' {
			return "", false
		}
		number = number*10 + int(c-'0')
	}
	return host[:end], number <= 65535
}

// cleanIPv6 returns the canonical form of an address in brackets, "" if it is
// none. Zones have no meaning beyond one machine and are refused.
func cleanIPv6(bracketed string) string {
	inner := bracketed[1 : len(bracketed)-1]
	addr, err := netip.ParseAddr(inner)
	if err != nil || !addr.Is6() || addr.Zone() != "" {
		return ""
	}
	var buf [48]byte
	if canonical := addr.AppendTo(buf[:0]); string(canonical) != inner {
		return "[" + string(canonical) + "]"
	}
	return bracketed
}

// validName reports whether name is a DNS name or an IPv4 address, in any case.
func validName(name string) bool {
	if name == "" || len(name) > maxHost {
		return false
	}
	label, digits := 0, true // length of the label so far; whether all of it are digits
	for i := range len(name) {
		switch c := name[i]; {
		case c == '.':
			if label == 0 {
				return false
			}
			label, digits = 0, true
			continue
		case '0' <= c && c <= '9':
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', c == '-', c == '_':
			digits = false
		default:
			return false
		}
		if label++; label > maxLabel {
			return false
		}
	}
	if label == 0 {
		return false
	}
	if digits { // some clients would read it as an address, so it has to be one
		_, err := netip.ParseAddr(name)
		return err == nil
	}
	return true
}

// ParseHostPattern returns the canonical form of a host pattern: a host
// ("shop.example", "10.0.0.5", "[::1]"), a wildcard for every name below one
// ("*.shop.example") or "*" for every host. The error says how to write it.
func ParseHostPattern(s string) (string, error) {
	if s == "*" {
		return s, nil
	}
	if err := hostAdvice(s); err != nil {
		return "", fmt.Errorf("router: host %s %w", quote(s), err)
	}
	if addr, err := netip.ParseAddr(s); err == nil && addr.Is6() {
		s = "[" + s + "]"
	}
	base, wildcard := strings.CutPrefix(s, "*.")
	name, _ := cutPort(base)
	host := CleanHost(base)
	switch {
	case host != "" && name != base:
		return "", fmt.Errorf("router: host %s has a port: leave it out, a pattern holds for every port", quote(s))
	case host == "":
		return "", fmt.Errorf("router: host %s is not a host name: write letters, digits and hyphens between dots, such as \"shop.example\"", quote(s))
	case !wildcard:
		return host, nil
	case IsAddress(host):
		return "", fmt.Errorf("router: host %s puts a wildcard before an IP address: name the address itself", quote(s))
	}
	return "*." + host, nil
}

// hostAdvice recognises the usual mistakes.
func hostAdvice(s string) error {
	switch {
	case s == "":
		return errors.New(`is empty: write a host name, such as "shop.example", or "*" for every host`)
	case strings.Contains(s, "/"):
		return errors.New(`is a URL or path: write the host name alone, such as "shop.example"`)
	case strings.Contains(strings.TrimPrefix(s, "*."), "*"):
		return errors.New(`has a star inside: it can only stand for the first labels, as in "*.shop.example", or alone for every host`)
	case strings.ContainsFunc(s, func(r rune) bool { return r >= 0x80 }):
		return errors.New(`is not ASCII: write its Punycode form, such as "xn--bcher-kva.example" for "bücher.example"`)
	}
	return nil
}

// IsAddress reports whether a host that [CleanHost] returned is an IP address.
func IsAddress(host string) bool {
	switch {
	case host == "":
		return false
	case host[0] == '[':
		return true
	}
	last := host[len(host)-1]
	if last < '0' || last > '9' {
		return false
	}
	_, err := netip.ParseAddr(host)
	return err == nil
}

// quote quotes what a stranger wrote for an error message, a long one cut short.
func quote(s string) string {
	const most = 100
	if len(s) > most {
		return fmt.Sprintf("%q…", s[:most])
	}
	return fmt.Sprintf("%q", s)
}
