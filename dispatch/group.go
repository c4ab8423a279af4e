package dispatch

import (
	"cmp"
	"crypto/x509"
	"fmt"
	"maps"
	"slices"

	"github.com/orla-edge/orla/modules"
)

// Whole is all of an app's clients; the weights of a [Group] add up to it.
const Whole = 10_000

// MaxShares is how many releases may share an app's clients.
const MaxShares = 10

// Share is a release with its part of an app's clients.
type Share struct {
	Release *Release
	Weight  uint32 // 1 to Whole
}

// Group is what answers under one name: a release, or several releases of the
// same name that serve the same hosts and differ in their numbers.
type Group []Share

// Alone returns the group in which r has every client.
func Alone(r *Release) Group { return Group{{r, Whole}} }

// Name returns the name of the group's releases.
func (g Group) Name() string { return g[0].Release.Name }

// sorted returns g in the order of the releases' numbers, which decides who gets
// which clients.
func (g Group) sorted() Group {
	return slices.SortedFunc(slices.Values(g), func(a, b Share) int { return cmp.Compare(a.Release.Number, b.Release.Number) })
}

// main returns the index of the largest share, of equal ones the first.
func (g Group) main() int {
	at := 0
	for i, s := range g {
		if s.Weight > g[at].Weight {
			at = i
		}
	}
	return at
}

// check tells why g, which is sorted, cannot be served.
func (g Group) check() error {
	if len(g) > MaxShares {
		return fmt.Errorf("%d releases share the clients; at most %d can", len(g), MaxShares)
	}
	total := uint64(0)
	for i, s := range g {
		total += uint64(s.Weight)
		switch {
		case s.Weight == 0:
			return fmt.Errorf("release %d has no share", s.Release.Number)
		case i == 0:
		case s.Release.Name != g.Name():
			return fmt.Errorf("a release of %s is among those of %s", s.Release.Name, g.Name())
		case s.Release.Number == g[i-1].Release.Number:
			return fmt.Errorf("release %d has two shares", s.Release.Number)
		case !maps.EqualFunc(s.Release.hosts, g[0].Release.hosts, func(a, b *host) bool { return true }):
			return fmt.Errorf("releases %d and %d serve different hosts", g[0].Release.Number, s.Release.Number)
		}
	}
	if total != Whole {
		return fmt.Errorf("the shares add up to %d, not to %d", total, Whole)
	}
	return nil
}

// host returns what the group serves under a host pattern. clients are all the CAs
// of its releases.
func (g Group) host(pattern string, clients *x509.CertPool) *host {
	if len(g) == 1 {
		return g[0].Release.hosts[pattern]
	}
	s := &split{main: g.main(), clients: clients}
	until := uint32(0)
	for _, share := range g {
		until += share.Weight
		s.until = append(s.until, until)
		s.hosts = append(s.hosts, share.Release.hosts[pattern])
	}
	return &host{split: s}
}

// leave gives up the group's ownership of its releases.
func (g Group) leave() {
	for _, s := range g {
		s.Release.leave()
	}
}

// Part describes a share.
type Part struct {
	Number uint64
	Digest modules.Digest
	Weight uint32
}

func (g Group) parts() []Part {
	out := make([]Part, len(g))
	for i, s := range g {
		out[i] = Part{s.Release.Number, s.Release.Digest, s.Weight}
	}
	return out
}
