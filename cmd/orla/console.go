package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"unicode"

	"golang.org/x/term"
)

// console is where a command reads from and writes to.
type console struct {
	in       io.Reader
	out, err io.Writer
	env      func(string) (string, bool)
}

func systemConsole() *console {
	return &console{in: os.Stdin, out: os.Stdout, err: os.Stderr, env: os.LookupEnv}
}

// isTerminal reports whether a person looks at w.
func (c *console) isTerminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// colour reports whether w may get colours: a terminal that has them, and nobody
// who asked for none (https://no-color.org).
func (c *console) colour(w any) bool {
	return c.getenv("NO_COLOR") == "" && c.getenv("TERM") != "dumb" && c.isTerminal(w)
}

// Colours as terminals know them.
const (
	red    = "31"
	green  = "32"
	yellow = "33"
	grey   = "90"
)

// paint returns text in a colour if out may get colours.
func (c *console) paint(colour, text string) string {
	if !c.colour(c.out) {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

// getenv returns a variable, empty if there is none.
func (c *console) getenv(name string) string {
	v, _ := c.env(name)
	return v
}

func (c *console) printf(format string, args ...any) error {
	_, err := fmt.Fprintf(c.out, format, args...)
	return err
}

// tell prints for a person, beside the result.
func (c *console) tell(format string, args ...any) {
	_, _ = fmt.Fprintf(c.err, format, args...) // there is nowhere else to say that it failed
}

// json prints a value for programs.
func (c *console) json(v any) error {
	enc := json.NewEncoder(c.out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// table prints rows under a header, aligned. Without rows it prints empty.
func (c *console) table(empty string, header []string, rows [][]string) error {
	if len(rows) == 0 {
		return c.printf("%s\n", empty)
	}
	text := new(strings.Builder)
	fmt.Fprintln(text, strings.Join(header, "\t"))
	for _, row := range rows {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = plain(cell)
		}
		fmt.Fprintln(text, strings.TrimRight(strings.Join(cells, "\t"), "\t"))
	}
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	if _, err := io.WriteString(w, text.String()); err != nil {
		return err
	}
	return w.Flush()
}

// plain takes what would move a terminal's cursor out of a text that comes from
// elsewhere.
func plain(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == unicode.ReplacementChar {
			return ' '
		}
		return r
	}, text)
}

// plural returns "1 file", "2 files".
func plural(n uint64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
