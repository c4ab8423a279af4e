package router

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// on reads "GET,POST /path" into a route.
func on(tb testing.TB, s string, more ...func(*Route)) Route {
	tb.Helper()
	var r Route
	methods, path, ok := strings.Cut(s, " ")
	if !ok {
		methods, path = "", s
	}
	if methods != "" {
		r.Methods = strings.Split(methods, ",")
	}
	r.Path = mustPattern(tb, path)
	for _, f := range more {
		f(&r)
	}
	return r
}

func header(name, value string) func(*Route) {
	return func(r *Route) { r.Headers = append(r.Headers, Condition{name, value}) }
}

func query(name, value string) func(*Route) {
	return func(r *Route) { r.Query = append(r.Query, Condition{name, value}) }
}

func rank(n int) func(*Route) { return func(r *Route) { r.Rank = n } }

func newTree(tb testing.TB, routes ...Route) *Tree {
	tb.Helper()
	tree, err := NewTree(routes)
	if err != nil {
		tb.Fatal(err)
	}
	return tree
}

// request reads "POST /path?query" into a request; headers alternate names and
// values.
func request(s string, headers ...string) *Request {
	r := &Request{Method: "GET", Header: map[string][]string{}}
	if method, path, ok := strings.Cut(s, " "); ok {
		r.Method, s = method, path
	}
	r.Path, r.RawQuery, _ = strings.Cut(s, "?")
	for i := 0; i < len(headers); i += 2 {
		r.Header[headers[i]] = append(r.Header[headers[i]], headers[i+1])
	}
	return r
}

func TestMatchPaths(t *testing.T) {
	patterns := []string{
		"/", "/about", "/docs/", "/api/*", "/api/v1/*", "/api/v1/users/{id}", "/api/v1/users/me", "/api/{version}/status",
		"/users/{id}", "/users/{name}/posts", "/files/*", "/files/{dir}/index", "/a%2Fb", "/%2A",
	}
	routes := make([]Route, len(patterns))
	for i, p := range patterns {
		routes[i] = on(t, p)
	}
	tree := newTree(t, routes...)
	for _, tt := range []struct{ path, want, captures string }{
		{"/", "/", ""},
		{"/about", "/about", ""},
		{"/about/", "", ""},
		{"/About", "", ""},
		{"/docs/", "/docs/", ""},
		{"/docs", "", ""},
		{"/docs/x", "", ""},
		{"/api", "/api/*", "splat="},
		{"/api/", "/api/*", "splat="},
		{"/api/x/y", "/api/*", "splat=x/y"},
		{"/api//x", "/api/*", "splat=/x"},
		{"/apix", "", ""},
		{"/api/v1", "/api/v1/*", "splat="},
		{"/api/v1/users", "/api/v1/*", "splat=users"},
		{"/api/v1/users/", "/api/v1/*", "splat=users/"},
		{"/api/v1/users/7", "/api/v1/users/{id}", "id=7"},
		{"/api/v1/users/me", "/api/v1/users/me", ""},
		{"/api/v1/users/me/x", "/api/v1/*", "splat=users/me/x"},
		{"/api/v1/status", "/api/v1/*", "splat=status"}, // a literal beats a parameter at its segment, whatever follows
		{"/api/v2/status", "/api/{version}/status", "version=v2"},
		{"/api/v2/x", "/api/*", "splat=v2/x"},
		{"/users/7", "/users/{id}", "id=7"},
		{"/users/a%2Fb", "/users/{id}", "id=a%2Fb"},
		{"/users/", "", ""},
		{"/users/7/posts", "/users/{name}/posts", "name=7"},
		{"/users//posts", "", ""},
		{"/users/7/", "", ""},
		{"/files/a/index", "/files/{dir}/index", "dir=a"},
		{"/files/a/b", "/files/*", "splat=a/b"},
		{"/a%2Fb", "/a%2Fb", ""},
		{"/a/b", "", ""},
		{"/*", "/%2A", ""},
		{"*", "", ""},
		{"", "", ""},
		{"about", "", ""},
	} {
		m := tree.Match(&Request{Method: "GET", Path: tt.path})
		got := ""
		if m.Index >= 0 {
			got = patterns[m.Index]
		}
		var captures []string
		for name, value := range m.Captures() {
			captures = append(captures, name+"="+value)
			if v, ok := m.Param(name); v != value || !ok {
				t.Errorf("Match(%q).Param(%q) = %q, %t, want %q", tt.path, name, v, ok, value)
			}
		}
		if got != tt.want || strings.Join(captures, " ") != tt.captures {
			t.Errorf("Match(%q) = %q with %q, want %q with %q", tt.path, got, captures, tt.want, tt.captures)
		}
		if v, ok := m.Param("nothing"); v != "" || ok {
			t.Errorf("Match(%q).Param(nothing) = %q, %t", tt.path, v, ok)
		}
	}
}

