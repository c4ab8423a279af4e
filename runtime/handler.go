package runtime

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/runtime/cgi"
	"github.com/orla-edge/orla/runtime/host"
	"github.com/orla-edge/orla/runtime/httpwasm"
	"github.com/orla-edge/orla/telemetry"
)

// errDeadline is the cause of a request's context when its time is up.
var errDeadline = errors.New("runtime: the function's timeout has passed")

// Handler returns what answers the requests of one route: pattern is the route's
// ("/api/*"), scriptName its literal part ("/api", or "" for "/*").
//
// The handler answers 503 when no place becomes free, 504 when the deadline passes and
// 502 when the guest fails, each with a fixed phrase and the request's id; the cause
// goes to the log, the span and [telemetry.Request]. When the answer has begun already,
// it panics with [http.ErrAbortHandler], so that the client sees that it is cut short.
func (p *Program) Handler(pattern, scriptName string) http.Handler {
	return &handler{Program: p, mount: cgi.Mount{Pattern: pattern, ScriptName: scriptName}}
}

type handler struct {
	*Program
	mount cgi.Mount
}

// ServeHTTP answers with a fresh instance.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	rec := telemetry.RequestFrom(r.Context())
	rec.Target, rec.Function = "function", h.name
	out, begun, err := h.serve(w, r, rec)
	h.obs.done(context.WithoutCancel(r.Context()), out, time.Since(began))
	if err == nil {
		return
	}
	rec.Err = err
	if out != overloaded && out != canceled {
		h.logger.LogAttrs(r.Context(), slog.LevelWarn, "function failed",
			slog.String(telemetry.KeyRequestID, rec.ID), slog.String("outcome", string(out)), slog.Any(telemetry.KeyError, err))
	}
	if begun || out == canceled {
		panic(http.ErrAbortHandler)
	}
	refuse(w, out, rec.ID)
}

// serve waits for a place and runs the guest; begun tells whether the answer has.
func (h *handler) serve(w http.ResponseWriter, r *http.Request, rec *telemetry.Request) (out outcome, begun bool, err error) {
	ctx := r.Context()
	if err := h.gate.enter(ctx, func(n int64) { h.obs.queued.Add(ctx, n, h.obs.labels) }); err != nil {
		if errors.Is(err, errBusy) {
			return overloaded, false, err
		}
		return canceled, false, err
	}
	defer h.gate.leave()

	began := time.Now()
	ctx, span := h.obs.start(ctx, rec.ID)
	x := host.NewExchange(w, traced(ctx, r))
	err = h.run(ctx, x, rec.ID)
	rec.Guest = time.Since(began)
	out = classify(r.Context(), err)
	h.obs.end(context.WithoutCancel(ctx), span, out, err, rec.Guest)
	return out, x.Started(), err
}

// run makes an instance, calls the guest, and sees to it that nothing of either is
// left when it returns.
func (h *handler) run(ctx context.Context, x *host.Exchange, requestID string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, h.limits.timeout, errDeadline)
	defer cancel()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	stopped := make(chan struct{})
	unwatch := context.AfterFunc(ctx, func() {
		defer close(stopped)
		x.Stop()
	})
	defer func() {
		if !unwatch() {
			<-stopped
		}
		x.Close()
	}()
	log := host.NewLog(ctx, h.logger.With(telemetry.KeyRequestID, requestID))
	var err error
	if h.code.abi == orlav1.Abi_ABI_CGI {
		err = h.runCGI(ctx, x, log, stop)
	} else {
		err = h.runHTTPWasm(ctx, x, log)
	}
	if err != nil && context.Cause(ctx) != nil {
		err = fmt.Errorf("%w (%w)", context.Cause(ctx), err)
	}
	return err
}

func (h *handler) runCGI(ctx context.Context, x *host.Exchange, log *host.Log, stop context.CancelCauseFunc) error {
	out, stderr := cgi.NewOutput(x, stop), log.Stream("stderr")
	defer stderr.Flush()
	cfg := h.config.WithStdin(x).WithStdout(out).WithStderr(stderr)
	for _, v := range cgi.Env(x.Request, h.mount) {
		cfg = cfg.WithEnv(v.Name, v.Value)
	}
	i, err := h.instantiate(ctx, cfg)
	if err != nil {
		return err
	}
	err = i.call(ctx, "_start")
	if closing := i.close(context.WithoutCancel(ctx)); closing != nil {
		err = errors.Join(err, closing)
	}
	if code, exited := exitCode(err); exited && context.Cause(ctx) == nil && (code == 0 || x.Started()) {
		if err = nil; code != 0 { // as with any CGI program, the answer counts
			log.Line(slog.LevelWarn, "exit", fmt.Sprintf("exit code %d", code))
		}
	}
	if err != nil {
		return err
	}
	return out.Close()
}

func (h *handler) runHTTPWasm(ctx context.Context, x *host.Exchange, log *host.Log) error {
	stdout, stderr := log.Stream("stdout"), log.Stream("stderr")
	defer stderr.Flush()
	defer stdout.Flush()
	i, err := h.instantiate(ctx, h.config.WithStdout(stdout).WithStderr(stderr))
	if err != nil {
		return err
	}
	c := &httpwasm.Call{Exchange: x, Log: log, Config: h.guestConfig}
	if err = i.initialise(c.Context(ctx)); err == nil {
		err = protect("serve", func() error { return c.Serve(ctx, i.mod) })
	}
	return errors.Join(err, i.close(context.WithoutCancel(ctx)))
}

// traced returns r with the span of ctx as the parent that the guest sees. Where there
// is no span, the client's own traceparent passes.
func traced(ctx context.Context, r *http.Request) *http.Request {
	if !trace.SpanContextFromContext(ctx).IsValid() {
		return r
	}
	r = r.Clone(ctx)
	propagation.TraceContext{}.Inject(ctx, propagation.HeaderCarrier(r.Header))
	return r
}

// classify tells how an invocation ended. The context is the client's; it says nothing
// about an invocation that the node has stopped, because stopping cuts the connection's
// reading side, which cancels the context.
func classify(client context.Context, err error) outcome {
	switch {
	case err == nil:
		return succeeded
	case errors.Is(err, errDeadline):
		return timedOut
	case errors.Is(err, cgi.ErrHead):
		return malformed
	case client.Err() != nil:
		return canceled
	}
	return crashed
}

// refuse answers in the guest's place: a fixed phrase and the request's id.
func refuse(w http.ResponseWriter, out outcome, requestID string) {
	status, phrase := http.StatusBadGateway, "the function failed"
	switch out {
	case overloaded:
		status, phrase = http.StatusServiceUnavailable, "the function is busy, try again"
		w.Header().Set("Retry-After", "1")
	case timedOut:
		status, phrase = http.StatusGatewayTimeout, "the function took too long"
	}
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Del("Content-Length")
	w.WriteHeader(status)
	if requestID != "" {
		phrase += "\nrequest " + requestID
	}
	_, _ = fmt.Fprintf(w, "%d %s: %s\n", status, http.StatusText(status), phrase) // the client may be gone
}
