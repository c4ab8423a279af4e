package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/orla-edge/orla/telemetry"
)

// maxAttempts is the most attempts for one request.
const maxAttempts = 3

// exchange is one request and its answer. All is done on the request's goroutine
// except where a field says otherwise.
type exchange struct {
	p       *Proxy
	w       http.ResponseWriter
	r       *http.Request
	rc      *http.ResponseController
	record  *telemetry.Request
	header  http.Header
	upgrade string
	body    *clientBody // nil if there is none
	timer   headTimer

	// informational guards w's header against 1xx responses, which arrive on the
	// transport's goroutine, and late ones against the final response.
	informational sync.Mutex
	headDone      bool
}

// ServeHTTP passes r through and its answer back. It fills in Target, Upstream
// and Err of the context's [telemetry.Request].
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := &exchange{
		p: p, w: w, r: r,
		rc:      http.NewResponseController(w),
		record:  telemetry.RequestFrom(r.Context()),
		upgrade: upgradeOf(r.Header),
		timer:   headTimer{limit: p.timeout},
	}
	x.record.Target = "proxy"
	switch {
	case hops(r.Header["Via"]) >= maxHops:
		x.fail(errLoop)
		return
	case !isPrintable(x.upgrade):
		x.fail(errUpgrade)
		return
	}
	if r.ContentLength != 0 && r.Body != nil && r.Body != http.NoBody {
		x.takeBody()
		defer x.body.finish()
	}
	x.header = outgoingHeader(r, x.upgrade, x.record.ID)
	p.budget.deposit()
	x.run()
}

// takeBody prepares for a request with a body.
func (x *exchange) takeBody() {
	x.body = &clientBody{src: x.r.Body, rc: x.rc, timer: &x.timer}
	// An Upgrade may be ignored (RFC 9110, section 7.8), and has to be where the
	// connection's next octets are the body's.
	x.upgrade = ""
	if x.r.ProtoMajor == 1 {
		// What net/http asks of those who read and write at the same time. Writers
		// that cannot do it have no rule against that.
		_ = x.rc.EnableFullDuplex()
	}
}

// run tries upstreams until one answers, and passes the answer on.
func (x *exchange) run() {
	var tried set
	for n := 1; ; n++ {
		i, probe := x.p.pick(tried)
		if i < 0 {
			x.fail(errAllDown)
			return
		}
		a := &attempt{x: x, t: x.p.targets[i], n: n, probe: probe}
		res, err := a.send() //nolint:bodyclose // respond closes it
		if err == nil {
			x.record.Upstream = a.t.host
			defer a.end()
			x.respond(res, a)
			return
		}
		a.fail(err)
		a.end()
		tried = tried.with(i)
		if !x.mayRetry(err, n, tried) {
			x.record.Upstream = a.t.host
			x.fail(err)
			return
		}
		x.p.c.Pool.meters.retries.Add(x.r.Context(), 1, a.t.labels)
		x.p.log.LogAttrs(x.r.Context(), slog.LevelInfo, "upstream failed, trying another",
			slog.String(telemetry.KeyUpstream, a.t.host), slog.Int(telemetry.KeyAttempt, n),
			slog.String(telemetry.KeyRequestID, x.record.ID), slog.Any(telemetry.KeyError, err))
	}
}

// mayRetry reports whether another upstream may be tried: nothing of the request
// has left the node, so that it makes no difference what its method is, and the
// budget allows it. What http.Transport retries by itself, requests on a reused
// connection that turns out to be dead, comes on top.
func (x *exchange) mayRetry(err error, n int, tried set) bool {
	var c *connectError
	if !errors.As(err, &c) || n >= maxAttempts || !x.body.untouched() || x.r.Context().Err() != nil {
		return false
	}
	return x.p.usable(0, time.Now(), tried) >= 0 && x.p.budget.withdraw()
}

// attempt is one try at one upstream.
type attempt struct {
	x         *exchange
	t         *target
	n         int // from 1
	probe     bool
	start     time.Time
	span      trace.Span
	cancel    context.CancelCauseFunc
	connected atomic.Bool // written on the transport's goroutines
}

