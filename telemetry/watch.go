package telemetry

import (
	"context"
	"log/slog"
	"sync"
	"time"

	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// complainEvery is how often a failing exporter is mentioned in the log.
const complainEvery = time.Minute

// watched stands around an exporter's calls. It logs failures to the local log,
// at most once a minute, where the SDK would hand them to its process-wide error
// handler, and it cuts off calls when shutdown's patience ends.
type watched struct {
	log     *slog.Logger
	signal  string
	stopped context.Context

	mu     sync.Mutex // guards what follows
	failed int        // since the last success
	told   time.Time
}

func (b builder) watch(signal string) *watched {
	return &watched{log: b.log, signal: signal, stopped: b.stopped}
}

// do calls export and swallows its error, which has been logged.
func (w *watched) do(ctx context.Context, export func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(w.stopped, cancel)()
	if w.stopped.Err() != nil {
		return nil
	}
	w.report(export(ctx))
	return nil
}

func (w *watched) report(err error) {
	w.mu.Lock()
	failed, told := w.failed, w.told
	w.failed++
	speak := failed == 0 || time.Since(told) >= complainEvery
	switch {
	case err == nil:
		w.failed, w.told = 0, time.Time{}
	case speak:
		w.told = time.Now()
	}
	w.mu.Unlock()
	switch {
	case err == nil && failed > 0:
		w.log.Info("export works again", slog.String(KeySignal, w.signal), slog.Int(KeyCount, failed))
	case err != nil && speak:
		w.log.Warn("export failed", slog.String(KeySignal, w.signal), slog.Int(KeyCount, failed+1), slog.Any(KeyError, err))
	}
}

type spanExporter struct {
	sdktrace.SpanExporter
	watched *watched
}

// ExportSpans implements [sdktrace.SpanExporter].
func (e *spanExporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	return e.watched.do(ctx, func(ctx context.Context) error { return e.SpanExporter.ExportSpans(ctx, spans) })
}

type metricExporter struct {
	sdkmetric.Exporter
	watched *watched
}

// Export implements [sdkmetric.Exporter].
func (e *metricExporter) Export(ctx context.Context, m *metricdata.ResourceMetrics) error {
	return e.watched.do(ctx, func(ctx context.Context) error { return e.Exporter.Export(ctx, m) })
}

type logExporter struct {
	sdklog.Exporter
	watched *watched
}

// Export implements [sdklog.Exporter].
func (e *logExporter) Export(ctx context.Context, records []sdklog.Record) error {
	return e.watched.do(ctx, func(ctx context.Context) error { return e.Exporter.Export(ctx, records) })
}
