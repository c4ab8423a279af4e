package document

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is one thing that a person has to mend. Its message says how.
type Problem struct {
	// File is the path as the person gave it; empty if the problem is in none.
	File string
	// Line counts from 1; zero means the file as a whole.
	Line int
	// Column counts bytes from 1; zero means the whole line.
	Column int
	// Field is where the problem stands: "functions.api.memory",
	// "routes[2].match.path". It may be empty.
	Field   string
	Message string
}

// String returns "orla.toml:14: message".
func (p Problem) String() string {
	switch {
	case p.File == "":
		return p.Message
	case p.Line == 0:
		return p.File + ": " + p.Message
	case p.Column == 0:
		return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Message)
	}
	return fmt.Sprintf("%s:%d:%d: %s", p.File, p.Line, p.Column, p.Message)
}

// Problems is everything found wrong. As an error it prints one problem a line.
type Problems []Problem

// Error returns the problems, one a line.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i := range p {
		lines[i] = p[i].String()
	}
	return strings.Join(lines, "\n")
}

// Err returns p as an error, or nil if p is empty.
func (p Problems) Err() error {
	if len(p) == 0 {
		return nil
	}
	return p
}

// Sort orders the problems by line within each file; files keep the order in
// which they were first named.
func (p Problems) Sort() {
	rank := make(map[string]int)
	for i := range p {
		if _, ok := rank[p[i].File]; !ok {
			rank[p[i].File] = len(rank)
		}
	}
	slices.SortStableFunc(p, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(rank[a.File], rank[b.File]), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}

// Covers reports whether p already says something about field: the field
// itself, something in it, or something that it is part of.
func (p Problems) Covers(field string) bool {
	return slices.ContainsFunc(p, func(q Problem) bool {
		return q.Field != "" && (within(field, q.Field) || within(q.Field, field))
	})
}

// within reports whether field is outer or a part of it.
func within(field, outer string) bool {
	rest, ok := strings.CutPrefix(field, outer)
	return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

// parent returns the field that field is a part of, empty at the top.
func parent(field string) string {
	return field[:max(0, strings.LastIndexAny(field, ".["))]
}
