package router

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Step is one route that a match considers.
type Step struct {
	Index   int    // of the route
	Matched bool   // it is the winner
	Reason  string // why it is not: "method GET is not POST"
}

// Explain returns every route in order of precedence and says of each why it
// does not win. It is for people and takes its time.
func (t *Tree) Explain(r *Request) []Step {
	order := make([]*rule, len(t.rules))
	for i := range t.rules {
		order[i] = &t.rules[i]
	}
	slices.SortFunc(order, func(a, b *rule) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), comparePaths(&a.path, &b.path), compareConditions(a, b))
	})
	steps := make([]Step, len(order))
	var winner *rule
	for i, rule := range order {
		reason := t.mismatch(rule, r)
		switch {
		case reason == "" && winner == nil:
			winner = rule
		case reason == "":
			reason = fmt.Sprintf("it matches too, but %s comes first", winner.path)
		}
		steps[i] = Step{Index: rule.index, Matched: rule == winner, Reason: reason}
	}
	return steps
}

// comparePaths orders patterns so that of those that match one path the one that
// a match tries first comes first.
func comparePaths(a, b *Pattern) int {
	for i := 0; ; i++ {
		rankA, textA := a.rank(i)
		rankB, textB := b.rank(i)
		if c := cmp.Or(cmp.Compare(rankA, rankB), strings.Compare(textA, textB)); c != 0 {
			return c
		}
		if rankA >= rankEnd {
			return 0
		}
	}
}

// What may stand at a segment's place, first come first.
const (
	rankLiteral = iota
	rankParam
	rankEnd
	rankStar
)

func (p *Pattern) rank(i int) (rank int, literal string) {
	switch {
	case i == len(p.segments) && p.exact:
		return rankEnd, ""
	case i == len(p.segments):
		return rankStar, ""
	case p.segments[i].param:
		return rankParam, ""
	}
	return rankLiteral, p.segments[i].text
}

// mismatch says why rule does not match r; "" if it does.
func (t *Tree) mismatch(rule *rule, r *Request) string {
	if !strings.HasPrefix(r.Path, "/") || !rule.path.matches(r.Path) {
		return fmt.Sprintf("path %s does not match %s", r.Path, rule.path)
	}
	if rule.methods != 0 && rule.methods&t.methodBit(r.Method) == 0 {
		return fmt.Sprintf("method %s is not %s", r.Method, alternatives(t.methodNames(rule.methods)))
	}
	for _, c := range rule.headers {
		lines := r.Header[c.Name]
		if len(lines) == 0 {
			return fmt.Sprintf("header %s is missing, want %q", c.Name, c.Value)
		}
		if !slices.Contains(lines, c.Value) {
			return fmt.Sprintf("header %s is %q, want %q", c.Name, strings.Join(lines, ", "), c.Value)
		}
	}
	for _, c := range rule.query {
		value, ok := findQuery(r.RawQuery, c.Name)
		if !ok {
			return fmt.Sprintf("query parameter %s is missing, want %q", c.Name, c.Value)
		}
		if !queryEqual(value, c.Value) {
			return fmt.Sprintf("query parameter %s is %q, want %q", c.Name, value, c.Value)
		}
	}
	return r.ClientCert.mismatch(rule.cert)
}

// alternatives returns "A", "A or B", "A, B or C".
func alternatives(names []string) string {
	last := len(names) - 1
	if last < 1 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:last], ", ") + " or " + names[last]
}
