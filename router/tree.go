package router

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// maxMethods is how many different methods the routes of one tree may name.
const maxMethods = 64

// Condition compares one header field or query parameter with a value, exactly.
type Condition struct{ Name, Value string }

// Route is what a request has to be like. A target belongs to the caller, who
// knows the route by its index.
type Route struct {
	Path Pattern
	// Methods that match; none means all. GET includes HEAD.
	Methods []string
	// Headers that must be there, names in any case. Any one of several lines
	// of a field may have the value.
	Headers []Condition
	// Query parameters that must be there, decoded. Of several with a name the
	// first counts.
	Query []Condition
	// ClientCert is [AnyClientCert], [NoClientCert], or a name that the client's
	// certificate has to be for. Empty means that it does not matter. It counts as
	// one more header.
	ClientCert string
	// Rank comes before everything else: routes of a lower rank are preferred to
	// all of a higher one. It is for hosts, whose match precedes the path's.
	Rank int
}

// ShadowedError says that a route can never match, since routes before it match
// all that it does.
type ShadowedError struct {
	Route int // index of the route
	By    int // index of a route that takes its place
}

func (e *ShadowedError) Error() string {
	return fmt.Sprintf("router: route %d never matches: route %d matches the same requests and comes first", e.Route, e.By)
}

// Tree is an immutable set of routes, ready to be matched. Any number of
// goroutines may use it.
//
// Precedence is that of the Kubernetes Gateway API's HTTPRoute: at each segment
// from the left a literal comes before a parameter, which comes before a star;
// among routes with the same path one with methods comes before one without,
// then the one with more header conditions, one on the client's certificate
// among them, then more query conditions, then the first. Routes whose other conditions are not met are passed over.
type Tree struct {
	layers  []layer // by rank
	rules   []rule  // by the route's index
	methods []string
}

// layer is the tree of the routes that have one rank.
type layer struct {
	rank int
	root node
}

// node is a place in the tree, reached by the segments on the way to it. Routes
// that call the parameters on the way by different names share it.
type node struct {
	literal map[string]*node
	param   *node
	exact   []*rule // routes that end here, by precedence
	prefix  []*rule // routes with a star here, by precedence
}

// rule is a route made ready.
type rule struct {
	index   int
	rank    int
	path    Pattern
	methods uint64 // a bit for each of Tree.methods; 0 means all
	headers []Condition
	query   []Condition
	cert    string // condition on the client's certificate, "" for none
}

// narrowness is the number of conditions that count as headers.
func (r *rule) narrowness() int {
	if r.cert != "" {
		return len(r.headers) + 1
	}
	return len(r.headers)
}

// NewTree makes a tree of routes. A route that can never match because others
// with the same rank, path and conditions come first is an error; all of them
// are reported, joined, each as a [*ShadowedError].
func NewTree(routes []Route) (*Tree, error) {
	t := &Tree{rules: make([]rule, len(routes))}
	if err := t.nameMethods(routes); err != nil {
		return nil, err
	}
	t.makeLayers(routes)
	for i := range routes {
		r := &t.rules[i]
		*r = t.newRule(i, &routes[i])
		n := t.layer(r.rank).root.at(r.path.segments)
		if r.path.exact {
			n.exact = append(n.exact, r)
		} else {
			n.prefix = append(n.prefix, r)
		}
	}
	var shadows []*ShadowedError
	for i := range t.layers {
		shadows = t.layers[i].root.order(shadows)
	}
	if shadows != nil {
		slices.SortFunc(shadows, func(a, b *ShadowedError) int { return cmp.Compare(a.Route, b.Route) })
		errs := make([]error, len(shadows))
		for i, s := range shadows {
			errs[i] = s
		}
		return nil, errors.Join(errs...)
	}
	return t, nil
}

func (t *Tree) makeLayers(routes []Route) {
	for i := range routes {
		if t.layer(routes[i].Rank) == nil {
			t.layers = append(t.layers, layer{rank: routes[i].Rank})
		}
	}
	slices.SortFunc(t.layers, func(a, b layer) int { return cmp.Compare(a.rank, b.rank) })
}

// layer returns nil if there is none of that rank.
func (t *Tree) layer(rank int) *layer {
	for i := range t.layers {
		if t.layers[i].rank == rank {
			return &t.layers[i]
		}
	}
	return nil
}

