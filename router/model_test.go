package router

import (
	"errors"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// slowMatch finds the winner as the documentation words it: of all routes that
// match, the one that nothing beats.
func slowMatch(routes []Route, r *Request) (index int, allow string) {
	index = -1
	var allowed []string
	for i := range routes {
		switch byMethod, byRest := slowMethod(&routes[i], r.Method), slowRest(&routes[i], r); {
		case byMethod && byRest && (index < 0 || slowBeats(&routes[i], &routes[index])):
			index = i
		case !byMethod && byRest:
			allowed = append(allowed, routes[i].Methods...)
		}
	}
	if index >= 0 {
		return index, ""
	}
	if slices.Contains(allowed, "GET") {
		allowed = append(allowed, "HEAD")
	}
	slices.Sort(allowed)
	return -1, strings.Join(slices.Compact(allowed), ", ")
}

func slowMethod(route *Route, method string) bool {
	return len(route.Methods) == 0 || slices.Contains(route.Methods, method) || method == "HEAD" && slices.Contains(route.Methods, "GET")
}

func slowRest(route *Route, r *Request) bool {
	for _, c := range route.Headers {
		if !slices.Contains(r.Header[c.Name], c.Value) {
			return false
		}
	}
	values, _ := url.ParseQuery(r.RawQuery)
	for _, c := range route.Query {
		if got := values[c.Name]; len(got) == 0 || got[0] != c.Value {
			return false
		}
	}
	switch c := route.ClientCert; {
	case c == "none" && r.ClientCert != nil, c != "" && c != "none" && r.ClientCert == nil:
		return false
	case c != "" && c != "none" && c != "*" && !slices.Contains(r.ClientCert.Names, c):
		return false
	}
	pattern := strings.Split(route.Path.String(), "/")[1:]
	path := strings.Split(r.Path, "/")[1:]
	for i, p := range pattern {
		switch {
		case p == "*":
			return true
		case i == len(path):
			return false
		case strings.HasPrefix(p, "{"):
			if path[i] == "" {
				return false
			}
		case p != path[i]:
			return false
		}
	}
	return len(pattern) == len(path)
}

// slowBeats reports whether a, which comes later, beats b; both match.
func slowBeats(a, b *Route) bool {
	ka, kb := slowKinds(a.Path), slowKinds(b.Path)
	switch {
	case a.Rank != b.Rank:
		return a.Rank < b.Rank
	case ka != kb:
		return ka < kb
	case (len(a.Methods) > 0) != (len(b.Methods) > 0):
		return len(a.Methods) > 0
	case slowHeaders(a) != slowHeaders(b):
		return slowHeaders(a) > slowHeaders(b)
	}
	return len(a.Query) > len(b.Query)
}

func slowHeaders(r *Route) int {
	if r.ClientCert == "" {
		return len(r.Headers)
	}
	return len(r.Headers) + 1
}

// slowKinds spells a pattern so that the better one is the lesser string: A for
// a literal, B for a parameter, C for the end, D for a star.
func slowKinds(p Pattern) string {
	var kinds strings.Builder
	for _, part := range strings.Split(p.String(), "/")[1:] {
		switch {
		case part == "*":
			return kinds.String() + "D"
		case strings.HasPrefix(part, "{"):
			kinds.WriteByte('B')
		default:
			kinds.WriteByte('A')
		}
	}
	return kinds.String() + "C"
}

// drawRoute draws from few words, so that routes collide and compete.
func drawRoute(t *rapid.T) Route {
	path := ""
	for i := range rapid.IntRange(0, 4).Draw(t, "segments") {
		word := rapid.SampledFrom([]string{"a", "b", "", "{x%}", "{y%}"}).Draw(t, "segment")
		path += "/" + strings.ReplaceAll(word, "%", strconv.Itoa(i))
	}
	if path == "" || rapid.Bool().Draw(t, "star") {
		path += "/*"
	}
	p, err := ParsePattern(path)
	if err != nil {
		t.Fatal(err)
	}
	conditions := rapid.SliceOfNDistinct(rapid.Custom(func(t *rapid.T) Condition {
		return Condition{rapid.SampledFrom([]string{"A", "B"}).Draw(t, "name"), rapid.SampledFrom([]string{"1", "2"}).Draw(t, "value")}
	}), 0, 2, func(c Condition) string { return c.Name })
	return Route{
		Path:    p,
		Methods: rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"GET", "POST", "HEAD"}), 0, 2, rapid.ID).Draw(t, "methods"),
		Headers: conditions.Draw(t, "headers"),
		Query:   conditions.Draw(t, "query"),
		Rank:    rapid.SampledFrom([]int{0, 0, 0, 7, -2}).Draw(t, "rank"),

		ClientCert: rapid.SampledFrom([]string{"", "", "", "*", "none", "alice", "bob"}).Draw(t, "certificate"),
	}
}