// send sends the request and waits for the response's head.
func (a *attempt) send() (*http.Response, error) {
	x := a.x
	a.start = time.Now()
	a.t.active.Add(1)
	ctx, cancel := context.WithCancelCause(x.r.Context())
	a.cancel = cancel
	ctx, a.span = x.p.tracer.Start(ctx, x.r.Method, trace.WithSpanKind(trace.SpanKindClient))
	x.setHeadDone(false)
	x.timer.start(cancel)
	res, err := a.t.transport.RoundTrip(a.request(ctx))
	x.timer.stop()
	x.setHeadDone(true)
	if err == nil {
		err = x.checkHead(res)
	}
	status := 0
	if err == nil {
		status = res.StatusCode
		a.t.answered()
		if a.span.IsRecording() {
			a.span.SetAttributes(semconv.HTTPResponseStatusCode(status))
		}
		if status >= http.StatusBadRequest {
			a.span.SetStatus(codes.Error, "")
		}
	}
	x.p.c.Pool.meters.duration.Record(ctx, time.Since(a.start).Seconds(), a.t.class(status))
	if err != nil {
		return nil, a.explain(ctx, err)
	}
	return res, nil
}

// checkHead refuses heads that cannot be passed on.
func (x *exchange) checkHead(res *http.Response) error {
	switch {
	case res.StatusCode == http.StatusSwitchingProtocols:
		if got := upgradeOf(res.Header); x.upgrade == "" || !strings.EqualFold(got, x.upgrade) {
			_ = res.Body.Close() // gives the connection up
			return fmt.Errorf("upstream switched to protocol %q, %q was asked for", got, x.upgrade)
		}
	case res.StatusCode < http.StatusOK:
		_ = res.Body.Close()
		return fmt.Errorf("upstream answered with status %d", res.StatusCode)
	}
	return nil
}

// explain tells from a failed attempt's context why it failed.
func (a *attempt) explain(ctx context.Context, err error) error {
	switch {
	case a.x.r.Context().Err() != nil:
		return errClientGone
	case errors.Is(context.Cause(ctx), errHeadTimeout):
		return errHeadTimeout
	case !a.connected.Load():
		return &connectError{err}
	}
	return err
}

func (a *attempt) request(ctx context.Context) *http.Request {
	x := a.x
	u := outgoingURL(a.t, x.r.URL)
	req := &http.Request{
		Method:        x.r.Method,
		URL:           u,
		Host:          x.r.Host,
		Header:        x.header,
		ContentLength: x.r.ContentLength,
		Trailer:       x.r.Trailer,
		Proto:         "HTTP/1.1", // the transport heeds Expect only from 1.1 on
		ProtoMajor:    1,
		ProtoMinor:    1,
	}
	if x.body != nil {
		req.Body = x.body
	}
	if a.span.SpanContext().IsValid() {
		req.Header = x.header.Clone()
		for _, f := range x.p.c.Propagator.Fields() {
			req.Header.Del(f)
		}
		x.p.c.Propagator.Inject(ctx, propagation.HeaderCarrier(req.Header))
	}
	if a.span.IsRecording() {
		a.span.SetAttributes(a.attributes(u)...)
	}
	return req.WithContext(httptrace.WithClientTrace(ctx, a.trace()))
}

// attributes describe the request without its query, which may hold secrets.
func (a *attempt) attributes(u *url.URL) []attribute.KeyValue {
	attrs := append(a.t.attrs[:2:2],
		semconv.HTTPRequestMethodKey.String(a.x.r.Method),
		semconv.URLFull(u.Scheme+"://"+u.Host+u.EscapedPath()))
	if a.n > 1 {
		attrs = append(attrs, semconv.HTTPRequestResendCount(a.n-1))
	}
	return attrs
}

func (a *attempt) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		GetConn:        func(string) { a.connected.Store(false) },
		GotConn:        func(httptrace.GotConnInfo) { a.connected.Store(true) },
		Got1xxResponse: a.x.inform,
	}
}

// inform passes a 1xx response on. 100 is left out: the server sends one when the
// body is asked for.
func (x *exchange) inform(code int, fields textproto.MIMEHeader) error {
	if code == http.StatusContinue || !x.r.ProtoAtLeast(1, 1) {
		return nil
	}
	x.informational.Lock()
	defer x.informational.Unlock()
	if !x.headDone {
		writeInformational(x.w, code, fields)
	}
	return nil
}

func (x *exchange) setHeadDone(done bool) {
	x.informational.Lock()
	defer x.informational.Unlock()
	x.headDone = done
}

// fail notes on the span, and on the upstream, why there is no answer.
func (a *attempt) fail(err error) {
	if a.span.IsRecording() {
		a.span.SetStatus(codes.Error, err.Error())
		a.span.SetAttributes(semconv.ErrorTypeKey.String(errorType(err)))
	}
	var c *connectError
	if errors.As(err, &c) && a.x.r.Context().Err() == nil {
		a.t.connectFailed(time.Now(), a.probe, c.cause)
	}
}

// end gives up what the attempt holds. The response's body is closed before.
func (a *attempt) end() {
	a.cancel(nil)
	a.t.active.Add(-1)
	a.span.End()
}
