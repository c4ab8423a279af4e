package proxy

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"

	"github.com/orla-edge/orla/telemetry"
)

// PoolConfig says how connections to upstreams are made and kept.
type PoolConfig struct {
	// ConnectTimeout bounds resolving and connecting, and once more the TLS
	// handshake. Zero means 3 s.
	ConnectTimeout time.Duration
	// IdleTimeout is how long an unused connection is kept. Zero means 60 s.
	IdleTimeout time.Duration
	// MaxIdle is the most unused connections kept to one upstream. Zero means 256.
	MaxIdle int
	// MaxHeaderBytes bounds the head of an upstream's response, in bytes. Zero
	// means 64 KiB.
	MaxHeaderBytes int64
	// RootCAs verify https upstreams. Nil means the system's.
	RootCAs *x509.CertPool
	// Logger hears of upstreams that go and come back. Nil means nobody does.
	Logger *slog.Logger
	// MeterProvider makes the metrics. Nil means none are made.
	MeterProvider metric.MeterProvider
}

// Pool holds the connections to upstreams, and what is known of each upstream's
// health, across the releases that use it: a change of routes keeps connections
// warm and forgets nothing. Its methods may be called at the same time.
type Pool struct {
	c      PoolConfig
	log    *slog.Logger
	meters meters
	gauges metric.Registration

	buffers sync.Pool // of *[copySize]byte

	mu        sync.Mutex // guards what follows
	upstreams map[string]*upstream
}

// meters are the instruments that exchanges record into.
type meters struct {
	duration metric.Float64Histogram
	retries  metric.Int64Counter
}

// NewPool returns a Pool without connections. The error is that of an instrument
// that the meter provider refuses.
func NewPool(c PoolConfig) (*Pool, error) {
	c.ConnectTimeout = cmp.Or(c.ConnectTimeout, 3*time.Second)
	c.IdleTimeout = cmp.Or(c.IdleTimeout, time.Minute)
	c.MaxIdle = cmp.Or(c.MaxIdle, 256)
	c.MaxHeaderBytes = cmp.Or(c.MaxHeaderBytes, 64<<10)
	p := &Pool{c: c, log: c.Logger, upstreams: map[string]*upstream{}}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	if err := p.measure(c.MeterProvider); err != nil {
		return nil, fmt.Errorf("make proxy metrics: %w", err)
	}
	return p, nil
}

func (p *Pool) measure(provider metric.MeterProvider) error {
	if provider == nil {
		provider = noop.NewMeterProvider()
	}
	m := provider.Meter("github.com/orla-edge/orla/proxy")
	var err1, err2, err3, err4, err5 error
	p.meters.duration, err1 = m.Float64Histogram(telemetry.ProxyUpstreamDuration,
		metric.WithUnit("s"), metric.WithDescription("From the start of an attempt to the upstream's response head."))
	p.meters.retries, err2 = m.Int64Counter(telemetry.ProxyUpstreamRetries,
		metric.WithUnit("{attempt}"), metric.WithDescription("Attempts after a request's first."))
	active, err3 := m.Int64ObservableGauge(telemetry.ProxyUpstreamActive,
		metric.WithUnit("{request}"), metric.WithDescription("Requests in flight to an upstream."))
	available, err4 := m.Int64ObservableGauge(telemetry.ProxyUpstreamAvailable,
		metric.WithUnit("1"), metric.WithDescription("Whether an upstream takes requests."))
	p.gauges, err5 = m.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		for _, u := range p.snapshot() {
			o.ObserveInt64(active, u.active.Load(), u.labels)
			o.ObserveInt64(available, u.available(time.Now()), u.labels)
		}
		return nil
	}, active, available)
	return errors.Join(err1, err2, err3, err4, err5)
}

func (p *Pool) snapshot() []*upstream {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]*upstream, 0, len(p.upstreams))
	for _, u := range p.upstreams {
		all = append(all, u)
	}
	return all
}

// Close ends the pool's metrics and its idle connections. The proxies that use
// the pool are closed before.
func (p *Pool) Close() error {
	for _, u := range p.snapshot() {
		u.transport.CloseIdleConnections()
	}
	if err := p.gauges.Unregister(); err != nil {
		return fmt.Errorf("end proxy metrics: %w", err)
	}
	return nil
}

// acquire returns the upstream at base's scheme and host, to be given back with
// release.
func (p *Pool) acquire(base *url.URL) *upstream {
	key := base.Scheme + "://" + base.Host
	p.mu.Lock()
	defer p.mu.Unlock()
	u, ok := p.upstreams[key]
	if !ok {
		u = newUpstream(key, base, p.newTransport(base.Scheme), p.log)
		p.upstreams[key] = u
	}
	u.refs++
	return u
}

// release gives u back. The last one to do so closes its idle connections.
func (p *Pool) release(u *upstream) {
	p.mu.Lock()
	defer p.mu.Unlock()
	u.refs--
	if u.refs == 0 {
		delete(p.upstreams, u.key)
		u.transport.CloseIdleConnections()
	}
}

// newTransport returns a transport for one upstream. It changes nothing of a
// request: no compression, no redirects, no proxy from the environment.
func (p *Pool) newTransport(scheme string) *http.Transport {
	dialer := &net.Dialer{Timeout: p.c.ConnectTimeout, KeepAlive: 15 * time.Second}
	t := &http.Transport{
		DialContext:            dialer.DialContext,
		TLSClientConfig:        &tls.Config{RootCAs: p.c.RootCAs, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    p.c.ConnectTimeout,
		DisableCompression:     true,
		MaxIdleConnsPerHost:    p.c.MaxIdle,
		IdleConnTimeout:        p.c.IdleTimeout,
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: p.c.MaxHeaderBytes,
		Protocols:              new(http.Protocols),
	}
	switch scheme {
	case schemeH2C:
		t.Protocols.SetUnencryptedHTTP2(true)
	case "https":
		t.Protocols.SetHTTP1(true)
		t.Protocols.SetHTTP2(true)
	default:
		t.Protocols.SetHTTP1(true)
	}
	return t
}
