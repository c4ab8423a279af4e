package document

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/orla-edge/orla/release"
)

// Decode fills the struct that v points to and returns everything that does not
// fit it. Fields without a value in the file are left alone, so that v may hold
// defaults. Supported are strings, booleans, integers, [Size], [Duration],
// [Age], [Pairs], structs, and slices, string-keyed maps and pointers of these.
func (d *Document) Decode(v any) Problems {
	dec := &decoder{doc: d}
	dec.table(d.root, reflect.ValueOf(v).Elem(), "", "")
	dec.problems.Sort()
	return dec.problems
}

type decoder struct {
	doc      *Document
	problems Problems
}

// custom is a type that reads its value itself. It returns what is wrong, as a
// continuation of "timeout must be".
type custom interface{ fromTOML(n *node) (wrong string) }

func (dec *decoder) reject(n *node, field, format string, args ...any) {
	dec.problems = append(dec.problems, Problem{
		File: dec.doc.file, Line: n.at.line, Field: field, Message: fmt.Sprintf(format, args...),
	})
}

// table decodes n into the struct v. title is how messages call the table,
// empty for the file itself.
func (dec *decoder) table(n *node, v reflect.Value, field, title string) {
	fields, later := describe(v.Type())
	for _, key := range n.keys {
		child, at := n.byKey[key], join(field, key)
		if f, ok := fields[key]; ok {
			dec.value(child, v.FieldByIndex(f.index), at, f)
			continue
		}
		if slices.Contains(later, key) {
			dec.reject(child, at, "%q is not supported by this version of Orla; remove %s", key, removal(child))
			continue
		}
		message := fmt.Sprintf("unknown key %q", key)
		if title != "" {
			message += " in " + title
		}
		if nearest := release.Nearest(key, names(fields)); nearest != "" {
			message += fmt.Sprintf("; did you mean %q?", nearest)
			at = join(field, nearest) // so that nearest is not also reported as missing
		} else {
			message += "; known are " + strings.Join(names(fields), ", ")
		}
		dec.reject(child, at, "%s", message)
	}
}

func removal(n *node) string {
	if n.kind == kindTable || n.kind == kindArray && len(n.items) > 0 && n.items[0].kind == kindTable {
		return "it"
	}
	return "the line"
}

// known is what a struct says about one of its keys.
type known struct {
	index   []int
	name    string
	example string
	enum    []string
	later   []string // values that this version lacks
}

// describe reads the tags of a struct.
func describe(t reflect.Type) (fields map[string]known, later []string) {
	fields = make(map[string]known)
	for f := range t.Fields() {
		var refused []string
		if list := f.Tag.Get("later"); list != "" {
			refused = strings.Split(list, ",")
		}
		name := f.Tag.Get("toml")
		if name == "" {
			later = append(later, refused...)
			continue
		}
		k := known{index: f.Index, name: name, example: f.Tag.Get("example"), later: refused}
		for option := range strings.SplitSeq(f.Tag.Get("jsonschema"), ",") {
			if value, ok := strings.CutPrefix(option, "enum="); ok {
				k.enum = append(k.enum, value)
			}
		}
		fields[name] = k
	}
	return fields, later
}

