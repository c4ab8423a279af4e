package proxy

import (
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"github.com/orla-edge/orla/telemetry"
)

// schemeH2C is the scheme of upstreams that speak HTTP/2 without TLS: gRPC
// servers, for one.
const schemeH2C = "h2c"

// An upstream that cannot be connected to is left alone for this long, doubled
// with each further failure up to the maximum. Then one request tries it.
const (
	firstEjection = time.Second
	maxEjection   = 30 * time.Second
)

// upstream is one app server as all proxies of a process see it.
type upstream struct {
	key       string // "http://10.0.0.5:8080"
	scheme    string // to dial with: "http" or "https"
	host      string // "10.0.0.5:8080"
	transport *http.Transport
	log       *slog.Logger
	refs      int // guarded by Pool.mu

	active  atomic.Int64 // requests in flight
	ejected atomic.Int64 // until when, in Unix nanoseconds; 0 means not

	mu       sync.Mutex // guards failures, and writes of ejected
	failures int        // to connect, since the last success

	attrs   []attribute.KeyValue // for spans
	labels  metric.MeasurementOption
	classes [6]metric.MeasurementOption // by first digit of the status; 0 means no answer
}

func newUpstream(key string, base *url.URL, t *http.Transport, log *slog.Logger) *upstream {
	u := &upstream{key: key, scheme: base.Scheme, host: base.Host, transport: t, log: log}
	if u.scheme == schemeH2C {
		u.scheme = "http"
	}
	port := base.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.scheme]
	}
	number, _ := strconv.Atoi(port) // checked by New
	u.attrs = []attribute.KeyValue{semconv.ServerAddress(base.Hostname()), semconv.ServerPort(number)}
	u.labels = metric.WithAttributeSet(attribute.NewSet(u.attrs...))
	for i, class := range [6]string{"none", "1xx", "2xx", "3xx", "4xx", "5xx"} {
		set := attribute.NewSet(append(u.attrs[:2:2], attribute.String(telemetry.AttrOutcome, class))...)
		u.classes[i] = metric.WithAttributeSet(set)
	}
	return u
}

// class returns the metric attributes of an answer's status, 0 for none.
func (u *upstream) class(status int) metric.MeasurementOption {
	if c := status / 100; c > 0 && c < len(u.classes) {
		return u.classes[c]
	}
	return u.classes[0]
}

// available returns 1 if u is not ejected, else 0.
func (u *upstream) available(now time.Time) int64 {
	if u.ejected.Load() > now.UnixNano() {
		return 0
	}
	return 1
}

// probe reports whether u's ejection has run out and the caller is the one to try
// it. The others go on without it for as long as connecting may take.
func (u *upstream) probe(now time.Time) bool {
	until := u.ejected.Load()
	return until != 0 && until <= now.UnixNano() &&
		u.ejected.CompareAndSwap(until, now.Add(firstEjection).UnixNano())
}

// connectFailed ejects u. Of requests that fail at the same time, only the first
// counts; a probe always does.
func (u *upstream) connectFailed(now time.Time, probe bool, cause error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !probe && u.ejected.Load() > now.UnixNano() {
		return
	}
	pause := maxEjection
	if u.failures < 5 {
		pause = firstEjection << u.failures
	}
	u.failures++
	u.ejected.Store(now.Add(min(pause, maxEjection)).UnixNano())
	u.log.Warn("upstream cannot be reached, leaving it alone",
		slog.String(telemetry.KeyUpstream, u.host), slog.Duration(telemetry.KeyDuration, pause), slog.Any(telemetry.KeyError, cause))
}

// answered notes that u can be connected to.
func (u *upstream) answered() {
	if u.ejected.Load() == 0 {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.ejected.Swap(0) != 0 {
		u.failures = 0
		u.log.Info("upstream can be reached again", slog.String(telemetry.KeyUpstream, u.host))
	}
}
