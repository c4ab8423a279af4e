package wasm

import "math"

const (
	// cheapCost bounds what a function may cost, callees included, that is charged
	// where it is called.
	cheapCost = 256
	// quietWeight bounds what a call may cost that is charged for, but does not check.
	quietWeight = 10_000
	// denseCost is what a function's code may cost, with what it calls and does not
	// check by itself, before it checks at every point.
	denseCost = 1_000_000
	// maxUncounted bounds the native stack of calls that cannot recurse, in bytes:
	// where there is more, all functions count.
	maxUncounted = 4 << 20

	unbounded = math.MaxInt64
)

// graph finds which functions can be on the stack twice, by Tarjan's algorithm for
// strongly connected components. Its nodes are the functions that the module defines,
// then its types: a call through a table goes to the type, and from there to every
// function of that type whose address is taken.
type graph struct {
	m     *layout
	s     *scanned
	taken map[uint32][]uint32 // canonical type → functions, as nodes
	types []classed           // of the type nodes

	index, low []uint32
	onStack    []bool
	stack      []uint32
	self       []bool
	walk       []visit
	next       uint32
}

// visit is a node whose edges are being followed.
type visit struct {
	node uint32
	edge int
}

// classify sets what the call graph shows of each function and returns an upper
// estimate of the native stack that StackGlobal does not count.
func classify(m *layout, s *scanned) uint64 {
	n := len(s.functions) + len(m.types)
	g := &graph{
		m: m, s: s, taken: map[uint32][]uint32{}, types: make([]classed, len(m.types)),
		index: make([]uint32, n), low: make([]uint32, n), onStack: make([]bool, n), self: make([]bool, n),
	}
	g.addresses()
	for v := range uint32(n) {
		if g.index[v] == 0 {
			g.connect(v)
		}
	}
	deepest := uint64(0)
	for i := range s.functions {
		deepest = max(deepest, s.functions[i].depth)
	}
	if deepest <= maxUncounted {
		return deepest
	}
	for i := range s.functions {
		f := &s.functions[i]
		f.recursive, f.cheap, f.weight = true, false, unbounded
	}
	return shimDepth
}

// addresses collects the functions that a call through a table may reach.
func (g *graph) addresses() {
	seen := make([]bool, g.m.functions())
	for _, f := range g.m.taken {
		if int(f) < len(g.m.imports) || seen[f] {
			continue
		}
		seen[f] = true
		t := g.m.typeOf(f).canon
		g.taken[t] = append(g.taken[t], f-uint32(len(g.m.imports)))
	}
}

// edge returns the node that node v's edge number e leads to, and the number after it;
// ok is false if there is none.
func (g *graph) edge(v uint32, e int) (to uint32, after int, ok bool) {
	if int(v) >= len(g.s.functions) {
		list := g.taken[v-uint32(len(g.s.functions))]
		if e >= len(list) {
			return 0, e, false
		}
		return list[e], e + 1, true
	}
	f := &g.s.functions[v]
	for i := f.edits.from + e; i < f.edits.to; i++ {
		switch x := &g.s.edits[i]; {
		case x.kind == editCall && int(x.arg) >= len(g.m.imports):
			return x.arg - uint32(len(g.m.imports)), i - f.edits.from + 1, true
		case x.kind == editIndirect:
			return uint32(len(g.s.functions)) + x.arg, i - f.edits.from + 1, true
		}
	}
	return 0, e, false
}

func (g *graph) enter(v uint32) {
	g.next++
	g.index[v], g.low[v] = g.next, g.next
	g.stack, g.onStack[v] = append(g.stack, v), true
	g.walk = append(g.walk, visit{node: v})
}

// connect follows all edges from v, without recursion: modules choose the depth.
func (g *graph) connect(v uint32) {
	g.enter(v)
	for len(g.walk) > 0 {
		top := &g.walk[len(g.walk)-1]
		node := top.node
		to, after, ok := g.edge(node, top.edge)
		top.edge = after
		switch {
		case ok && g.index[to] == 0:
			g.enter(to)
		case ok && g.onStack[to]:
			g.low[node] = min(g.low[node], g.index[to])
			g.self[node] = g.self[node] || to == node
		case !ok:
			g.walk = g.walk[:len(g.walk)-1]
			if len(g.walk) > 0 {
				parent := g.walk[len(g.walk)-1].node
				g.low[parent] = min(g.low[parent], g.low[node])
			}
			if g.low[node] == g.index[node] {
				g.component(node)
			}
		}
	}
}

// component takes the component whose first node is root off the stack. All that it
// calls outside of itself has been classified.
func (g *graph) component(root uint32) {
	from := len(g.stack) - 1
	for g.stack[from] != root {
		from--
	}
	nodes := g.stack[from:]
	recursive := len(nodes) > 1 || g.self[root]
	depth := uint64(0)
	for _, v := range nodes {
		g.class(v).recursive = recursive
		depth = max(depth, g.summarize(v))
	}
	for _, v := range nodes {
		c := g.class(v)
		c.depth = depth
		g.onStack[v] = false
		if recursive {
			c.weight, c.cheap = unbounded, false
		} else if int(v) < len(g.s.functions) {
			c.depth += g.s.functions[v].frame
		}
	}
	g.stack = g.stack[:from]
}

func (g *graph) class(v uint32) *classed {
	if int(v) < len(g.s.functions) {
		return &g.s.functions[v].classed
	}
	return &g.types[int(v)-len(g.s.functions)]
}

// summarize sets v's weight and whether it is cheap, and returns the depth of what it
// calls. Of members of its own component it sees zeros.
func (g *graph) summarize(v uint32) (depth uint64) {
	c := g.class(v)
	if int(v) >= len(g.s.functions) {
		c.weight = shimCost
		depth = shimDepth
		for _, f := range g.taken[v-uint32(len(g.s.functions))] {
			callee := g.class(f)
			c.weight, depth = max(c.weight, callee.weight), max(depth, callee.depth)
		}
		return depth
	}
	f := &g.s.functions[v]
	c.weight, c.cheap = f.total, !f.loops && !f.dynamic && !f.indirect
	for _, e := range g.s.edits[f.edits.from:f.edits.to] {
		switch {
		case e.kind == editHelper:
			depth = max(depth, shimDepth)
		case e.kind == editCall && int(e.arg) < len(g.m.imports):
			c.cheap = false
			c.weight, depth = min(c.weight+shimCost, unbounded), max(depth, shimDepth)
		case e.kind == editCall || e.kind == editIndirect:
			callee := g.callee(e)
			c.cheap = c.cheap && callee.cheap
			c.weight, depth = min(c.weight+callee.weight, unbounded), max(depth, callee.depth)
		}
	}
	if c.cheap = c.cheap && c.weight <= cheapCost; f.loops || f.dynamic {
		c.weight = unbounded
	}
	return depth
}

// callee returns the class of what a call edit calls in the module.
func (g *graph) callee(e edit) *classed {
	if e.kind == editCall {
		return g.class(e.arg - uint32(len(g.m.imports)))
	}
	return g.class(uint32(len(g.s.functions)) + e.arg)
}