func names(fields map[string]known) []string {
	all := make([]string, 0, len(fields))
	for name := range fields {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

// value decodes n into v, which is the key k or an element of it.
func (dec *decoder) value(n *node, v reflect.Value, field string, k known) {
	if c, ok := reflect.TypeAssert[custom](v.Addr()); ok {
		if wrong := c.fromTOML(n); wrong != "" {
			dec.reject(n, field, "%s must be %s", subject(field), wrong)
		}
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		dec.value(n, v.Elem(), field, k)
	case reflect.Struct:
		if dec.want(n, kindTable, field, k) {
			dec.table(n, v, field, heading(field))
		}
	case reflect.Map:
		dec.entries(n, v, field, k)
	case reflect.Slice:
		dec.list(n, v, field, k)
	default:
		dec.scalar(n, v, field, k)
	}
}

func (dec *decoder) entries(n *node, v reflect.Value, field string, k known) {
	if !dec.want(n, kindTable, field, k) {
		return
	}
	v.Set(reflect.MakeMap(v.Type()))
	for _, key := range n.keys {
		e := reflect.New(v.Type().Elem()).Elem()
		dec.value(n.byKey[key], e, join(field, key), k)
		v.SetMapIndex(reflect.ValueOf(key), e)
	}
}

func (dec *decoder) list(n *node, v reflect.Value, field string, k known) {
	if !dec.want(n, kindArray, field, k) {
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(n.items), len(n.items)))
	for i, item := range n.items {
		dec.value(item, v.Index(i), element(field, i), k)
	}
}

func (dec *decoder) scalar(n *node, v reflect.Value, field string, k known) {
	switch v.Kind() {
	case reflect.String:
		if !dec.want(n, kindString, field, k) {
			return
		}
		if slices.Contains(k.later, n.text) {
			dec.reject(n, field, "%s = %q is not supported by this version of Orla; remove the line or write %s", k.name, n.text, oneOf(k.enum))
			return
		}
		if len(k.enum) > 0 && !slices.Contains(k.enum, n.text) {
			dec.reject(n, field, "%s must be %s, not %q", subject(field), oneOf(k.enum), n.text)
			return
		}
		v.SetString(n.text)
	case reflect.Bool:
		if dec.want(n, kindBool, field, k) {
			v.SetBool(n.text == "true")
		}
	case reflect.Int, reflect.Int64, reflect.Uint32:
		dec.integer(n, v, field, k)
	default:
		panic("document: no way to decode into " + v.Type().String())
	}
}

func (dec *decoder) integer(n *node, v reflect.Value, field string, k known) {
	if !dec.want(n, kindInteger, field, k) {
		return
	}
	i, err := strconv.ParseInt(n.text, 0, 64)
	if v.CanUint() && err == nil && i >= 0 && !v.OverflowUint(uint64(i)) {
		v.SetUint(uint64(i))
		return
	}
	if v.CanInt() && err == nil && !v.OverflowInt(i) {
		v.SetInt(i)
		return
	}
	dec.reject(n, field, "%s is out of range: %s", subject(field), n.text)
}

// want reports whether n is of that kind, and rejects it otherwise.
func (dec *decoder) want(n *node, want kind, field string, k known) bool {
	if n.kind == want {
		return true
	}
	message := fmt.Sprintf("%s must be %s, not %s", subject(field), want, n.kind)
	switch {
	case want == kindString && (n.kind == kindInteger || n.kind == kindFloat || n.kind == kindBool):
		message += fmt.Sprintf("; write it in quotes: %q", n.text)
	case want == kindArray && n.kind == kindString:
		message += fmt.Sprintf("; write [%q]", n.text)
	case k.example != "":
		message += "; for example " + k.name + " = " + k.example
	}
	dec.reject(n, field, "%s", message)
	return false
}

// subject names a field as the subject of a sentence: `"timeout" in
// [functions.api]`.
func subject(field string) string {
	outer := parent(field)
	key := strings.TrimPrefix(field[len(outer):], ".")
	if strings.HasPrefix(key, "[") { // an element of a list
		return "each of " + subject(outer)
	}
	if outer == "" {
		return strconv.Quote(key)
	}
	return fmt.Sprintf("%q in %s", key, heading(outer))
}

// heading names a table as its header does: [functions.api], [[routes]], or,
// for one inside a list, `"match" of [[routes]]`.
func heading(field string) string {
	list, inner, isElement := strings.Cut(field, "[")
	if !isElement {
		return "[" + field + "]"
	}
	_, inner, _ = strings.Cut(inner, "]")
	if inner = strings.TrimPrefix(inner, "."); inner != "" {
		return fmt.Sprintf("%q of [[%s]]", inner, list)
	}
	return "[[" + list + "]]"
}

func oneOf(enum []string) string {
	quoted := make([]string, len(enum))
	for i, e := range enum {
		quoted[i] = strconv.Quote(e)
	}
	if len(quoted) == 1 {
		return quoted[0]
	}
	return strings.Join(quoted[:len(quoted)-1], ", ") + " or " + quoted[len(quoted)-1]
}
