package server

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/orla-edge/orla/router"
	"github.com/orla-edge/orla/telemetry"
)

// scope is the name of the server's tracer and meter.
const scope = "github.com/orla-edge/orla/server"

// levelPanic is that of a panic: somebody must act.
const levelPanic = slog.LevelError

// maxStack is the most that is logged of a panic's stack, in bytes.
const maxStack = 16 << 10

// newTracer returns nil if p makes no spans, so that none are prepared.
func newTracer(p trace.TracerProvider) trace.Tracer {
	if p == nil {
		return nil
	}
	if _, ok := p.(noop.TracerProvider); ok {
		return nil
	}
	return p.Tracer(scope)
}

// startSpan starts the server span of the request; its parent is the caller's.
func (x *exchange) startSpan(ctx context.Context) context.Context {
	ctx = x.srv.cfg.Propagator.Extract(ctx, propagation.HeaderCarrier(x.r.Header))
	method := knownMethod(x.r.Method)
	ctx, x.span = x.srv.tracer.Start(ctx, spanMethod(method), trace.WithSpanKind(trace.SpanKindServer),
		trace.WithTimestamp(x.tel.Start),
		trace.WithAttributes( // what a sampler may want to see
			semconv.HTTPRequestMethodKey.String(method),
			semconv.URLPath(x.r.URL.EscapedPath()),
			semconv.URLScheme(scheme(x.r)),
			semconv.ServerAddress(router.CleanHost(x.r.Host)),
		))
	return ctx
}

// spanMethod is the method in a span's name.
func spanMethod(method string) string {
	if method == methodOther {
		return "HTTP"
	}
	return method
}

func (x *exchange) endSpan(status int, end time.Time) {
	if x.span == nil {
		return
	}
	defer x.span.End(trace.WithTimestamp(end))
	if !x.span.IsRecording() {
		return
	}
	method := knownMethod(x.r.Method)
	attrs := append(make([]attribute.KeyValue, 0, 12),
		semconv.HTTPResponseStatusCode(status),
		semconv.NetworkProtocolVersion(version(x.r)),
		semconv.ClientAddress(x.peer.ip),
		attribute.String(telemetry.AttrRequestID, x.tel.ID),
	)
	if method == methodOther {
		attrs = append(attrs, semconv.HTTPRequestMethodOriginal(x.r.Method))
	}
	if agent := x.r.UserAgent(); agent != "" {
		attrs = append(attrs, semconv.UserAgentOriginal(agent))
	}
	if x.tel.Route != "" {
		x.span.SetName(spanMethod(method) + " " + x.tel.Route)
		attrs = append(attrs, semconv.HTTPRoute(x.tel.Route))
	}
	if x.tel.App != "" {
		attrs = append(attrs, attribute.String(telemetry.AttrApp, x.tel.App),
			attribute.Int64(telemetry.AttrRelease, int64(x.tel.Release)), //nolint:gosec // a counter from 1
			attribute.String(telemetry.AttrTarget, x.tel.Target))
	}
	if x.tel.CPU != 0 {
		attrs = append(attrs, attribute.Float64(telemetry.AttrGuestCPU, milliseconds(x.tel.CPU)))
	}
	if status >= 500 {
		attrs = append(attrs, semconv.ErrorTypeKey.String(strconv.Itoa(status)))
		x.span.SetStatus(codes.Error, "")
	}
	if x.tel.Err != nil {
		x.span.RecordError(x.tel.Err)
	}
	x.span.SetAttributes(attrs...)
}

// observe writes the metrics, the span and the log line of a request that is
// over.
func (x *exchange) observe(aborted bool) {
	end := time.Now()
	status := x.status
	if status == 0 && aborted {
		status = http.StatusInternalServerError // nothing came out at all
	}
	x.srv.metrics.end(x, status, end.Sub(x.tel.Start))
	x.logAccess(status, end.Sub(x.tel.Start))
	x.endSpan(status, end)
}

// logAccess writes the access log's record; its context is the span's, from
// which the logger takes the trace id.
func (x *exchange) logAccess(status int, took time.Duration) {
	level := x.srv.cfg.AccessLevel
	if status >= 500 {
		level = max(level, slog.LevelWarn)
	}
	ctx := x.r.Context()
	if !x.srv.log.Enabled(ctx, level) {
		return
	}
	t := &x.tel
	attrs := make([]slog.Attr, 0, 20)
	str := func(key, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(key, value))
		}
	}
	str(telemetry.KeyApp, t.App)
	str(telemetry.KeyNode, x.srv.cfg.Node)
	str(telemetry.KeyRequestID, t.ID)
	str(telemetry.KeyMethod, x.r.Method)
	str(telemetry.KeyHost, router.CleanHost(x.r.Host))
	str(telemetry.KeyPath, cut(x.r.URL.EscapedPath(), maxLogged))
	if x.srv.cfg.LogQuery {
		str("query", cut(x.r.URL.RawQuery, maxLogged))
	}
	str(telemetry.KeyProtocol, x.r.Proto)
	attrs = append(attrs, slog.Int(telemetry.KeyStatus, status), slog.Int64(telemetry.KeyBytes, x.sent),
		slog.Duration(telemetry.KeyDuration, took))
	str(telemetry.KeyClient, x.peer.ip)
	str(telemetry.KeyRoute, t.Route)
	if t.Release != 0 {
		attrs = append(attrs, slog.Uint64(telemetry.KeyRelease, t.Release))
	}
	str(telemetry.KeyTarget, t.Target)
	str(telemetry.KeyFunction, t.Function)
	str(telemetry.KeyUpstream, t.Upstream)
	if t.Guest != 0 {
		attrs = append(attrs, slog.Duration(telemetry.KeyGuest, t.Guest))
	}
	if t.CPU != 0 {
		attrs = append(attrs, slog.Float64(telemetry.KeyGuestCPU, milliseconds(t.CPU)))
	}
	str("user_agent", cut(x.r.UserAgent(), maxLogged))
	if t.Err != nil {
		attrs = append(attrs, slog.String(telemetry.KeyError, t.Err.Error()))
	}
	x.srv.log.LogAttrs(ctx, level, "request", attrs...)
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// maxLogged is the most of a client's text in a log record, in bytes.
const maxLogged = 1 << 10

func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:n] + "…"
}

func (x *exchange) panicAttrs(cause any, stack []byte) []slog.Attr {
	return []slog.Attr{
		slog.String(telemetry.KeyApp, x.tel.App),
		slog.String(telemetry.KeyRequestID, x.tel.ID),
		slog.String(telemetry.KeyMethod, x.r.Method),
		slog.String(telemetry.KeyHost, router.CleanHost(x.r.Host)),
		slog.String(telemetry.KeyPath, cut(x.r.URL.EscapedPath(), maxLogged)),
		slog.String(telemetry.KeyRoute, x.tel.Route),
		slog.String(telemetry.KeyError, fmt.Sprint(cause)),
		slog.String("stack", cut(string(stack), maxStack)),
	}
}

// scheme is "https" for a request that came over TLS, else "http".
func scheme(r *http.Request) string {
	if r.TLS != nil {
		return "https"
	}
	return "http"
}

// version is network.protocol.version: "1.0", "1.1" or "2".
func version(r *http.Request) string {
	switch {
	case r.ProtoMajor == 2:
		return "2"
	case r.ProtoMinor == 0:
		return "1.0"
	}
	return "1.1"
}
