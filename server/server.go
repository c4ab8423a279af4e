package server

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// Config says what a server listens on and what answers.
type Config struct {
	// HTTP and HTTPS are open listeners, for instance of [Listen]; the server
	// closes them. Nil means none. HTTP speaks HTTP/1, HTTPS also HTTP/2 if TLS
	// offers "h2".
	HTTP, HTTPS []net.Listener
	// TLS is required with HTTPS. It is cloned.
	TLS *tls.Config
	// Handler answers; required. It finds a [telemetry.Request] in the request's
	// context, and a path that is canonical in the sense of router.CleanPath.
	Handler http.Handler
	// Logger takes the access log and what goes wrong. Nil means no log.
	Logger *slog.Logger
	// AccessLevel is the level of the access log's records for answers below
	// 500; those from 500 up are at Warn at least. The zero value is Info.
	AccessLevel slog.Level
	// LogQuery adds the query to the access log. The zero value leaves it out,
	// for queries hold secrets.
	LogQuery bool
	// Tracer makes a span for each request. Nil, or OpenTelemetry's no-op
	// provider, means none, and costs nothing.
	Tracer trace.TracerProvider
	// Meter counts requests. Nil, or the no-op provider, means that nobody does.
	Meter metric.MeterProvider
	// Propagator reads the caller's trace context. Nil means W3C Trace Context.
	Propagator propagation.TextMapPropagator
	// Node is the node's name in the access log. Empty leaves it out.
	Node string
	// Limits bounds clients. Zero fields mean their defaults.
	Limits Limits

	// Shared reports whether another process has the same sockets and goes on
	// accepting on them. It is asked when the drain begins; then the server lets go
	// of its own descriptors only, without DrainDelay. Nil means that nobody has.
	Shared func() bool
	// DrainDelay is how long the server goes on accepting connections after Run's
	// context has ended, while each answer asks the client to close: the time
	// that load balancers need to see that the node is not ready. Zero means none.
	DrainDelay time.Duration
	// DrainIdle is how long a connection has to be without a request before it
	// is taken to be idle while draining. Zero means 500 ms.
	DrainIdle time.Duration
	// DrainTimeout is the longest that the server waits, after DrainDelay, for
	// requests to end. Then their contexts are cancelled, and a second later
	// their connections are closed. Zero means 20 s.
	DrainTimeout time.Duration
}

// Server serves on its listeners until it is told to drain. It can be run once.
type Server struct {
	cfg     Config
	log     *slog.Logger
	conns   *connSet
	metrics *metrics     // nil if nobody counts
	tracer  trace.Tracer // nil if nobody traces

	// HTTP/1 and HTTP/2 have servers of their own because they are drained
	// differently: Shutdown sends GOAWAY, which loses nothing, but closes HTTP/1
	// connections under requests whose heads it has read.
	h1, h2 *http.Server

	draining atomic.Bool   // Run's context has ended
	drained  atomic.Bool   // see SetDraining
	stop     chan struct{} // closed when no connection shall be accepted any more
	accepts  sync.WaitGroup
	queue1   *queue
	queue2   *queue
}

// New returns a server that Run starts. Its error says which field of cfg is
// missing.
func New(cfg Config) (*Server, error) {
	switch {
	case cfg.Handler == nil:
		return nil, errors.New("server: Config.Handler is nil")
	case len(cfg.HTTP)+len(cfg.HTTPS) == 0:
		return nil, errors.New("server: neither Config.HTTP nor Config.HTTPS has a listener")
	case len(cfg.HTTPS) > 0 && cfg.TLS == nil:
		return nil, errors.New("server: Config.HTTPS needs Config.TLS")
	}
	cfg.Limits = cfg.Limits.withDefaults()
	cfg.DrainIdle = cmp.Or(cfg.DrainIdle, 500*time.Millisecond)
	cfg.DrainTimeout = cmp.Or(cfg.DrainTimeout, 20*time.Second)
	if cfg.TLS != nil {
		cfg.TLS = cfg.TLS.Clone()
	}
	if cfg.Shared == nil {
		cfg.Shared = func() bool { return false }
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Propagator == nil {
		cfg.Propagator = propagation.TraceContext{}
	}
	s := &Server{
		cfg: cfg, log: cfg.Logger, conns: newConnSet(cfg.Limits), stop: make(chan struct{}),
		queue1: newQueue(), queue2: newQueue(),
	}
	s.tracer = newTracer(cfg.Tracer)
	var err error
	if s.metrics, err = newMetrics(cfg.Meter, s.conns); err != nil {
		return nil, err
	}
	s.h1, s.h2 = s.newHTTP(), s.newHTTP()
	s.h1.ConnState = func(c net.Conn, state http.ConnState) { rawConn(c).enter(state) }
	return s, nil
}

// newHTTP returns net/http's server under the limits.
func (s *Server) newHTTP() *http.Server {
	l := s.cfg.Limits
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	return &http.Server{
		Handler:                      http.HandlerFunc(s.serveHTTP),
		ReadHeaderTimeout:            l.Header,
		IdleTimeout:                  l.Idle,
		MaxHeaderBytes:               l.HeaderBytes,
		DisableGeneralOptionsHandler: true,
		Protocols:                    &protocols,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams:          l.Streams,
			MaxDecoderHeaderTableSize:     4 << 10,
			MaxEncoderHeaderTableSize:     4 << 10,
			MaxReadFrameSize:              16 << 10,
			MaxReceiveBufferPerConnection: 1 << 20,
			MaxReceiveBufferPerStream:     512 << 10,
			SendPingTimeout:               30 * time.Second,
			PingTimeout:                   15 * time.Second,
			WriteByteTimeout:              l.WriteStall,
		},
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, peerKey{}, peerOf(c))
		},
	}
}
