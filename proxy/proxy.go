package proxy

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

// maxTargets is the most upstreams of one Proxy: a bit each of a set.
const maxTargets = 64

// Config says where requests go.
type Config struct {
	// Proxy is the route's target. Its upstreams are base URLs of the schemes http,
	// https and h2c (HTTP/2 without TLS), with a path at most.
	Proxy *orlav1.Proxy
	// Pool is the process' pool. Nil means one for this Proxy alone.
	Pool *Pool
	// Logger hears of retries and health. Nil means nobody does.
	Logger *slog.Logger
	// TracerProvider makes a span for each attempt. Nil means none.
	TracerProvider trace.TracerProvider
	// Propagator writes the trace context into requests. Nil means W3C Trace
	// Context. A request without a span keeps the header fields that it came with.
	Propagator propagation.TextMapPropagator
	// Timeout is the longest wait for a response head if Proxy.Timeout is unset.
	// Zero means 30 s.
	Timeout time.Duration
	// HealthInterval is the time between active checks of one upstream, about.
	// Zero means 5 s.
	HealthInterval time.Duration
}

// Proxy is an [http.Handler] that passes requests through to one of several
// upstreams.
//
// It takes the less busy of two upstreams picked at random. One that cannot be
// connected to is left alone for a while and its requests go to another; if that
// leaves none, requests try one anyway. One whose health checks fail gets no
// requests; if that leaves none, the answer is 503 with Retry-After.
//
// A handler around it must expect it to panic with [http.ErrAbortHandler], which
// is how net/http is told to break off a response whose upstream died.
type Proxy struct {
	c        Config
	timeout  time.Duration
	targets  []*target
	log      *slog.Logger
	tracer   trace.Tracer
	budget   budget
	ownsPool bool
	close    sync.Once
}

// target is an upstream as one Proxy sees it.
type target struct {
	*upstream
	path    string // of the base URL, decoded, without a slash at its end
	rawPath string // the same as written
	down    atomic.Bool
}

var _ http.Handler = (*Proxy)(nil)

// New returns a Proxy. Its errors name the field of the manifest's proxy target
// that is wrong.
func New(c Config) (*Proxy, error) {
	bases, err := baseURLs(c.Proxy)
	if err != nil {
		return nil, err
	}
	p := &Proxy{c: c, log: c.Logger, timeout: c.Proxy.GetTimeout().AsDuration()}
	p.timeout = cmp.Or(p.timeout, c.Timeout, 30*time.Second)
	p.c.HealthInterval = cmp.Or(c.HealthInterval, 5*time.Second)
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	if p.c.TracerProvider == nil {
		p.c.TracerProvider = noop.NewTracerProvider()
	}
	if p.c.Propagator == nil {
		p.c.Propagator = propagation.TraceContext{}
	}
	p.tracer = p.c.TracerProvider.Tracer("github.com/orla-edge/orla/proxy")
	if p.c.Pool == nil {
		p.ownsPool = true
		if p.c.Pool, err = NewPool(PoolConfig{Logger: c.Logger}); err != nil {
			return nil, err
		}
	}
	for _, base := range bases {
		p.targets = append(p.targets, &target{
			upstream: p.c.Pool.acquire(base),
			path:     strings.TrimRight(base.Path, "/"),
			rawPath:  strings.TrimRight(base.EscapedPath(), "/"),
		})
	}
	p.budget.init()
	return p, nil
}

// Close gives the upstreams back to the pool; of those that no other Proxy uses,
// the idle connections are closed. It is called after the last request has left.
func (p *Proxy) Close() {
	p.close.Do(func() {
		for _, t := range p.targets {
			p.c.Pool.release(t.upstream)
		}
		if p.ownsPool {
			// Its metrics are no-ops, whose end cannot fail.
			_ = p.c.Pool.Close()
		}
	})
}

func baseURLs(c *orlav1.Proxy) ([]*url.URL, error) {
	to := c.GetTo()
	if len(to) == 0 || len(to) > maxTargets {
		return nil, fmt.Errorf("proxy.to: %d upstreams; name 1 to %d base URLs such as http://10.0.0.5:8080", len(to), maxTargets)
	}
	if h := c.GetHealth(); h != "" && (!strings.HasPrefix(h, "/") || strings.ContainsAny(h, "# \r\n")) {
		return nil, fmt.Errorf("proxy.health: %q is not a path; write one such as /healthz", h)
	}
	if c.GetTimeout().AsDuration() < 0 {
		return nil, errors.New("proxy.timeout: less than zero; leave it out for the default")
	}
	bases := make([]*url.URL, len(to))
	for i, s := range to {
		u, err := url.Parse(s)
		if err != nil {
			return nil, fmt.Errorf("proxy.to[%d]: %w", i, err)
		}
		if err := checkBase(u); err != nil {
			return nil, fmt.Errorf("proxy.to[%d]: %q %w", i, s, err)
		}
		bases[i] = u
	}
	return bases, nil
}

func checkBase(u *url.URL) error {
	switch {
	case u.Scheme != "http" && u.Scheme != "https" && u.Scheme != schemeH2C:
		return errors.New("has no scheme that can be passed through to: use http://, https:// or h2c://")
	case u.Hostname() == "":
		return errors.New("has no host")
	case u.User != nil:
		return errors.New("has a user name: credentials do not belong into routes")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return errors.New("has a query or fragment: only a path can be prepended to requests")
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return fmt.Errorf("has port %s: use 1 to 65535", port)
		}
	}
	return nil
}
