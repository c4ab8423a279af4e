package document

import "github.com/pelletier/go-toml/v2/unstable"

// kind is the type of a TOML value, as messages call it.
type kind string

const (
	kindTable   kind = "a table"
	kindArray   kind = "a list"
	kindString  kind = "a string"
	kindInteger kind = "a whole number"
	kindFloat   kind = "a number with a fraction"
	kindBool    kind = "true or false"
	kindTime    kind = "a date or time"
)

// node is a value with its place.
type node struct {
	kind  kind
	at    position
	text  string  // of a scalar, decoded
	items []*node // of a list
	keys  []string
	byKey map[string]*node
}

// position counts line and column from 1, the column in bytes.
type position struct{ line, column int }

func newTable(at position) *node {
	return &node{kind: kindTable, at: at, byKey: make(map[string]*node)}
}

func (n *node) put(key string, child *node) {
	n.keys = append(n.keys, key)
	n.byKey[key] = child
}

// builder turns the parser's expressions into a tree. What TOML forbids
// (defining a thing twice, …) is checked by the decoder of the library, which
// says it better: the builder only has to survive it.
type builder struct {
	parser  *unstable.Parser
	lines   []int // offset at which each line starts
	root    *node
	current *node
}

func (b *builder) run() error {
	for b.parser.NextExpression() {
		e := b.parser.Expression()
		var err error
		switch e.Kind {
		case unstable.Table:
			b.current, err = b.table(e.Key(), false)
		case unstable.ArrayTable:
			b.current, err = b.table(e.Key(), true)
		case unstable.KeyValue:
			err = b.keyValue(b.current, e, 1)
		}
		if err != nil {
			return err
		}
	}
	return b.parser.Error()
}

// table finds or makes the table that a [header] or [[header]] names.
func (b *builder) table(key unstable.Iterator, list bool) (*node, error) {
	n, last, err := b.walk(b.root, key, 0)
	if err != nil {
		return nil, err
	}
	name, at := string(last.Data), b.position(last)
	child := n.byKey[name]
	switch {
	case list && child == nil:
		child = &node{kind: kindArray, at: at}
		n.put(name, child)
		fallthrough
	case list && child.kind == kindArray:
		item := newTable(at)
		child.items = append(child.items, item)
		return item, nil
	case child == nil:
		child = newTable(at)
		n.put(name, child)
	case child.kind == kindTable:
		child.at = at // was implied by [name.other] above
	default:
		return nil, b.fail(last, "%q is already %s", name, child.kind)
	}
	return child, nil
}

// walk descends from n along all parts of key but the last, which it returns.
func (b *builder) walk(n *node, key unstable.Iterator, depth int) (*node, *unstable.Node, error) {
	key.Next()
	for part := key.Node(); ; part = key.Node() {
		if depth++; depth > MaxDepth {
			return nil, nil, tooDeep(b.position(part))
		}
		if key.IsLast() {
			return n, part, nil
		}
		name := string(part.Data)
		child := n.byKey[name]
		if child == nil {
			child = newTable(b.position(part))
			n.put(name, child)
		}
		if child.kind == kindArray && len(child.items) > 0 {
			child = child.items[len(child.items)-1]
		}
		if child.kind != kindTable {
			return nil, nil, b.fail(part, "%q is already %s", name, child.kind)
		}
		n = child
		key.Next()
	}
}

func (b *builder) keyValue(n *node, e *unstable.Node, depth int) error {
	n, last, err := b.walk(n, e.Key(), depth)
	if err != nil {
		return err
	}
	name := string(last.Data)
	if n.byKey[name] != nil {
		return b.fail(last, "%q is given twice", name)
	}
	value, err := b.value(e.Value(), b.position(last), depth+1)
	if err != nil {
		return err
	}
	n.put(name, value)
	return nil
}

// value converts a value. Those without a place of their own take fallback, the
// place of their key.
func (b *builder) value(v *unstable.Node, fallback position, depth int) (*node, error) {
	n := &node{kind: kindTime, at: fallback, text: string(v.Data)}
	if v.Raw.Length > 0 {
		n.at = b.position(v)
	}
	switch v.Kind {
	case unstable.String:
		n.kind = kindString
	case unstable.Bool:
		n.kind = kindBool
	case unstable.Integer:
		n.kind = kindInteger
	case unstable.Float:
		n.kind = kindFloat
	case unstable.Array, unstable.InlineTable:
		if depth > MaxDepth {
			return nil, tooDeep(n.at)
		}
		return b.container(v, n.at, depth)
	}
	return n, nil
}

func (b *builder) container(v *unstable.Node, at position, depth int) (*node, error) {
	if v.Kind == unstable.InlineTable {
		n := newTable(at)
		for it := v.Children(); it.Next(); {
			if err := b.keyValue(n, it.Node(), depth); err != nil {
				return nil, err
			}
		}
		return n, nil
	}
	n := &node{kind: kindArray, at: at}
	for it := v.Children(); it.Next(); {
		item, err := b.value(it.Node(), at, depth+1)
		if err != nil {
			return nil, err
		}
		n.items = append(n.items, item)
	}
	return n, nil
}