func TestMatchPrecedence(t *testing.T) {
	tests := []struct {
		name    string
		routes  []Route
		request *Request
		want    int
	}{
		{"literal before parameter", []Route{on(t, "/{a}"), on(t, "/x")}, request("/x"), 1},
		{"parameter before star", []Route{on(t, "/*"), on(t, "/{a}")}, request("/x"), 1},
		{"exact before prefix", []Route{on(t, "/x/*"), on(t, "/x")}, request("/x"), 1},
		{"longest prefix", []Route{on(t, "/*"), on(t, "/a/*"), on(t, "/a/b/*"), on(t, "/a/b/c/d/*")}, request("/a/b/c"), 2},
		{"leftmost literal", []Route{on(t, "/{a}/y"), on(t, "/x/*")}, request("/x/y"), 1},
		{"path before method", []Route{on(t, "GET /*"), on(t, "/x")}, request("/x"), 1},
		{"method before headers", []Route{on(t, "/x", header("A", "1")), on(t, "GET /x")}, request("/x", "A", "1"), 1},
		{"headers before query", []Route{on(t, "/x", query("a", "1"), query("b", "1")), on(t, "/x", header("A", "1"))}, request("/x?a=1&b=1", "A", "1"), 1},
		{"more headers", []Route{on(t, "/x", header("A", "1")), on(t, "/x", header("A", "1"), header("B", "1"))}, request("/x", "A", "1", "B", "1"), 1},
		{"more query", []Route{on(t, "/x", query("a", "1")), on(t, "/x", query("a", "1"), query("b", "1"))}, request("/x?a=1&b=1"), 1},
		{"file order", []Route{on(t, "/x", header("A", "1")), on(t, "/x", header("B", "1"))}, request("/x", "A", "1", "B", "1"), 0},
		{"names of parameters do not count", []Route{on(t, "/{z}", header("A", "1")), on(t, "/{a}", header("B", "1"))}, request("/x", "A", "1", "B", "1"), 0},

		{"passes over a failed header", []Route{on(t, "/x", header("A", "1")), on(t, "/*")}, request("/x", "A", "2"), 1},
		{"passes over a failed method", []Route{on(t, "POST /x"), on(t, "/{a}"), on(t, "/*")}, request("/x"), 1},
		{"backtracks out of a literal", []Route{on(t, "/a/b/c"), on(t, "/{x}/b/d")}, request("/a/b/d"), 1},
		{"backtracks to a shorter prefix", []Route{on(t, "/a/*", query("v", "2")), on(t, "/*")}, request("/a/b?v=1"), 1},
		{"backtracks from exact to the same node's prefix", []Route{on(t, "POST /a"), on(t, "/a/*")}, request("/a"), 1},

		{"HEAD takes a GET route", []Route{on(t, "GET /x")}, request("HEAD /x"), 0},
		{"GET does not take a HEAD route", []Route{on(t, "HEAD /x")}, request("/x"), -1},
		{"HEAD of its own", []Route{on(t, "HEAD /x"), on(t, "GET /x")}, request("HEAD /x"), 0},
		{"methods are case-sensitive", []Route{on(t, "GET /x")}, request("get /x"), -1},
		{"one of several methods", []Route{on(t, "PUT,PURGE /x")}, request("PURGE /x"), 0},

		{"header name in any case", []Route{on(t, "/x", header("x-bETA", "1"))}, request("/x", "X-Beta", "1"), 0},
		{"header value exactly", []Route{on(t, "/x", header("A", "one"))}, request("/x", "A", "One"), -1},
		{"any line of a header", []Route{on(t, "/x", header("A", "2"))}, request("/x", "A", "1", "A", "2"), 0},
		{"all headers", []Route{on(t, "/x", header("A", "1"), header("B", "2"))}, request("/x", "A", "1"), -1},
		{"an empty header is there", []Route{on(t, "/x", header("A", ""))}, request("/x", "A", ""), 0},
		{"a missing header is not empty", []Route{on(t, "/x", header("A", ""))}, request("/x"), -1},
		{"all of the query", []Route{on(t, "/x", query("a", "1"), query("b", "2"))}, request("/x?b=2"), -1},
		{"rank before path", []Route{on(t, "/x", rank(1)), on(t, "/*")}, request("/x"), 1},
		{"the next rank when none matches", []Route{on(t, "/x", rank(1)), on(t, "/y")}, request("/x"), 0},
		{"no route", nil, request("/x"), -1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tree := newTree(t, tt.routes...)
			if m := tree.Match(tt.request); m.Index != tt.want {
				t.Errorf("Match = route %d, want %d", m.Index, tt.want)
			}
		})
	}
}

