package document

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/invopop/jsonschema"
)

// Size is a number of bytes, written "64MiB" or "1GB".
type Size int64

func (s *Size) fromTOML(n *node) string {
	const want = `a size such as "64MiB"`
	if n.kind != kindString {
		return fmt.Sprintf("%s, not %s", want, n.kind)
	}
	size, err := humanize.ParseBytes(n.text)
	if err != nil || size == 0 || size > math.MaxInt64 {
		return fmt.Sprintf("%s, not %q", want, n.text)
	}
	*s = Size(size)
	return ""
}

// JSONSchema describes a size to editors.
func (Size) JSONSchema() *jsonschema.Schema {
	return &jsonschema.Schema{Type: "string", Pattern: `^[0-9.]+ ?([KMGTkmgt]?i?[Bb]?)$`}
}

// Duration is a time span, written "10s" or "1m30s". It is more than zero.
type Duration time.Duration

func (d *Duration) fromTOML(n *node) string {
	const want = `a duration such as "10s" or "1m30s"`
	if n.kind != kindString {
		return fmt.Sprintf("%s, not %s", want, n.kind)
	}
	span, err := time.ParseDuration(n.text)
	if err != nil || span <= 0 {
		return fmt.Sprintf("%s, not %q", want, n.text)
	}
	*d = Duration(span)
	return ""
}

// JSONSchema describes a duration to editors.
func (Duration) JSONSchema() *jsonschema.Schema {
	return &jsonschema.Schema{Type: "string", Pattern: `^([0-9.]+(ns|us|µs|ms|s|m|h))+$`}
}

// Age is a time span that may be as long as years, written "180d" or "12h". It is
// zero or more.
type Age time.Duration

func (a *Age) fromTOML(n *node) string {
	const want = `a number of days such as "180d", or hours such as "12h"`
	if n.kind != kindString {
		return fmt.Sprintf("%s, not %s", want, n.kind)
	}
	span, err := time.ParseDuration(n.text)
	if count, ok := strings.CutSuffix(n.text, "d"); ok {
		var days uint16
		days, err = parseDays(count)
		span = time.Duration(days) * 24 * time.Hour
	}
	if err != nil || span < 0 {
		return fmt.Sprintf("%s, not %q", want, n.text)
	}
	*a = Age(span)
	return ""
}

func parseDays(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	return uint16(n), err //nolint:gosec // 16 bits were asked for
}

// JSONSchema describes an age to editors.
func (Age) JSONSchema() *jsonschema.Schema {
	return &jsonschema.Schema{Type: "string", Pattern: `^([0-9]+d|([0-9.]+(s|m|h))+)$`}
}

// Pair is one line of [Pairs].
type Pair struct{ Name, Value string }

// Pairs is a table of strings in file order.
type Pairs []Pair

func (p *Pairs) fromTOML(n *node) (wrong string) {
	*p, wrong = pairs(n, false)
	return wrong
}

// JSONSchema describes the table to editors.
func (Pairs) JSONSchema() *jsonschema.Schema {
	return &jsonschema.Schema{Type: "object", AdditionalProperties: &jsonschema.Schema{Type: "string"}}
}

// MultiPairs is a table of strings in file order. A list of strings stands for
// its name several times.
type MultiPairs []Pair

func (p *MultiPairs) fromTOML(n *node) (wrong string) {
	*p, wrong = pairs(n, true)
	return wrong
}

// JSONSchema describes the table to editors.
func (MultiPairs) JSONSchema() *jsonschema.Schema {
	text := &jsonschema.Schema{Type: "string"}
	return &jsonschema.Schema{Type: "object", AdditionalProperties: &jsonschema.Schema{
		OneOf: []*jsonschema.Schema{text, {Type: "array", Items: text}},
	}}
}

func pairs(n *node, lists bool) (all []Pair, wrong string) {
	const want = `a table of strings such as { Name = "value" }`
	if n.kind != kindTable {
		return nil, fmt.Sprintf("%s, not %s", want, n.kind)
	}
	for _, key := range n.keys {
		values := []*node{n.byKey[key]}
		if lists && values[0].kind == kindArray {
			values = values[0].items
		}
		for _, v := range values {
			if v.kind != kindString {
				return nil, fmt.Sprintf("%s; the value of %q is %s", want, key, v.kind)
			}
			all = append(all, Pair{Name: key, Value: v.text})
		}
	}
	return all, ""
}
