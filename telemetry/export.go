package telemetry

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"

	"go.opentelemetry.io/contrib/bridges/otelslog"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploggrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploghttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/exporters/stdout/stdoutlog"
	"go.opentelemetry.io/otel/exporters/stdout/stdoutmetric"
	"go.opentelemetry.io/otel/exporters/stdout/stdouttrace"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// scope is the instrumentation scope of exported log records.
const scope = "github.com/orla-edge/orla"

// The three signals, as the OTEL_* variables and the log spell them.
const (
	traces  = "traces"
	metrics = "metrics"
	logs    = "logs"
)

// The exporters that OTEL_{TRACES,METRICS,LOGS}_EXPORTER may list, with the
// OTLP exporter's protocol resolved.
const (
	exportHTTP    = "otlp over http/protobuf"
	exportGRPC    = "otlp over grpc"
	exportConsole = "console"
)

// builder makes the providers. contrib's autoexport is not used: its metric
// reader hides the exporter, so that an unreachable collector could only be
// heard of through OpenTelemetry's global error handler, which belongs to the
// process and not to a node.
type builder struct {
	log     *slog.Logger
	stopped context.Context
	res     *resource.Resource
}

func (b builder) tracerProvider(ctx context.Context, t *Telemetry) (trace.TracerProvider, error) {
	kinds, err := exportersFor(traces)
	if err != nil || len(kinds) == 0 {
		return noop.NewTracerProvider(), err
	}
	opts := []sdktrace.TracerProviderOption{sdktrace.WithResource(b.res)}
	for _, kind := range kinds {
		e, err := newSpanExporter(ctx, kind)
		if err != nil {
			return nil, fmt.Errorf("start traces exporter, %s: %w", kind, err)
		}
		opts = append(opts, sdktrace.WithBatcher(&spanExporter{e, b.watch(traces)}))
	}
	p := sdktrace.NewTracerProvider(opts...)
	t.closers = append(t.closers, p.Shutdown)
	return p, nil
}

func (b builder) meterProvider(ctx context.Context, t *Telemetry) (*sdkmetric.MeterProvider, error) {
	kinds, err := exportersFor(metrics)
	if err != nil {
		return nil, err
	}
	scraped, err := newPrometheusReader(t.metrics)
	if err != nil {
		return nil, fmt.Errorf("start Prometheus reader: %w", err)
	}
	opts := []sdkmetric.Option{
		sdkmetric.WithResource(b.res),
		sdkmetric.WithReader(scraped),
		sdkmetric.WithView(durations(), sizes()),
		sdkmetric.WithCardinalityLimit(maxSeries),
	}
	for _, kind := range kinds {
		e, err := newMetricExporter(ctx, kind)
		if err != nil {
			return nil, fmt.Errorf("start metrics exporter, %s: %w", kind, err)
		}
		opts = append(opts, sdkmetric.WithReader(sdkmetric.NewPeriodicReader(&metricExporter{e, b.watch(metrics)})))
	}
	p := sdkmetric.NewMeterProvider(opts...)
	t.closers = append(t.closers, p.Shutdown)
	return p, nil
}

// logHandler returns nil if no logs exporter is asked for.
func (b builder) logHandler(ctx context.Context, t *Telemetry) (slog.Handler, error) {
	kinds, err := exportersFor(logs)
	if err != nil || len(kinds) == 0 {
		return nil, err
	}
	opts := []sdklog.LoggerProviderOption{sdklog.WithResource(b.res)}
	for _, kind := range kinds {
		e, err := newLogExporter(ctx, kind)
		if err != nil {
			return nil, fmt.Errorf("start logs exporter, %s: %w", kind, err)
		}
		opts = append(opts, sdklog.WithProcessor(sdklog.NewBatchProcessor(&logExporter{e, b.watch(logs)})))
	}
	p := sdklog.NewLoggerProvider(opts...)
	t.closers = append(t.closers, p.Shutdown)
	return otelslog.NewHandler(scope, otelslog.WithLoggerProvider(p)), nil
}

func newSpanExporter(ctx context.Context, kind string) (sdktrace.SpanExporter, error) {
	switch kind {
	case exportGRPC:
		return otlptracegrpc.New(ctx)
	case exportConsole:
		return stdouttrace.New()
	}
	return otlptracehttp.New(ctx)
}

func newMetricExporter(ctx context.Context, kind string) (sdkmetric.Exporter, error) {
	switch kind {
	case exportGRPC:
		return otlpmetricgrpc.New(ctx)
	case exportConsole:
		return stdoutmetric.New()
	}
	return otlpmetrichttp.New(ctx)
}

func newLogExporter(ctx context.Context, kind string) (sdklog.Exporter, error) {
	switch kind {
	case exportGRPC:
		return otlploggrpc.New(ctx)
	case exportConsole:
		return stdoutlog.New()
	}
	return otlploghttp.New(ctx)
}

// exportersFor reads from the environment which exporters a signal is to have:
// OTEL_SDK_DISABLED, then OTEL_{SIGNAL}_EXPORTER, then whether an OTLP endpoint
// is given. "prometheus" is accepted for metrics and adds nothing: /metrics is
// always there.
func exportersFor(signal string) ([]string, error) {
	disabled, err := strconv.ParseBool(os.Getenv("OTEL_SDK_DISABLED"))
	if err == nil && disabled {
		return nil, nil
	}
	upper := strings.ToUpper(signal)
	name := "OTEL_" + upper + "_EXPORTER"
	list := os.Getenv(name)
	if list == "" && (os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || os.Getenv("OTEL_EXPORTER_OTLP_"+upper+"_ENDPOINT") != "") {
		list = "otlp"
	}
	var kinds []string
	for item := range strings.SplitSeq(list, ",") {
		kind, err := exporterKind(signal, strings.TrimSpace(item))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if kind != "" && !slices.Contains(kinds, kind) {
			kinds = append(kinds, kind)
		}
	}
	return kinds, nil
}

func exporterKind(signal, item string) (string, error) {
	switch {
	case item == "otlp":
		return otlpKind(signal)
	case item == "console":
		return exportConsole, nil
	case item == "", item == "none", item == "prometheus" && signal == metrics:
		return "", nil
	}
	return "", fmt.Errorf("exporter %q is not known: use otlp, console or none", item)
}

func otlpKind(signal string) (string, error) {
	own := "OTEL_EXPORTER_OTLP_" + strings.ToUpper(signal) + "_PROTOCOL"
	for _, name := range []string{own, "OTEL_EXPORTER_OTLP_PROTOCOL"} {
		switch v := os.Getenv(name); v {
		case "":
		case "http/protobuf":
			return exportHTTP, nil
		case "grpc":
			return exportGRPC, nil
		default:
			return "", fmt.Errorf("%s: protocol %q is not known: use http/protobuf or grpc", name, v)
		}
	}
	return exportHTTP, nil
}