func TestFindQuery(t *testing.T) {
	for _, tt := range []struct {
		raw, name, value string
		want             bool
	}{
		{"v=2", "v", "2", true},
		{"a=1&v=2", "v", "2", true},
		{"v=1&v=2", "v", "1", true},
		{"v=1&v=2", "v", "2", false}, // the first counts
		{"v=2;w=3", "v", "2", false},
		{"v=2;w=3", "v", "2;w=3", true},
		{"v=2;w=3", "w", "3", false},
		{"v", "v", "", true},
		{"v=", "v", "", true},
		{"", "v", "", false},
		{"&&v=2", "v", "2", true},
		{"vv=2", "v", "2", false},
		{"V=2", "v", "2", false},
		{"v=a+b", "v", "a b", true},
		{"v=a%20b", "v", "a b", true},
		{"v=a%2Bb", "v", "a+b", true},
		{"v=a%3d%26", "v", "a=&", true},
		{"v=a=b", "v", "a=b", true},
		{"%76=2", "v", "2", true},
		{"%7=1&v=2", "v", "2", true},
		{"v=%", "v", "%", false},
		{"v=caf%C3%A9", "v", "café", true},
		{"v=23", "v", "2", false},
		{"v=2", "v", "23", false},
	} {
		tree := newTree(t, on(t, "/", query(tt.name, tt.value)))
		if got := tree.Match(request("/?"+tt.raw)).Index == 0; got != tt.want {
			t.Errorf("query %q has %s=%q: %t, want %t", tt.raw, tt.name, tt.value, got, tt.want)
		}
	}
}

func TestAllow(t *testing.T) {
	tree := newTree(t,
		on(t, "GET /a"), on(t, "POST /a"), on(t, "PUT /{x}"), on(t, "DELETE /*", header("X-Admin", "1")),
		on(t, "PATCH /b"), on(t, "/b", header("X-Beta", "1")), on(t, "PURGE,OPTIONS /c"))
	for _, tt := range []struct {
		request *Request
		want    string
	}{
		{request("TRACE /a"), "GET, HEAD, POST, PUT"},
		{request("TRACE /a", "X-Admin", "1"), "DELETE, GET, HEAD, POST, PUT"},
		{request("GET /b"), "PATCH, PUT"},
		{request("GET /c"), "OPTIONS, PURGE, PUT"},
		{request("GET /d/e"), ""},
		{request("GET /a"), ""}, // it matches
		{request("POST *"), ""},
	} {
		if m := tree.Match(tt.request); m.Allow() != tt.want {
			t.Errorf("Match(%s %s).Allow() = %q, want %q", tt.request.Method, tt.request.Path, m.Allow(), tt.want)
		}
	}
}

