package host

import (
	"bytes"
	"context"
	"log/slog"
	"strings"

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
	ctx    context.Context // of the request: an io.Writer is given none
	logger *slog.Logger
	lines  int
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
	if l.lines++; l.lines > MaxLines {
		if l.lines == MaxLines+1 {
			l.logger.LogAttrs(l.ctx, slog.LevelWarn, "guest printed too many lines for one request; dropping the rest",
				slog.String(telemetry.KeyStream, stream))
		}
		return
	}
	if len(line) > MaxLine {
		line = line[:MaxLine] + "…"
	}
	line = strings.ToValidUTF8(line, "\ufffd")
	l.logger.LogAttrs(l.ctx, level, line, slog.String(telemetry.KeyStream, stream)) //nolint:sloglint // the guest's record, not ours
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
