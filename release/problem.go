package release

import (
	"fmt"
	"strings"
)

// maxProblems is how many problems are reported of one manifest.
const maxProblems = 100

// Problem is one thing in a manifest that its author has to mend.
type Problem struct {
	// Field is where it stands: "routes[2].match.path", "functions.api.module",
	// "site.files[/a.css]". Empty means the manifest as a whole.
	Field string
	// Message says what is wrong and what to do.
	Message string
}

// Problems is an error with everything that was found.
type Problems []Problem

// Error returns one line for each problem.
func (ps Problems) Error() string {
	var b strings.Builder
	for i, p := range ps {
		if i > 0 {
			b.WriteByte('\n')
		}
		if p.Field != "" {
			b.WriteString(p.Field + ": ")
		}
		b.WriteString(p.Message)
	}
	return b.String()
}

// findings collects problems up to a limit, for a stranger could have a node
// write one for each byte it is sent.
type findings struct {
	problems Problems
	more     int // found beyond the limit
	compared int // how often the nearest name was looked for, which is dear
}

func (f *findings) reject(field, format string, args ...any) {
	if len(f.problems) == maxProblems {
		f.more++
		return
	}
	f.problems = append(f.problems, Problem{Field: field, Message: fmt.Sprintf(format, args...)})
}

// rejectError takes an error of router for its message.
func (f *findings) rejectError(field string, err error) {
	f.reject(field, "%s", strings.TrimPrefix(err.Error(), "router: "))
}

// all returns what was found; nil if nothing was.
func (f *findings) all() Problems {
	if f.more > 0 {
		return append(f.problems, Problem{Message: fmt.Sprintf("there are %d more problems; mend these first", f.more)})
	}
	return f.problems
}

// quote quotes what a stranger wrote, a long text cut short.
func quote(s string) string {
	const most = 100
	if len(s) > most {
		return fmt.Sprintf("%q…", s[:most])
	}
	return fmt.Sprintf("%q", s)
}

// didYouMean returns a clause that names the nearest of known, or all of a few,
// or what to say if there are none. It says nothing when nothing will be
// reported.
func (f *findings) didYouMean(word string, known []string, none string) string {
	const few = 5
	if len(f.problems) == maxProblems {
		return ""
	}
	f.compared++
	switch near := Nearest(word, known); {
	case near != "":
		return fmt.Sprintf("did you mean %q?", near)
	case len(known) == 0:
		return none
	case len(known) <= few:
		return fmt.Sprintf("there are only %q", known)
	}
	return fmt.Sprintf("none of the %d that there are is like it", len(known))
}
