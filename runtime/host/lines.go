package host

import (
	"bytes"
	"context"
	"log/slog"
	"strings"

	"golang.org/x/time/rate"

	"github.com/orla-edge/orla/telemetry"
)

const (
	// MaxLine is the length in bytes at which a line that a guest prints is cut.
	MaxLine = 8 << 10
	// MaxLines is how many lines of one request reach the log.
	MaxLines = 1000
)

// Log is where the lines of one guest in one request go. It is not safe for
// concurrent use: a guest has one thread.
type Log struct {
	// MaxBytes is how much of one request reaches the log; zero means no bound but
	// MaxLines.
	MaxBytes int64
	// Rate bounds the lines of all requests of a function; nil means no bound.
	Rate *rate.Limiter
	// Attr is added to each record, if it has a key.
	Attr slog.Attr
	// Dropped is told once, with the limit's name, when lines are dropped; it may be nil.
	Dropped func(limit string)

	ctx    context.Context // of the request: an io.Writer is given none
	logger *slog.Logger
	lines  int
	bytes  int64
	full   bool
}

// NewLog returns a Log that writes to logger, which carries the attributes of the
// request. The context gives the records their trace.
func NewLog(ctx context.Context, logger *slog.Logger) *Log {
	return &Log{ctx: ctx, logger: logger}
}

// Enabled reports whether lines of that level reach the log.
func (l *Log) Enabled(level slog.Level) bool { return l.logger.Enabled(l.ctx, level) }

// Line logs one line. The line itself is the message: it is the guest's record.
func (l *Log) Line(level slog.Level, stream, line string) {
	if len(line) > MaxLine {
		line = line[:MaxLine] + "…"
	}
	l.lines++
	l.bytes += int64(len(line))
	switch {
	case l.full:
	case l.lines > MaxLines, l.MaxBytes > 0 && l.bytes > l.MaxBytes:
		l.drop(stream, "log", "guest printed too much for one request; dropping the rest")
	case l.Rate != nil && !l.Rate.Allow():
		l.drop(stream, "log_rate", "function prints more lines a second than it may; dropping the rest of this request's")
	default:
		line = strings.ToValidUTF8(line, "\ufffd")
		l.record(level, line, slog.String(telemetry.KeyStream, stream))
	}
}

// drop ends the request's log with a record that says why.
func (l *Log) drop(stream, limit, message string) {
	l.full = true
	if l.Dropped != nil {
		l.Dropped(limit)
	}
	l.record(slog.LevelWarn, message, slog.String(telemetry.KeyStream, stream), slog.String(telemetry.KeyLimit, limit))
}

func (l *Log) record(level slog.Level, message string, attrs ...slog.Attr) {
	if l.Attr.Key != "" {
		attrs = append([]slog.Attr{l.Attr}, attrs...)
	}
	l.logger.LogAttrs(l.ctx, level, message, attrs...) //nolint:sloglint // the guest's record, not ours
}

// Stream returns a writer that logs what it is given line by line. Flush logs what
// has no line end yet.
func (l *Log) Stream(name string) *Lines { return &Lines{log: l, stream: name} }

// Lines is an [io.Writer] that splits into lines.
type Lines struct {
	log    *Log
	stream string
	part   []byte // of the line being written, at most MaxLine+1 bytes
}

// Write logs the lines that p completes.
func (w *Lines) Write(p []byte) (int, error) {
	n := len(p)
	for {
		line, rest, found := bytes.Cut(p, []byte{'\n'})
		w.part = append(w.part, line[:min(len(line), MaxLine+1-len(w.part))]...)
		if !found {
			return n, nil
		}
		w.Flush()
		p = rest
	}
}

// Flush ends the line that is being written, if one is.
func (w *Lines) Flush() {
	if line := bytes.TrimRight(w.part, "\r"); len(line) > 0 {
		w.log.Line(slog.LevelInfo, w.stream, string(line))
	}
	w.part = w.part[:0]
}
