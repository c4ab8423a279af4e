package telemetry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

// Config says what a node's telemetry is made of. What goes out over OTLP is
// decided by the OTEL_* environment variables alone: nothing unless
// OTEL_EXPORTER_OTLP_ENDPOINT, its per-signal form, or OTEL_TRACES_EXPORTER,
// OTEL_METRICS_EXPORTER or OTEL_LOGS_EXPORTER ask for it.
type Config struct {
	// Node is the service.instance.id. Empty means the host's name.
	Node string
	// Version is the service.version. Empty means "unknown".
	Version string
	// Output takes the log. Nil means standard error.
	Output io.Writer
	// Format is "text" or "json". Empty means "text".
	Format string
	// Level is the least level that is logged, kept and exported. Nil means Info.
	Level slog.Leveler
	// Tail bounds the recent records. The zero value means its defaults.
	Tail TailConfig
	// ShutdownTimeout is the longest that [Telemetry.Shutdown] waits for what is
	// not yet exported. Zero means 5 s.
	ShutdownTimeout time.Duration
}

// Telemetry is a node's logger, tracer provider and meter provider. It sets none
// of OpenTelemetry's globals, so that several nodes can live in one process.
type Telemetry struct {
	logger     *slog.Logger
	local      *slog.Logger // Output and Tail only: for what exporters have to say
	tail       *Tail
	tracers    trace.TracerProvider
	meters     *sdkmetric.MeterProvider
	propagator propagation.TextMapPropagator
	metrics    *prometheus.Registry

	stopTimeout time.Duration
	stop        context.CancelFunc // ends exports that outlive Shutdown's patience
	closers     []func(context.Context) error
	once        sync.Once
	err         error // of Shutdown; written inside once
}

// New returns telemetry that is ready to use. Exporters that the environment
// asks for work in the background until [Telemetry.Shutdown]; one that cannot
// reach its collector drops what does not fit into its queue and says so in the
// log, and delays nobody. The error names the variable that is wrong.
func New(ctx context.Context, c Config) (*Telemetry, error) {
	out, err := newOutput(c)
	if err != nil {
		return nil, err
	}
	stopped, stop := context.WithCancel(context.WithoutCancel(ctx))
	tail := NewTail(c.Tail)
	t := &Telemetry{
		local:       slog.New(newLocalHandler(out, tail, c.Level)),
		tail:        tail,
		metrics:     newRegistry(),
		stopTimeout: cmp.Or(c.ShutdownTimeout, 5*time.Second),
		stop:        stop,
	}
	if err := t.build(ctx, stopped, c, out); err != nil {
		return nil, errors.Join(err, t.Shutdown(context.WithoutCancel(ctx)))
	}
	return t, nil
}

func (t *Telemetry) build(ctx, stopped context.Context, c Config, out slog.Handler) error {
	res, err := newResource(ctx, c)
	if err != nil {
		return err
	}
	if t.propagator, err = newPropagator(os.Getenv("OTEL_PROPAGATORS")); err != nil {
		return err
	}
	b := builder{log: t.local, stopped: stopped, res: res}
	if t.tracers, err = b.tracerProvider(ctx, t); err != nil {
		return err
	}
	if t.meters, err = b.meterProvider(ctx, t); err != nil {
		return err
	}
	exported, err := b.logHandler(ctx, t)
	if err != nil {
		return err
	}
	t.logger = slog.New(newHandler(out, t.tail, exported, c.Level))
	return nil
}

// Logger returns the node's logger: it writes to Config.Output, keeps the records
// of apps in the tail, and exports when the environment asks for it.
func (t *Telemetry) Logger() *slog.Logger { return t.logger }

// TracerProvider returns the provider of spans; one that makes none if no traces
// exporter is asked for.
func (t *Telemetry) TracerProvider() trace.TracerProvider { return t.tracers }

// MeterProvider returns the provider of instruments. What they measure is always
// on [Telemetry.MetricsHandler].
func (t *Telemetry) MeterProvider() metric.MeterProvider { return t.meters }

// Propagator returns what reads and writes trace context in header fields:
// OTEL_PROPAGATORS, by default W3C Trace Context and Baggage.
func (t *Telemetry) Propagator() propagation.TextMapPropagator { return t.propagator }

// Tail returns the recent log records of each app.
func (t *Telemetry) Tail() *Tail { return t.tail }

// MetricsHandler answers with all metrics in Prometheus' text format.
func (t *Telemetry) MetricsHandler() http.Handler { return newMetricsHandler(t.metrics, t.local) }

// Shutdown exports what is waiting and ends all that New started. It returns
// after Config.ShutdownTimeout at the latest, sooner if ctx ends, also when no
// collector answers. Only the first call does the work; the others return its
// error.
func (t *Telemetry) Shutdown(ctx context.Context) error {
	t.once.Do(func() {
		ctx, cancel := context.WithTimeout(ctx, t.stopTimeout)
		defer cancel()
		// When patience ends, exports in progress are cut off as well.
		defer context.AfterFunc(ctx, t.stop)()
		errs := make([]error, len(t.closers))
		var wg sync.WaitGroup
		for i, shut := range t.closers {
			wg.Go(func() { errs[i] = shut(ctx) })
		}
		wg.Wait()
		t.stop()
		t.err = errors.Join(errs...)
	})
	return t.err
}

// newResource describes the node. OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES
// win over what c says.
func newResource(ctx context.Context, c Config) (*resource.Resource, error) {
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("read host name: %w", err)
	}
	res, err := resource.New(ctx,
		resource.WithSchemaURL(semconv.SchemaURL),
		resource.WithTelemetrySDK(),
		resource.WithAttributes(
			semconv.ServiceName("orla"),
			semconv.ServiceVersion(cmp.Or(c.Version, "unknown")),
			semconv.ServiceInstanceID(cmp.Or(c.Node, host)),
			semconv.HostName(host),
		),
		resource.WithFromEnv(),
	)
	if err != nil {
		return nil, fmt.Errorf("read OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	return res, nil
}

// newPropagator reads OTEL_PROPAGATORS: a list of "tracecontext" and "baggage",
// or "none".
func newPropagator(list string) (propagation.TextMapPropagator, error) {
	if strings.TrimSpace(list) == "" {
		list = "tracecontext,baggage"
	}
	var all []propagation.TextMapPropagator
	for name := range strings.SplitSeq(list, ",") {
		switch strings.TrimSpace(name) {
		case "tracecontext":
			all = append(all, propagation.TraceContext{})
		case "baggage":
			all = append(all, propagation.Baggage{})
		case "none":
		default:
			return nil, fmt.Errorf("OTEL_PROPAGATORS: %q is not known: use tracecontext, baggage or none", name)
		}
	}
	return propagation.NewCompositeTextMapPropagator(all...), nil
}
