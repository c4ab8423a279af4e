package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"github.com/orla-edge/orla/telemetry"
)

// methodOther stands for every method that the semantic conventions do not know,
// so that clients cannot make up series.
const methodOther = "_OTHER"

// knownMethods is in the order of their indices in metrics.active.
var knownMethods = [...]string{
	http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch,
	http.MethodDelete, http.MethodOptions, http.MethodConnect, http.MethodTrace, methodOther,
}

func methodIndex(method string) int {
	for i, m := range knownMethods {
		if m == method {
			return i
		}
	}
	return len(knownMethods) - 1
}

func knownMethod(method string) string { return knownMethods[methodIndex(method)] }

// maxSeries is the most combinations of labels that are kept ready; those beyond
// are put together for each request. Routes come from releases, so that it takes
// thousands of them to get there.
const maxSeries = 10000

// series are the labels of a request's metrics.
type series struct {
	method, scheme, version, route, app string
	status                              int
}

// metrics counts requests. A nil *metrics does nothing.
type metrics struct {
	duration, received, sent metric.Float64Histogram
	panics                   metric.Int64Counter

	active [len(knownMethods)][2]atomic.Int64 // by method, then http and https

	known  sync.Map // series → metric.MeasurementOption
	nKnown atomic.Int64

	callback metric.Registration
}

// newMetrics returns nil if nobody reads what it would count.
func newMetrics(p metric.MeterProvider, conns *connSet) (*metrics, error) {
	if p == nil {
		return nil, nil
	}
	if _, ok := p.(noop.MeterProvider); ok {
		return nil, nil
	}
	m := &metrics{}
	if err := m.init(p.Meter(scope), conns); err != nil {
		return nil, fmt.Errorf("make the server's instruments: %w", err)
	}
	return m, nil
}

func (m *metrics) init(meter metric.Meter, conns *connSet) error {
	var errs [6]error
	m.duration, errs[0] = meter.Float64Histogram(telemetry.HTTPServerRequestDuration, metric.WithUnit("s"),
		metric.WithDescription("Duration of HTTP server requests."),
		metric.WithExplicitBucketBoundaries(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10))
	sizes := metric.WithExplicitBucketBoundaries(0, 1<<10, 4<<10, 16<<10, 64<<10, 256<<10, 1<<20, 4<<20, 16<<20, 64<<20, 256<<20, 1<<30)
	m.received, errs[1] = meter.Float64Histogram(telemetry.HTTPServerRequestBodySize, metric.WithUnit("By"),
		metric.WithDescription("Size of HTTP server request bodies."), sizes)
	m.sent, errs[2] = meter.Float64Histogram(telemetry.HTTPServerResponseBodySize, metric.WithUnit("By"),
		metric.WithDescription("Size of HTTP server response bodies."), sizes)
	m.panics, errs[3] = meter.Int64Counter(telemetry.ServerPanics, metric.WithUnit("{panic}"),
		metric.WithDescription("Handlers that panicked."))
	active, err := meter.Int64ObservableUpDownCounter(telemetry.HTTPServerActiveRequests, metric.WithUnit("{request}"),
		metric.WithDescription("Number of active HTTP server requests."))
	errs[4] = err
	open, err := meter.Int64ObservableUpDownCounter(telemetry.ServerConnections, metric.WithUnit("{connection}"),
		metric.WithDescription("Open connections."))
	errs[5] = err
	if err := errors.Join(errs[:]...); err != nil {
		return err
	}
	m.callback, err = meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		m.observeActive(o, active)
		o.ObserveInt64(open, int64(conns.count()))
		return nil
	}, active, open)
	return err
}

func (m *metrics) observeActive(o metric.Observer, active metric.Int64Observable) {
	for i := range m.active {
		for j, scheme := range []string{"http", "https"} {
			n := m.active[i][j].Load()
			if n == 0 && i > 0 { // one of them always, so that the series exists
				continue
			}
			o.ObserveInt64(active, n, metric.WithAttributes(
				semconv.HTTPRequestMethodKey.String(knownMethods[i]), semconv.URLScheme(scheme)))
		}
	}
}

// close ends the observation.
func (m *metrics) close() error {
	if m == nil {
		return nil
	}
	return m.callback.Unregister()
}

func (m *metrics) activeOf(r *http.Request) *atomic.Int64 {
	secure := 0
	if r.TLS != nil {
		secure = 1
	}
	return &m.active[methodIndex(r.Method)][secure]
}

// begin counts a request as active.
func (m *metrics) begin(r *http.Request) {
	if m != nil {
		m.activeOf(r).Add(1)
	}
}

// end counts a request that is over.
func (m *metrics) end(x *exchange, status int, took time.Duration) {
	if m == nil {
		return
	}
	m.activeOf(x.r).Add(-1)
	labels := m.labels(series{
		method: knownMethod(x.r.Method), scheme: scheme(x.r), version: version(x.r),
		route: x.tel.Route, app: x.tel.App, status: status,
	})
	ctx := x.r.Context() // exemplars take the span from it
	m.duration.Record(ctx, took.Seconds(), labels)
	m.sent.Record(ctx, float64(x.sent), labels)
	m.received.Record(ctx, float64(x.body.read()), labels)
}

func (m *metrics) panicked(ctx context.Context) {
	if m != nil {
		m.panics.Add(context.WithoutCancel(ctx), 1)
	}
}

// labels returns the attributes of s, made once.
func (m *metrics) labels(s series) metric.MeasurementOption {
	if v, ok := m.known.Load(s); ok {
		return v.(metric.MeasurementOption)
	}
	attrs := append(make([]attribute.KeyValue, 0, 8),
		semconv.HTTPRequestMethodKey.String(s.method),
		semconv.URLScheme(s.scheme),
		semconv.NetworkProtocolVersion(s.version),
		semconv.HTTPResponseStatusCode(s.status),
	)
	if s.route != "" {
		attrs = append(attrs, semconv.HTTPRoute(s.route))
	}
	if s.app != "" {
		attrs = append(attrs, attribute.String(telemetry.AttrApp, s.app))
	}
	if s.status >= 500 {
		attrs = append(attrs, semconv.ErrorTypeKey.String(strconv.Itoa(s.status)))
	}
	option := metric.WithAttributeSet(attribute.NewSet(attrs...))
	if m.nKnown.Add(1) <= maxSeries {
		m.known.Store(s, option)
	}
	return option
}
