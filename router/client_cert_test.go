package router

import (
	"errors"
	"fmt"
	"testing"
)

func cert(want string) func(*Route) { return func(r *Route) { r.ClientCert = want } }

// from returns a request with a client certificate for names.
func from(s string, names ...string) *Request {
	r := request(s)
	r.ClientCert = &ClientCert{Names: names}
	return r
}

func TestMatchClientCert(t *testing.T) {
	const alice, spiffe = "alice.example.com", "spiffe://example.com/billing"
	for _, tt := range []struct {
		name    string
		routes  []Route
		request *Request
		want    int
		reason  string // why route 0 does not match
	}{
		{"any takes one with names", []Route{on(t, "/x", cert("*"))}, from("/x", alice), 0, ""},
		{"any takes one without", []Route{on(t, "/x", cert("*"))}, from("/x"), 0, ""},
		{"any needs one", []Route{on(t, "/x", cert("*"))}, request("/x"), -1, "client certificate is missing"},
		{"none takes none", []Route{on(t, "/x", cert("none"))}, request("/x"), 0, ""},
		{"none refuses one", []Route{on(t, "/x", cert("none"))}, from("/x", alice), -1, "there is a client certificate, want none"},
		{"none is no name", []Route{on(t, "/x", cert("none"))}, from("/x", "none"), -1, "there is a client certificate, want none"},
		{"one of the names", []Route{on(t, "/x", cert(spiffe))}, from("/x", alice, spiffe), 0, ""},
		{"another name", []Route{on(t, "/x", cert(alice))}, from("/x", "bob.example.com", spiffe), -1, `client certificate is for "bob.example.com, spiffe://example.com/billing", want "alice.example.com"`},
		{"a part of a name", []Route{on(t, "/x", cert("example.com"))}, from("/x", alice), -1, `client certificate is for "alice.example.com", want "example.com"`},
		{"a name and no certificate", []Route{on(t, "/x", cert(alice))}, request("/x"), -1, `client certificate is missing, want one for "alice.example.com"`},
		{"a name and a certificate without one", []Route{on(t, "/x", cert(alice))}, from("/x"), -1, `client certificate has no name, want "alice.example.com"`},
		{"no condition takes all", []Route{on(t, "/x")}, from("/x", alice), 0, ""},

		{"it counts as a header", []Route{on(t, "/x"), on(t, "/x", query("v", "1")), on(t, "/x", cert("*"))}, from("/x?v=1"), 2, "it matches too, but /x comes first"},
		{"two headers beat it", []Route{on(t, "/x", cert("*")), on(t, "/x", header("A", "1"), header("B", "1"))}, withHeaders(from("/x"), "A", "1", "B", "1"), 1, "it matches too, but /x comes first"},
		{"file order among equals", []Route{on(t, "/x", header("A", "1")), on(t, "/x", cert("*"))}, withHeaders(from("/x"), "A", "1"), 0, ""},
		{"file order of two names", []Route{on(t, "/x", cert(spiffe)), on(t, "/x", cert(alice)), on(t, "/x", cert("*"))}, from("/x", "carol"), 2, `client certificate is for "carol", want "spiffe://example.com/billing"`},
		{"the path comes first", []Route{on(t, "/*", cert("*")), on(t, "/x")}, from("/x"), 1, "it matches too, but /x comes first"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tree := newTree(t, tt.routes...)
			if m := tree.Match(tt.request); m.Index != tt.want {
				t.Errorf("Match = route %d, want %d", m.Index, tt.want)
			}
			for _, s := range tree.Explain(tt.request) {
				if s.Index == 0 && s.Reason != tt.reason {
					t.Errorf("Explain of route 0 = %q, want %q", s.Reason, tt.reason)
				}
			}
		})
	}
}

