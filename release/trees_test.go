package release

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/router"
)

// narrowed returns a manifest of respond routes, each with the hosts that it is
// narrowed to.
func narrowed(hosts []string, routes ...[]string) *orlav1.Manifest {
	m := &orlav1.Manifest{Name: "edge", Kind: orlav1.Kind_KIND_ROUTES, Hosts: hosts}
	for _, r := range routes {
		m.Routes = append(m.Routes, &orlav1.Route{
			Match:  &orlav1.Match{Path: r[0], Hosts: r[1:]},
			Target: &orlav1.Route_Respond{Respond: &orlav1.Respond{Status: 200}},
		})
	}
	return m
}

func TestTreesPutHostsBeforePaths(t *testing.T) {
	hosts := []string{"a.x.example", "*.x.example", "*.example", "*", "b.example"}
	m := narrowed(hosts,
		[]string{"/every"},
		[]string{"/p", "*"},
		[]string{"/p", "*.example"},
		[]string{"/{any}", "*.x.example"},
		[]string{"/q/*", "a.x.example"},
		[]string{"/q/r", "*.x.example", "*"},
	)
	if ps := Validate(m); ps != nil {
		t.Fatalf("Validate: %v", ps)
	}
	trees, err := Trees(m)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		host, path string
		want       int
	}{
		{"*", "/every", 0},
		{"*", "/p", 1},
		{"*", "/q/r", 5},
		{"*", "/z", -1},
		{"*.example", "/p", 2},
		{"*.example", "/q/r", 5},
		{"b.example", "/p", 2}, // of those that cover it, the closest
		{"b.example", "/every", 0},
		{"*.x.example", "/p", 3}, // the host comes before the path
		{"*.x.example", "/every", 0},
		{"*.x.example", "/q/r", 5},
		{"a.x.example", "/p", 3},
		{"a.x.example", "/q/r", 4}, // though /q/r is the longer path
		{"a.x.example", "/q", 4},
	} {
		tree, index := trees.Tree(tt.host)
		match := tree.Match(&router.Request{Method: "GET", Path: tt.path})
		got := -1
		if match.Index >= 0 {
			got = index[match.Index]
		}
		if got != tt.want {
			t.Errorf("%s%s = routes[%d], want routes[%d]", tt.host, tt.path, got, tt.want)
		}
	}
	if tree, index := trees.Tree("other"); tree != nil || index != nil {
		t.Error("Tree of a host that is not the manifest's is not nil")
	}
}

func TestTreesAreShared(t *testing.T) {
	hosts := []string{"a.example", "b.example", "c.example", "d.example"}
	trees, err := Trees(narrowed(hosts, []string{"/x"}, []string{"/y", "c.example", "d.example"}))
	if err != nil {
		t.Fatal(err)
	}
	at := func(h string) *router.Tree { tree, _ := trees.Tree(h); return tree }
	if at("a.example") != at("b.example") || at("c.example") != at("d.example") || at("a.example") == at("c.example") {
		t.Error("hosts with the same routes do not share a tree, or others do")
	}
}

func TestTreesLeaveOutWhatNeverMatchesUnderAHost(t *testing.T) {
	hosts := []string{"a.example", "b.example"}
	m := narrowed(hosts, []string{"/x", "a.example"}, []string{"/x"})
	if ps := Validate(m); ps != nil {
		t.Fatalf("Validate refuses a route that matches under one of two hosts: %v", ps)
	}
	trees, err := Trees(m)
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string][]int{"a.example": {0}, "b.example": {1}} {
		if _, index := trees.Tree(host); !slices.Equal(index, want) {
			t.Errorf("the tree of %s has routes %d, want %d", host, index, want)
		}
	}
	m = narrowed(hosts, []string{"/x", "a.example"}, []string{"/x", "b.example"}, []string{"/x"})
	_, err = Trees(m)
	ps, ok := errors.AsType[Problems](err)
	if !ok || len(ps) != 1 || ps[0].Field != "routes[2]" {
		t.Errorf("Trees = %v, want a problem of routes[2], which matches under no host", err)
	}
	m.Routes[0].Match.Path = "x"
	if _, err := Trees(m); err == nil {
		t.Error("Trees takes a path pattern that is none")
	}
}

func TestTreesOfTheLargestManifest(t *testing.T) {
	hosts := make([]string, maxHosts)
	for i := range hosts {
		hosts[i] = fmt.Sprintf("h%d.example", i)
	}
	m := narrowed(hosts)
	for i := range 100 {
		m.Routes = append(m.Routes, narrowed(nil, []string{fmt.Sprintf("/shared%d/*", i)}).Routes...)
	}
	for i := range maxHosts {
		m.Routes = append(m.Routes, narrowed(nil, []string{"/own", hosts[i]}).Routes...)
	}
	if ps := Validate(m); ps != nil {
		t.Fatalf("Validate: %v", ps)
	}
	trees, err := Trees(m)
	if err != nil {
		t.Fatal(err)
	}
	tree, index := trees.Tree("h7.example")
	if match := tree.Match(&router.Request{Method: "GET", Path: "/own"}); match.Index < 0 || index[match.Index] != 107 {
		t.Errorf("Match = %d", match.Index)
	}
}

func TestCovering(t *testing.T) {
	for _, tt := range []struct {
		pattern string
		want    []string
	}{
		{"a.b.c", []string{"a.b.c", "*.b.c", "*.c", "*"}},
		{"*.b.c", []string{"*.b.c", "*.c", "*"}},
		{"*.c", []string{"*.c", "*"}},
		{"c", []string{"c", "*"}},
		{"*", []string{"*"}},
	} {
		if got := covering(tt.pattern); !slices.Equal(got, tt.want) {
			t.Errorf("covering(%q) = %q, want %q", tt.pattern, got, tt.want)
		}
	}
}
