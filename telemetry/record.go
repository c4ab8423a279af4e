package telemetry

import (
	"context"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// The most of a message and of an attribute's value that a Tail keeps, in bytes.
const (
	maxMessage = 16 << 10
	maxValue   = 4 << 10
)

// Record is a log record as a [Tail] returns it. The attribute "app" is left out;
// attributes in groups have the groups' names before theirs: "http.status".
type Record struct {
	Time    time.Time
	Level   slog.Level
	Message string
	Attrs   []Attr
}

// Attr is an attribute of a Record.
type Attr struct {
	Key, Value string
}

func droppedRecord(n int, at time.Time) Record {
	count := strconv.Itoa(n)
	return Record{
		Time: at, Level: slog.LevelWarn,
		Message: "dropped " + count + " records",
		Attrs:   []Attr{{KeyDropped, count}},
	}
}

// entry is a record as it is kept: values that cannot change are formatted when
// somebody reads them, which is seldom.
type entry struct {
	time    time.Time
	level   slog.Level
	message string
	shared  []slog.Attr // of the logger, flat
	own     []slog.Attr // of the record, flat
}

const entryOverhead = 112 // an entry's own size in bytes, about

// size is the memory that e takes, in bytes, about. Attributes of the logger
// count in full although records share them.
func (e *entry) size() int {
	n := entryOverhead + len(e.message)
	for _, attrs := range [2][]slog.Attr{e.shared, e.own} {
		for _, a := range attrs {
			n += 40 + len(a.Key)
			if a.Value.Kind() == slog.KindString {
				n += len(a.Value.String())
			}
		}
	}
	return n
}

func (e *entry) record() Record {
	r := Record{Time: e.time, Level: e.level, Message: e.message, Attrs: make([]Attr, 0, len(e.shared)+len(e.own))}
	for _, attrs := range [2][]slog.Attr{e.shared, e.own} {
		for _, a := range attrs {
			r.Attrs = append(r.Attrs, Attr{a.Key, format(a.Value)})
		}
	}
	return r
}

func format(v slog.Value) string {
	if v.Kind() == slog.KindTime {
		return v.Time().Format(time.RFC3339Nano)
	}
	return v.String()
}

func records(entries []entry) []Record {
	out := make([]Record, len(entries))
	for i := range entries {
		out[i] = entries[i].record()
	}
	return out
}

// Handler returns a handler that writes to t the records that have the attribute
// "app" outside any group, their own or their logger's, and takes no notice of
// others. It is enabled for every level.
func (t *Tail) Handler() slog.Handler { return &tailHandler{tail: t} }

type tailHandler struct {
	tail   *Tail
	app    string
	prefix string      // the open groups' names, each with a dot
	shared []slog.Attr // flat, without "app"
}

// Enabled implements [slog.Handler].
func (h *tailHandler) Enabled(context.Context, slog.Level) bool { return true }

// Handle implements [slog.Handler].
func (h *tailHandler) Handle(_ context.Context, r slog.Record) error {
	app := h.app
	if h.prefix == "" {
		r.Attrs(func(a slog.Attr) bool {
			if a.Key == KeyApp {
				app = a.Value.Resolve().String()
			}
			return true
		})
	}
	if app == "" {
		return nil
	}
	e := entry{time: r.Time, level: r.Level, message: clip(r.Message, maxMessage), shared: h.shared}
	if n := r.NumAttrs(); n > 0 {
		e.own = make([]slog.Attr, 0, n)
		r.Attrs(func(a slog.Attr) bool {
			e.own = flatten(e.own, h.prefix, a)
			return true
		})
	}
	h.tail.write(app, e)
	return nil
}

// WithAttrs implements [slog.Handler].
func (h *tailHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *h
	c.shared = slices.Clone(h.shared)
	for _, a := range attrs {
		if h.prefix == "" && a.Key == KeyApp {
			c.app = a.Value.Resolve().String()
		}
		c.shared = flatten(c.shared, h.prefix, a)
	}
	return &c
}

// WithGroup implements [slog.Handler].
func (h *tailHandler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	c := *h
	c.prefix = h.prefix + name + "."
	return &c
}

// flatten appends a to dst, a group as its members, with values that nobody can
// change any more and that are not longer than maxValue. It leaves "app" out.
func flatten(dst []slog.Attr, prefix string, a slog.Attr) []slog.Attr {
	v := a.Value.Resolve()
	switch {
	case v.Kind() == slog.KindGroup:
		if a.Key != "" {
			prefix += a.Key + "."
		}
		for _, inner := range v.Group() {
			dst = flatten(dst, prefix, inner)
		}
		return dst
	case a.Equal(slog.Attr{}), prefix == "" && a.Key == KeyApp:
		return dst
	case v.Kind() == slog.KindAny, v.Kind() == slog.KindString:
		v = slog.StringValue(clip(v.String(), maxValue))
	}
	if prefix != "" {
		a.Key = prefix + a.Key
	}
	return append(dst, slog.Attr{Key: a.Key, Value: v})
}

// clip returns s, or a copy of its beginning if it has more than limit bytes: a
// copy, lest all of it is kept.
func clip(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	cut := limit
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return strings.Clone(s[:cut]) + "…"
}