func (t *Tree) nameMethods(routes []Route) error {
	for i := range routes {
		for _, m := range routes[i].Methods {
			if slices.Contains(t.methods, m) {
				continue
			}
			if len(t.methods) == maxMethods-1 { // HEAD comes with GET
				return fmt.Errorf("router: the routes name more than %d methods", maxMethods-1)
			}
			t.methods = append(t.methods, m)
		}
	}
	if slices.Contains(t.methods, "GET") && !slices.Contains(t.methods, "HEAD") {
		t.methods = append(t.methods, "HEAD")
	}
	slices.Sort(t.methods)
	return nil
}

// methodBit returns 0 for a method that no route names.
func (t *Tree) methodBit(method string) uint64 {
	for i, m := range t.methods {
		if m == method {
			return 1 << i
		}
	}
	return 0
}

func (t *Tree) newRule(index int, route *Route) rule {
	r := rule{index: index, rank: route.Rank, path: route.Path, query: sortedConditions(route.Query), cert: route.ClientCert}
	for _, m := range route.Methods {
		r.methods |= t.methodBit(m)
		if m == "GET" {
			r.methods |= t.methodBit("HEAD")
		}
	}
	headers := slices.Clone(route.Headers)
	for i := range headers {
		headers[i].Name = canonicalHeader(headers[i].Name)
	}
	r.headers = sortedConditions(headers)
	return r
}

func sortedConditions(cs []Condition) []Condition {
	return slices.SortedFunc(slices.Values(cs), func(a, b Condition) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Value, b.Value))
	})
}

// canonicalHeader returns name in canonical MIME form: "X-Beta".
func canonicalHeader(name string) string {
	b := []byte(strings.ToLower(name))
	for i, c := range b {
		if (i == 0 || b[i-1] == '-') && 'a' <= c && c <= 'z' {
			b[i] = c - 'a' + 'A'
		}
	}
	return string(b)
}

// at returns the node that segments lead to, made if need be.
func (n *node) at(segments []segment) *node {
	for _, seg := range segments {
		if seg.param {
			if n.param == nil {
				n.param = new(node)
			}
			n = n.param
			continue
		}
		next := n.literal[seg.text]
		if next == nil {
			next = new(node)
			if n.literal == nil {
				n.literal = map[string]*node{}
			}
			n.literal[seg.text] = next
		}
		n = next
	}
	return n
}

// order sorts the rules of n and of all below by precedence; it adds those that
// can never match to shadows.
func (n *node) order(shadows []*ShadowedError) []*ShadowedError {
	for _, rules := range [][]*rule{n.exact, n.prefix} {
		if len(rules) > 1 {
			slices.SortFunc(rules, compareConditions)
			shadows = shadowed(rules, shadows)
		}
	}
	for _, child := range n.literal {
		shadows = child.order(shadows)
	}
	if n.param != nil {
		shadows = n.param.order(shadows)
	}
	return shadows
}

// compareConditions orders rules that have the same path.
func compareConditions(a, b *rule) int {
	return cmp.Or(
		compareBool(b.methods != 0, a.methods != 0),
		cmp.Compare(b.narrowness(), a.narrowness()),
		cmp.Compare(len(b.query), len(a.query)),
		cmp.Compare(a.index, b.index),
	)
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// shadowed adds to shadows each of the rules, which have the same path and are
// in order, whose methods have all been taken by rules before it with the same
// conditions, any client certificate being a condition that covers a name in one.
// Only those can shadow it: fewer conditions come later.
func shadowed(rules []*rule, shadows []*ShadowedError) []*ShadowedError {
	taken := make(map[string][]*rule, len(rules))
	for _, r := range rules {
		key := r.conditionsKey(r.cert)
		before := taken[key]
		if r.cert != "" && r.cert != AnyClientCert && r.cert != NoClientCert {
			before = slices.Concat(before, taken[r.conditionsKey(AnyClientCert)])
		}
		var methods uint64
		by := -1
		for _, b := range before {
			methods |= b.methods
			if by < 0 && (r.methods == 0 || b.methods&r.methods != 0) {
				by = b.index
			}
		}
		if by >= 0 && methods&r.methods == r.methods {
			shadows = append(shadows, &ShadowedError{Route: r.index, By: by})
		}
		taken[key] = append(taken[key], r)
	}
	return shadows
}

// conditionsKey spells what rules of one path share that match the same requests,
// but for their methods. cert stands for the rule's own condition on certificates.
func (r *rule) conditionsKey(cert string) string {
	return fmt.Sprintf("%t %q %q %q", r.methods == 0, r.headers, r.query, cert)
}
