package release

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/router"
)

// maxTreeRoutes is how many routes the trees of a release may have together.
// Hosts that have the same routes share a tree.
const maxTreeRoutes = 200_000

// Routes are a manifest's routes, ready to be matched.
type Routes struct {
	byHost map[string]*tree
}

// tree is shared by the hosts that have the same routes.
type tree struct {
	*router.Tree
	index []int // of the manifest's route, by the tree's index
}

// Tree returns the tree of one of the manifest's host patterns, and for each of
// the tree's indexes the index of the route in the manifest. It returns nil for
// any other pattern. Neither may be changed.
func (r *Routes) Tree(pattern string) (*router.Tree, []int) {
	t := r.byHost[pattern]
	if t == nil {
		return nil, nil
	}
	return t.Tree, t.index
}

// Trees makes the trees of a manifest's hosts. A route without match.hosts is in
// all of them. One that is narrowed to "*.example" is in that of
// "shop.example" too, but behind every route that names the host more closely.
// The error is a [Problems]; there is none for what [Validate] has accepted.
func Trees(m *orlav1.Manifest) (*Routes, error) {
	var f findings
	routes := f.routes(m)
	if f.problems != nil {
		return nil, f.all()
	}
	trees := f.trees(m, routes)
	if f.problems != nil {
		return nil, f.all()
	}
	return trees, nil
}

// routes turns the manifest's routes into the router's.
func (f *findings) routes(m *orlav1.Manifest) []router.Route {
	routes := make([]router.Route, len(m.GetRoutes()))
	for i, r := range m.GetRoutes() {
		match := r.GetMatch()
		p, err := router.ParsePattern(cmp.Or(match.GetPath(), "/*"))
		if err != nil {
			f.rejectError(fmt.Sprintf("routes[%d].match.path", i), err)
			continue
		}
		routes[i] = router.Route{
			Path: p, Methods: match.GetMethods(),
			Headers: conditions(match.GetHeaders()), Query: conditions(match.GetQuery()),
			ClientCert: match.GetClientCert(),
		}
	}
	return routes
}

func conditions(cs []*orlav1.Condition) []router.Condition {
	out := make([]router.Condition, len(cs))
	for i, c := range cs {
		out[i] = router.Condition{Name: c.GetName(), Value: c.GetValue()}
	}
	return out
}

// forest grows the trees of a manifest.
type forest struct {
	*findings
	manifest *orlav1.Manifest
	routes   []router.Route
	narrowed map[string][]int // the routes that name a host pattern
	shared   map[string]*tree // by what is special about them
	size     int              // routes in all trees
	shadows  map[int]*shadow  // by the manifest's route
}

// shadow counts the trees in which a route never matches.
type shadow struct {
	trees int
	by    int // a route that takes its place
}

// trees returns nil if a problem was found.
func (f *findings) trees(m *orlav1.Manifest, routes []router.Route) *Routes {
	g := &forest{findings: f, manifest: m, routes: routes, narrowed: map[string][]int{}, shared: map[string]*tree{}, shadows: map[int]*shadow{}}
	for i, r := range m.GetRoutes() {
		for _, h := range r.GetMatch().GetHosts() {
			g.narrowed[h] = append(g.narrowed[h], i)
		}
	}
	out := &Routes{byHost: make(map[string]*tree, len(m.GetHosts()))}
	count := make([]int, len(routes)) // in how many trees each route is
	for _, host := range m.GetHosts() {
		t := g.tree(host, count)
		if t == nil {
			return nil
		}
		out.byHost[host] = t
	}
	for i := range routes {
		if s := g.shadows[i]; s != nil && s.trees == count[i] {
			f.reject(fmt.Sprintf("routes[%d]", i), "the route never matches: %s matches the same requests and comes first; remove one of them, or tell them apart by method, header or query", routeName(m, s.by))
		}
	}
	return out
}

// routeName names a route for a message.
func routeName(m *orlav1.Manifest, i int) string {
	if source := m.GetRoutes()[i].GetSource(); source != "" {
		return "the one at " + source
	}
	return fmt.Sprintf("routes[%d]", i)
}

// tree returns the tree of host, which others may have as well.
func (g *forest) tree(host string, count []int) *tree {
	ranks := map[int]int{} // of the routes narrowed to host or to what covers it
	for rank, pattern := range covering(host) {
		for _, i := range g.narrowed[pattern] {
			if _, ok := ranks[i]; !ok {
				ranks[i] = rank
			}
		}
	}
	var key []byte
	for _, i := range slices.Sorted(maps.Keys(ranks)) {
		key = binary.AppendUvarint(binary.AppendUvarint(key, uint64(i)), uint64(ranks[i]))
	}
	t := g.shared[string(key)]
	if t == nil {
		t = g.plant(ranks, count)
		g.shared[string(key)] = t
	}
	return t
}

// plant makes the tree of the routes that are narrowed to no host, and of those
// in ranks. It returns nil if that is too much.
func (g *forest) plant(ranks map[int]int, count []int) *tree {
	var routes []router.Route
	var index []int
	for i, r := range g.routes {
		rank, ok := ranks[i]
		if ok || len(g.manifest.GetRoutes()[i].GetMatch().GetHosts()) == 0 {
			r.Rank = rank
			routes, index = append(routes, r), append(index, i)
		}
	}
	if g.size += len(routes); g.size > maxTreeRoutes {
		g.reject("routes", "the hosts have more than %d routes together, counting one for each host that a route is narrowed to; narrow fewer by match.hosts, or split the hosts over several apps or route sets", maxTreeRoutes)
		return nil
	}
	for _, i := range index {
		count[i]++
	}
	return g.grow(routes, index)
}

// grow makes a tree without the routes that never match in it, and notes them.
func (g *forest) grow(routes []router.Route, index []int) *tree {
	grown, err := router.NewTree(routes)
	if err == nil {
		return &tree{grown, index}
	}
	dead := map[int]bool{}
	for s := range shadowed(err) {
		dead[s.Route] = true
		at := index[s.Route]
		if g.shadows[at] == nil {
			g.shadows[at] = &shadow{by: index[s.By]}
		}
		g.shadows[at].trees++
	}
	var left []router.Route
	var leftIndex []int
	for i := range routes {
		if !dead[i] {
			left, leftIndex = append(left, routes[i]), append(leftIndex, index[i])
		}
	}
	if len(dead) > 0 {
		if grown, err = router.NewTree(left); err == nil {
			return &tree{grown, leftIndex}
		}
	}
	g.rejectError("routes", err)
	return nil
}

// shadowed goes through the routes that err says never match.
func shadowed(err error) func(yield func(*router.ShadowedError) bool) {
	return func(yield func(*router.ShadowedError) bool) {
		joined, ok := err.(interface{ Unwrap() []error })
		if !ok {
			return
		}
		for _, e := range joined.Unwrap() {
			if s, ok := errors.AsType[*router.ShadowedError](e); ok && !yield(s) {
				return
			}
		}
	}
}

// covering returns the patterns that match what pattern does, itself first, then
// by how closely they do.
func covering(pattern string) []string {
	all := []string{pattern}
	rest := strings.TrimPrefix(pattern, "*.")
	for {
		_, after, ok := strings.Cut(rest, ".")
		if !ok {
			break
		}
		all = append(all, "*."+after)
		rest = after
	}
	if pattern != "*" {
		all = append(all, "*")
	}
	return all
}
