package guest

import (
	"bytes"
	"context"
	"log/slog"
	"time"
)

// The levels of the host's log.
const (
	levelDebug = -1
	levelInfo  = 0
	levelWarn  = 1
	levelError = 2
)

// hostLevel returns the host's level for l.
func hostLevel(l slog.Level) int32 {
	switch {
	case l < slog.LevelInfo:
		return levelDebug
	case l < slog.LevelWarn:
		return levelInfo
	case l < slog.LevelError:
		return levelWarn
	}
	return levelError
}

// LogHandler returns a handler that writes records to the node's log under their own
// level, as text. Natively it writes to standard error.
//
//	slog.SetDefault(slog.New(guest.LogHandler()))
func LogHandler() slog.Handler {
	return &logHandler{with: func(h slog.Handler) slog.Handler { return h }}
}

// logHandler formats each record with a text handler. The node has time and level
// already.
type logHandler struct {
	// with applies the attributes and groups collected so far.
	with func(slog.Handler) slog.Handler
}

// Enabled implements [slog.Handler].
func (*logHandler) Enabled(_ context.Context, l slog.Level) bool { return logEnabled(hostLevel(l)) }

// Handle implements [slog.Handler].
func (h *logHandler) Handle(ctx context.Context, r slog.Record) error {
	var b bytes.Buffer
	text := slog.NewTextHandler(&b, &slog.HandlerOptions{
		Level: slog.Level(-128),
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			_, level := a.Value.Any().(slog.Level)
			own := a.Key == slog.LevelKey && level || a.Key == slog.MessageKey && a.Value.String() == r.Message
			if len(groups) == 0 && own {
				return slog.Attr{}
			}
			return a
		},
	})
	r.Time = time.Time{} // left out
	if err := h.with(text).Handle(ctx, r); err != nil {
		return err
	}
	line := r.Message
	if attrs := bytes.TrimSpace(b.Bytes()); len(attrs) > 0 {
		line += " " + string(attrs)
	}
	logLine(hostLevel(r.Level), line)
	return nil
}

// WithAttrs implements [slog.Handler].
func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &logHandler{with: func(to slog.Handler) slog.Handler { return h.with(to).WithAttrs(attrs) }}
}

// WithGroup implements [slog.Handler].
func (h *logHandler) WithGroup(name string) slog.Handler {
	return &logHandler{with: func(to slog.Handler) slog.Handler { return h.with(to).WithGroup(name) }}
}