func TestNewTreeRefusesWhatNeverMatches(t *testing.T) {
	for _, tt := range []struct {
		name   string
		routes []Route
		want   []ShadowedError
	}{
		{"the same path", []Route{on(t, "/a"), on(t, "/b"), on(t, "/a")}, []ShadowedError{{2, 0}}},
		{"another parameter name", []Route{on(t, "/{a}/x"), on(t, "/{b}/x")}, []ShadowedError{{1, 0}}},
		{"another spelling", []Route{on(t, "/%61/*"), on(t, "/a/*")}, []ShadowedError{{1, 0}}},
		{"conditions in another order", []Route{
			on(t, "/a", header("X", "1"), header("Y", "2"), query("p", "1")), on(t, "/a", header("y", "2"), header("x", "1"), query("p", "1")),
		}, []ShadowedError{{1, 0}}},
		{"fewer methods", []Route{on(t, "GET,POST /a"), on(t, "POST /a")}, []ShadowedError{{1, 0}}},
		{"methods taken by two", []Route{on(t, "GET /a"), on(t, "POST /a"), on(t, "POST,GET /a")}, []ShadowedError{{2, 0}}},
		{"HEAD after GET", []Route{on(t, "GET /a"), on(t, "HEAD /a")}, []ShadowedError{{1, 0}}},
		{"all are named", []Route{on(t, "/a"), on(t, "/a"), on(t, "/b/*"), on(t, "/b/*"), on(t, "/a")}, []ShadowedError{{1, 0}, {3, 2}, {4, 0}}},

		{"other ranks", []Route{on(t, "/a"), on(t, "/a", rank(1))}, nil},
		{"exact and prefix", []Route{on(t, "/a/*"), on(t, "/a"), on(t, "/a/")}, nil},
		{"with and without method", []Route{on(t, "/a"), on(t, "GET /a")}, nil},
		{"more methods", []Route{on(t, "POST /a"), on(t, "GET,POST /a")}, nil},
		{"other conditions", []Route{on(t, "/a"), on(t, "/a", header("X", "1")), on(t, "/a", header("X", "2")), on(t, "/a", query("X", "1"))}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := NewTree(tt.routes)
			var got []ShadowedError
			if joined, ok := err.(interface{ Unwrap() []error }); ok {
				for _, e := range joined.Unwrap() {
					if s, ok := errors.AsType[*ShadowedError](e); ok {
						got = append(got, *s)
					}
				}
			}
			if !slices.Equal(got, tt.want) || (err == nil) != (tt.want == nil) {
				t.Errorf("NewTree: %v, want %v", err, tt.want)
			}
		})
	}
}

func TestNewTreeLimitsMethods(t *testing.T) {
	var routes []Route
	for i := range maxMethods {
		routes = append(routes, on(t, fmt.Sprintf("M%d /a", i)))
	}
	if _, err := NewTree(routes); err == nil {
		t.Errorf("NewTree takes %d methods", len(routes))
	}
	tree := newTree(t, routes[1:]...)
	if m := tree.Match(request("M63 /a")); m.Index != 62 {
		t.Errorf("Match with the last method = %d, want 62", m.Index)
	}
}

func TestMatchDoesNotAllocate(t *testing.T) {
	tree := newTree(t, on(t, "/about"), on(t, "/users/{id}/posts/{post}"), on(t, "/api/*"), on(t, "POST /form"),
		on(t, "/beta", header("X-Beta", "1"), query("v", "a b")), on(t, "/{a}/{b}/{c}/x"))
	for _, r := range []*Request{
		request("/about"), request("/users/7/posts/9"), request("/api/a/b"), request("/form"), request("/nowhere"),
		request("/beta?x=1&v=a%20b", "X-Beta", "0", "X-Beta", "1"), request("/a/b/c/d"),
	} {
		if n := testing.AllocsPerRun(100, func() { tree.Match(r) }); n != 0 {
			t.Errorf("Match(%s %s) allocates %v times", r.Method, r.Path, n)
		}
	}
	r := request("/users/7/posts/9")
	if n := testing.AllocsPerRun(100, func() {
		m := tree.Match(r)
		if post, _ := m.Param("post"); post != "9" {
			t.Error("wrong capture")
		}
	}); n != 0 {
		t.Errorf("Param allocates %v times", n)
	}
}

func TestExplain(t *testing.T) {
	tree := newTree(t,
		on(t, "/*"), on(t, "/api/*"), on(t, "POST /api/x"), on(t, "PUT,DELETE,GET /api/x", header("X-Beta", "1")),
		on(t, "/api/{id}", query("v", "2")), on(t, "/about"), on(t, "/api/{id}", query("w", "2")), on(t, "GET /api/{id}", header("A", "1")))
	steps := tree.Explain(request("/api/x?v=3", "A", "2", "A", "3"))
	var got []string
	for _, s := range steps {
		got = append(got, fmt.Sprintf("%d %t %s", s.Index, s.Matched, s.Reason))
	}
	want := []string{
		`5 false path /api/x does not match /about`,
		`3 false header X-Beta is missing, want "1"`,
		`2 false method GET is not POST`,
		`7 false header A is "2, 3", want "1"`,
		`4 false query parameter v is "3", want "2"`,
		`6 false query parameter w is missing, want "2"`,
		`1 true `,
		`0 false it matches too, but /api/* comes first`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("Explain:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	steps = tree.Explain(request("PATCH /api/x"))
	i := slices.IndexFunc(steps, func(s Step) bool { return s.Index == 3 })
	if want := "method PATCH is not DELETE, GET, HEAD or PUT"; steps[i].Reason != want {
		t.Errorf("Explain says %q, want %q", steps[i].Reason, want)
	}
}
