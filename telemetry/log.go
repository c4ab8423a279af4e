package telemetry

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"

	"go.opentelemetry.io/otel/trace"
)

// newOutput returns the handler that writes to c.Output. Its level is the
// caller's business.
func newOutput(c Config) (slog.Handler, error) {
	w := c.Output
	if w == nil {
		w = io.Writer(os.Stderr)
	}
	opts := &slog.HandlerOptions{Level: slog.Level(-1 << 10)}
	switch cmp.Or(c.Format, "text") {
	case "text":
		opts.ReplaceAttr = shortTime
		return slog.NewTextHandler(w, opts), nil
	case "json":
		opts.ReplaceAttr = secondsOf
		return slog.NewJSONHandler(w, opts), nil
	}
	return nil, fmt.Errorf("log format %q is not known: use text or json", c.Format)
}

// shortTime writes the time of day alone: a terminal's reader knows the date, a
// journal adds its own.
func shortTime(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey && a.Value.Kind() == slog.KindTime {
		return slog.String(slog.TimeKey, a.Value.Time().Format("15:04:05.000"))
	}
	return a
}

// secondsOf writes durations in seconds, the unit of the metrics.
func secondsOf(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		return slog.Float64(a.Key, a.Value.Duration().Seconds())
	}
	return a
}

// newHandler puts the log's handlers together: the output and the tail, which
// get trace ids as attributes, and, unless it is nil, exported, which has its own
// fields for them.
func newHandler(out slog.Handler, tail *Tail, exported slog.Handler, level slog.Leveler) slog.Handler {
	var next slog.Handler = traced{slog.NewMultiHandler(out, tail.Handler())}
	if exported != nil {
		next = slog.NewMultiHandler(next, exported)
	}
	return front{next, levelOr(level)}
}

// newLocalHandler is newHandler for what exporters themselves have to say: were
// it exported, each failure would make the next.
func newLocalHandler(out slog.Handler, tail *Tail, level slog.Leveler) slog.Handler {
	return newHandler(out, tail, nil, level)
}

func levelOr(l slog.Leveler) slog.Leveler {
	if l == nil {
		return slog.LevelInfo
	}
	return l
}

// front decides about the level for all handlers behind it, and keeps the values
// of attributes that are called like secrets from all of them.
type front struct {
	next  slog.Handler
	level slog.Leveler
}

// Enabled implements [slog.Handler].
func (h front) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level.Level() }

// Handle implements [slog.Handler].
func (h front) Handle(ctx context.Context, r slog.Record) error {
	found := false
	r.Attrs(func(a slog.Attr) bool {
		found = isSecret(a)
		return !found
	})
	if found {
		clean := slog.NewRecord(r.Time, r.Level, r.Message, r.PC)
		r.Attrs(func(a slog.Attr) bool {
			clean.AddAttrs(redact(a))
			return true
		})
		r = clean
	}
	return h.next.Handle(ctx, r)
}

// WithAttrs implements [slog.Handler].
func (h front) WithAttrs(attrs []slog.Attr) slog.Handler {
	if slices.ContainsFunc(attrs, isSecret) {
		attrs = slices.Clone(attrs)
		for i, a := range attrs {
			attrs[i] = redact(a)
		}
	}
	return front{h.next.WithAttrs(attrs), h.level}
}

// WithGroup implements [slog.Handler].
func (h front) WithGroup(name string) slog.Handler { return front{h.next.WithGroup(name), h.level} }

// isSecret reports whether a, or an attribute of the group that it is, is called
// like a secret. Keys are constants in lower case, so that equality is enough.
func isSecret(a slog.Attr) bool {
	switch a.Key {
	case "authorization", "cookie", "set-cookie", "password", "secret", "token", "private_key":
		return true
	}
	return a.Value.Kind() == slog.KindGroup && slices.ContainsFunc(a.Value.Group(), isSecret)
}

// redact returns a with the values of what isSecret finds replaced.
func redact(a slog.Attr) slog.Attr {
	switch {
	case !isSecret(a):
		return a
	case a.Value.Kind() != slog.KindGroup:
		return slog.String(a.Key, "[redacted]")
	}
	inner := slices.Clone(a.Value.Group())
	for i := range inner {
		inner[i] = redact(inner[i])
	}
	return slog.Attr{Key: a.Key, Value: slog.GroupValue(inner...)}
}

// traced adds the ids of the span that a record was written in.
type traced struct{ next slog.Handler }

// Enabled implements [slog.Handler].
func (h traced) Enabled(ctx context.Context, l slog.Level) bool { return h.next.Enabled(ctx, l) }

// Handle implements [slog.Handler].
func (h traced) Handle(ctx context.Context, r slog.Record) error {
	if sc := trace.SpanContextFromContext(ctx); sc.IsValid() {
		r = r.Clone()
		r.AddAttrs(
			slog.String(KeyTraceID, sc.TraceID().String()),
			slog.String(KeySpanID, sc.SpanID().String()),
		)
	}
	return h.next.Handle(ctx, r)
}

// WithAttrs implements [slog.Handler].
func (h traced) WithAttrs(attrs []slog.Attr) slog.Handler { return traced{h.next.WithAttrs(attrs)} }

// WithGroup implements [slog.Handler].
func (h traced) WithGroup(name string) slog.Handler { return traced{h.next.WithGroup(name)} }
