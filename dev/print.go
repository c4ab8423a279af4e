package dev

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/orla-edge/orla/app"
)

// natsMessage begins what a node passes on of its NATS server's log.
const natsMessage = "embedded NATS server"

// Colours as terminals know them.
const (
	red    = "31"
	green  = "32"
	yellow = "33"
	grey   = "90"
)

// printer writes lines, each with the name of who says it before it. It is safe for
// concurrent use.
type printer struct {
	colour  bool
	verbose bool

	mu      sync.Mutex // guards what follows
	w       io.Writer
	holding bool
	held    []string // lines, at most maxHeld
}

// maxHeld is how many of the nodes' lines are kept while they start.
const maxHeld = 200

func newPrinter(cfg Config) *printer {
	return &printer{w: cfg.Out, colour: cfg.Colour, verbose: cfg.Verbose}
}

func (p *printer) say(format string, args ...any)  { p.line("dev", fmt.Sprintf(format, args...)) }
func (p *printer) good(format string, args ...any) { p.painted(green, format, args...) }
func (p *printer) warn(format string, args ...any) { p.painted(yellow, format, args...) }

func (p *printer) painted(colour, format string, args ...any) {
	p.line("dev", p.paint(colour, fmt.Sprintf(format, args...)))
}

func (p *printer) line(who, text string) { p.write(p.begin(who) + text + "\n") }

// begin is what a line of somebody begins with.
func (p *printer) begin(who string) string { return p.paint(grey, fmt.Sprintf("%-4s", who)) }

// problem prints an error as an editor reads it: what a person can mend begins a line
// with file and line number.
func (p *printer) problem(err error) {
	if problems, ok := errors.AsType[app.Problems](err); ok {
		p.write(p.paint(red, problems.Error()) + "\n")
		return
	}
	p.line("dev", p.paint(red, err.Error()))
}

// raw takes the output of the build as it is: compilers begin a line with file and
// line number too.
func (p *printer) raw() io.Writer { return rawWriter{p} }

type rawWriter struct{ p *printer }

// Write implements [io.Writer].
func (w rawWriter) Write(b []byte) (int, error) {
	w.p.mu.Lock()
	defer w.p.mu.Unlock()
	return w.p.w.Write(b)
}

func (p *printer) write(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _ = io.WriteString(p.w, text) // there is nowhere else to say that it failed
}

func (p *printer) paint(colour, text string) string {
	if !p.colour {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

// hold keeps to itself what the nodes warn of: members of a cluster that start miss each
// other at first. It is printed if the start fails: see release.
func (p *printer) hold() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.holding = true
}

// release ends hold, and prints what was kept if show says so.
func (p *printer) release(show bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if show {
		_, _ = io.WriteString(p.w, strings.Join(p.held, "")) // as in write
	}
	p.holding, p.held = false, nil
}

// warning prints a line of a node, or keeps it.
func (p *printer) warning(who, text string) {
	p.mu.Lock()
	holding := p.holding && !p.verbose
	if holding && len(p.held) < maxHeld {
		p.held = append(p.held, p.begin(who)+text+"\n")
	}
	p.mu.Unlock()
	if !holding {
		p.line(who, text)
	}
}

// record prints a line of a node's log and reports whether it was a record. What the
// node says of itself is shown from warnings up, if not all of it is asked for; what
// concerns the app is shown always.
func (p *printer) record(who string, line []byte) bool {
	var r map[string]any
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.UseNumber()
	if err := dec.Decode(&r); err != nil || r["msg"] == nil {
		p.line(who, plain(string(line)))
		return false
	}
	level, message := text(r["level"]), plain(text(r["msg"]))
	delete(r, "time")
	delete(r, "level")
	delete(r, "msg")
	switch {
	case r["listener"] == "admin" && !p.verbose: // what dev itself asks
	case message == "request" && r["status"] != nil:
		p.line(who, p.request(r))
	case r["stream"] != nil:
		p.line(who, p.paint(levelColour(level), text(r["function"])+": "+message))
	case level == "WARN" && strings.HasPrefix(message, natsMessage) && !p.verbose:
		// It says of each try what dev and the node say once.
	case level == "WARN" || level == "ERROR" || p.verbose:
		p.warning(who, p.paint(levelColour(level), message)+p.attributes(r))
	}
	return true
}

func text(v any) string {
	if v == nil {
		return ""
	}
	return fmt.Sprint(v)
}

func levelColour(level string) string {
	switch level {
	case "ERROR":
		return red
	case "WARN":
		return yellow
	}
	return "0"
}

// request is the access log in short.
func (p *printer) request(r map[string]any) string {
	colour := "0"
	switch status := text(r["status"]); status[:min(len(status), 1)] {
	case "5":
		colour = red
	case "4":
		colour = yellow
	}
	out := p.paint(colour, plain(fmt.Sprintf("%s %s %s", text(r["method"]), text(r["path"]), text(r["status"]))))
	var rest []string
	if n, ok := r["duration"].(json.Number); ok {
		if seconds, err := n.Float64(); err == nil {
			rest = append(rest, time.Duration(seconds*float64(time.Second)).Round(10*time.Microsecond).String())
		}
	}
	for _, key := range []string{"function", "upstream", "limit", "error"} {
		if v := text(r[key]); v != "" {
			rest = append(rest, plain(v))
		}
	}
	return out + " " + p.paint(grey, strings.Join(rest, " "))
}

func (p *printer) attributes(r map[string]any) string {
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(r)) {
		fmt.Fprintf(&b, " %s%s", p.paint(grey, plain(key)+"="), plain(text(r[key])))
	}
	return b.String()
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