func drawRequest(t *rapid.T) *Request {
	segments := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c", ""}), 1, 5).Draw(t, "path")
	r := &Request{
		Method:   rapid.SampledFrom([]string{"GET", "POST", "HEAD", "PUT"}).Draw(t, "method"),
		Path:     "/" + strings.Join(segments, "/"),
		RawQuery: strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"A=1", "A=2", "B=1", "%42=2", "C"}), 0, 3).Draw(t, "query"), "&"),
		Header:   map[string][]string{},
	}
	if rapid.Bool().Draw(t, "certified") {
		r.ClientCert = &ClientCert{Names: rapid.SliceOfN(rapid.SampledFrom([]string{"alice", "bob"}), 0, 2).Draw(t, "names")}
	}
	for _, name := range []string{"A", "B"} {
		r.Header[name] = rapid.SliceOfN(rapid.SampledFrom([]string{"1", "2"}), 0, 2).Draw(t, "header")
	}
	return r
}

// withoutShadowed leaves out the routes that NewTree says never match. The model
// picks the same winner with or without them.
func withoutShadowed(t *rapid.T, routes []Route) []Route {
	_, err := NewTree(routes)
	if err == nil {
		return routes
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		t.Fatalf("NewTree: %v", err)
	}
	shadowed := map[int]bool{}
	for _, e := range joined.Unwrap() {
		if s, ok := errors.AsType[*ShadowedError](e); ok {
			shadowed[s.Route] = true
		}
	}
	var kept []Route
	for i := range routes {
		if !shadowed[i] {
			kept = append(kept, routes[i])
		}
	}
	for range 5 {
		r := drawRequest(t)
		if won, _ := slowMatch(routes, r); won >= 0 && shadowed[won] {
			t.Fatalf("route %d is said never to match, but matches %+v", won, r)
		}
	}
	return kept
}

func propMatch(t *rapid.T) {
	routes := withoutShadowed(t, rapid.SliceOfN(rapid.Custom(drawRoute), 0, 12).Draw(t, "routes"))
	tree, err := NewTree(routes)
	if err != nil {
		t.Fatalf("NewTree: %v", err)
	}
	for range 10 {
		r := drawRequest(t)
		m := tree.Match(r)
		want, allow := slowMatch(routes, r)
		if m.Index != want || m.Allow() != allow {
			t.Fatalf("Match(%+v) = %d, Allow %q, want %d, %q", r, m.Index, m.Allow(), want, allow)
		}
		checkExplain(t, tree, r, want)
		checkCaptures(t, routes, r, &m)
	}
}

func checkExplain(t *rapid.T, tree *Tree, r *Request, want int) {
	winner := -1
	for _, s := range tree.Explain(r) {
		if s.Matched == (s.Reason != "") {
			t.Fatalf("Explain gives route %d the reason %q, matched %t", s.Index, s.Reason, s.Matched)
		}
		if s.Matched {
			winner = s.Index
		}
	}
	if winner != want {
		t.Fatalf("Explain(%+v) says route %d wins, want %d", r, winner, want)
	}
}

// checkCaptures fills the captures into the pattern, which must give the path.
func checkCaptures(t *rapid.T, routes []Route, r *Request, m *Match) {
	if m.Index < 0 {
		return
	}
	path := routes[m.Index].Path.String()
	for name, value := range m.Captures() {
		placeholder := "{" + name + "}"
		if name == Splat {
			placeholder = "*"
		}
		path = strings.Replace(path, placeholder, value, 1)
	}
	if path != r.Path && path != r.Path+"/" {
		t.Fatalf("the captures of %s from %s make %s", routes[m.Index].Path, r.Path, path)
	}
}

func TestMatchIsAsTheModel(t *testing.T) { rapid.Check(t, propMatch) }

func FuzzMatch(f *testing.F) { f.Fuzz(rapid.MakeFuzz(propMatch)) }