// TestCertMismatch: it is told if the certificate alone kept a request from a route, and
// only then.
func TestCertMismatch(t *testing.T) {
	const missing = "client certificate is missing"
	for _, tt := range []struct {
		name    string
		routes  []Route
		request *Request
		want    string
	}{
		{"none", []Route{on(t, "/x", cert("*"))}, request("/x"), missing},
		{"another name", []Route{on(t, "/x", cert("alice"))}, from("/x", "bob"), `client certificate is for "bob", want "alice"`},
		{"one where none may be", []Route{on(t, "/x", cert("none"))}, from("/x", "bob"), "there is a client certificate, want none"},
		{"the first route in match order", []Route{on(t, "/*", cert("alice")), on(t, "/x", cert("*"))}, request("/x"), missing},
		{"another path", []Route{on(t, "/x", cert("*"))}, request("/y"), ""},
		{"another method", []Route{on(t, "POST /x", cert("*"))}, request("/x"), ""},
		{"a header is missing, too", []Route{on(t, "/x", cert("*"), header("A", "1"))}, request("/x"), ""},
		{"the header is there", []Route{on(t, "/x", cert("*"), header("A", "1"))}, withHeaders(request("/x"), "A", "1"), missing},
		{"beside a route of another method", []Route{on(t, "/x", cert("*")), on(t, "POST /x")}, request("/x"), missing},
		{"another route matches", []Route{on(t, "/x", cert("*")), on(t, "/*")}, request("/x"), ""},
	} {
		tree := newTree(t, tt.routes...)
		if m := tree.Match(tt.request); m.CertMismatch(tt.request.ClientCert) != tt.want {
			t.Errorf("%s: CertMismatch = %q, want %q", tt.name, m.CertMismatch(tt.request.ClientCert), tt.want)
		}
	}
}

func withHeaders(r *Request, headers ...string) *Request {
	r.Header = request("/", headers...).Header
	return r
}

func TestNewTreeRefusesClientCertsThatNeverMatch(t *testing.T) {
	for _, tt := range []struct {
		name   string
		routes []Route
		want   string
	}{
		{"the same name", []Route{on(t, "/a", cert("x")), on(t, "/a", cert("x"))}, "[1 by 0]"},
		{"a name behind any", []Route{on(t, "/a", cert("*")), on(t, "/a", cert("x"))}, "[1 by 0]"},
		{"a name behind any, by methods", []Route{on(t, "GET /a", cert("*")), on(t, "POST /a", cert("x")), on(t, "GET,POST /a", cert("x"))}, "[2 by 1]"},
		{"a name before any", []Route{on(t, "/a", cert("x")), on(t, "/a", cert("*"))}, "[]"},
		{"none behind any", []Route{on(t, "/a", cert("*")), on(t, "/a", cert("none"))}, "[]"},
		{"another condition", []Route{on(t, "/a", cert("*"), query("v", "1")), on(t, "/a", cert("x"), query("v", "2"))}, "[]"},
		{"another name", []Route{on(t, "/a", cert("x")), on(t, "/a", cert("y")), on(t, "/a")}, "[]"},
	} {
		_, err := NewTree(tt.routes)
		got := []string{}
		if joined, ok := err.(interface{ Unwrap() []error }); ok {
			for _, e := range joined.Unwrap() {
				if s, ok := errors.AsType[*ShadowedError](e); ok {
					got = append(got, fmt.Sprintf("%d by %d", s.Route, s.By))
				}
			}
		}
		if fmt.Sprint(got) != tt.want {
			t.Errorf("%s: NewTree: %v, want %s", tt.name, err, tt.want)
		}
	}
}

func TestMatchOfClientCertDoesNotAllocate(t *testing.T) {
	tree := newTree(t, on(t, "/a", cert("alice")), on(t, "/a", cert("*")), on(t, "/a", cert("none")))
	for _, r := range []*Request{from("/a", "bob", "alice"), from("/a", "bob"), request("/a")} {
		if n := testing.AllocsPerRun(100, func() { tree.Match(r) }); n != 0 {
			t.Errorf("Match(%s) allocates %v times", r.Path, n)
		}
	}
}
