package certs

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"go.uber.org/zap/zapcore"
)

// bridge writes certmagic's log into ours. What it did is Debug here, for it
// happens all the time; what failed keeps its level.
type bridge struct {
	next slog.Handler
	with []zapcore.Field
}

var _ zapcore.Core = bridge{}

func newBridge(log *slog.Logger) zapcore.Core { return bridge{next: log.Handler()} }

func slogLevel(l zapcore.Level) slog.Level {
	switch {
	case l >= zapcore.ErrorLevel:
		return slog.LevelError
	case l == zapcore.WarnLevel:
		return slog.LevelWarn
	}
	return slog.LevelDebug
}

// Enabled implements [zapcore.Core].
func (b bridge) Enabled(l zapcore.Level) bool {
	return b.next.Enabled(context.Background(), slogLevel(l))
}

// With implements [zapcore.Core].
func (b bridge) With(fields []zapcore.Field) zapcore.Core {
	return bridge{next: b.next, with: slices.Concat(b.with, fields)}
}

// Check implements [zapcore.Core].
func (b bridge) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if b.Enabled(e.Level) {
		return ce.AddCore(e, b)
	}
	return ce
}

// Write implements [zapcore.Core].
func (b bridge) Write(e zapcore.Entry, fields []zapcore.Field) error {
	enc := zapcore.NewMapObjectEncoder()
	for _, f := range slices.Concat(b.with, fields) {
		f.AddTo(enc)
	}
	r := slog.NewRecord(e.Time, slogLevel(e.Level), "certmagic: "+strings.ToLower(e.Message), 0)
	for _, key := range slices.Sorted(maps.Keys(enc.Fields)) {
		r.AddAttrs(slog.Any(key, enc.Fields[key]))
	}
	return b.next.Handle(context.Background(), r)
}

// Sync implements [zapcore.Core].
func (b bridge) Sync() error { return nil }
