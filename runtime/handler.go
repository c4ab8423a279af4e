package runtime

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/runtime/cgi"
	"github.com/orla-edge/orla/runtime/host"
	"github.com/orla-edge/orla/runtime/httpwasm"
	"github.com/orla-edge/orla/telemetry"
)

const (
	// grace is how long a guest that asks whether its client has gone may go on when it
	// has.
	grace = time.Second
	// heed is how long a guest has to ask.
	heed = 100 * time.Millisecond
)

// Handler returns what answers the requests of one route: pattern is the route's
// ("/api/*"), scriptName its literal part ("/api", or "" for "/*").
//
// The handler answers with a fixed status and phrase, and the request's id, where the
// guest does not: 413 for a body larger than the function may read, 503 when no place
// becomes free or the function keeps crashing, 504 when its time is up, 502 when the
// guest fails. The cause goes to the log, the span and [telemetry.Request]. When the
// answer has begun already, it panics with [http.ErrAbortHandler], so that the client
// sees that it is cut short.
func (p *Program) Handler(pattern, scriptName string) http.Handler {
	return &handler{Program: p, mount: cgi.Mount{Pattern: pattern, ScriptName: scriptName}}
}

// Middleware returns a Handler that lets the program, an http-wasm handler, see each
// request before next does, and the answer after it. The time that next takes is not
// the function's. Programs of other ABIs cannot be middleware ([Program.ABI]).
func (p *Program) Middleware(next http.Handler, pattern, scriptName string) http.Handler {
	return &handler{Program: p, mount: cgi.Mount{Pattern: pattern, ScriptName: scriptName}, next: next}
}

type handler struct {
	*Program
	mount cgi.Mount
	next  http.Handler // nil unless the program is middleware
}

// ServeHTTP answers with a clean instance.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	rec := telemetry.RequestFrom(r.Context())
	if h.next == nil {
		rec.Target, rec.Function = "function", h.name
	}
	out, begun, err := h.admit(w, r, rec)
	if rec.Target == "" { // middleware that did not hand the request on
		rec.Target, rec.Function = "function", h.name
	}
	ctx := context.WithoutCancel(r.Context())
	h.obs.done(ctx, out, time.Since(began))
	if h.circuit.done(time.Now(), out, err) {
		h.logger.ErrorContext(ctx, "function keeps crashing; answering 503 for a while", telemetry.KeyError, err)
	}
	if err == nil {
		return
	}
	rec.Err = err
	rec.GuestFailed = rec.GuestFailed || out.failed()
	h.log(ctx, rec.ID, out, err)
	if begun || out == canceled {
		panic(http.ErrAbortHandler)
	}
	refuse(w, out, rec.ID, err)
}

// log writes down how an invocation has failed.
func (h *handler) log(ctx context.Context, id string, out outcome, err error) {
	if out == overloaded || out == canceled || out == broken {
		return
	}
	attrs := []slog.Attr{slog.String(telemetry.KeyRequestID, id), slog.String("outcome", string(out)), slog.Any(telemetry.KeyError, err)}
	if limit := limitOf(err); limit != "" {
		attrs = append(attrs, slog.String(telemetry.KeyLimit, limit))
		h.obs.hit(ctx, limit)
	}
	h.logger.LogAttrs(ctx, slog.LevelWarn, "function failed", attrs...)
}

// admit lets a request in, if there is place and the function works; begun tells
// whether the answer has.
func (h *handler) admit(w http.ResponseWriter, r *http.Request, rec *telemetry.Request) (out outcome, begun bool, err error) {
	ctx := r.Context()
	if r.ContentLength > h.limits.request && h.next == nil {
		return tooLargeBody, false, host.ErrRequestSize
	}
	if ok, wait := h.circuit.allow(time.Now()); !ok {
		return broken, false, &circuitError{wait}
	}
	if err := h.gate.enter(ctx, func(n int64) { h.obs.queued.Add(ctx, n, h.obs.labels) }); err != nil {
		if errors.Is(err, errBusy) {
			return overloaded, false, err
		}
		return canceled, false, err
	}
	defer h.gate.leave()
	l, err := h.hold(ctx)
	if err != nil {
		return classify(ctx, err), false, err
	}
	defer func() { h.engine.report(ctx, l.drop(ctx)) }()
	l.busy.Add(1)
	defer l.busy.Add(-1)
	h.used.Store(time.Now().UnixNano())
	return h.serve(w, r, rec, l)
}

// serve runs the guest, with a span around it.
func (h *handler) serve(w http.ResponseWriter, r *http.Request, rec *telemetry.Request, l *loaded) (out outcome, begun bool, err error) {
	began := time.Now()
	ctx, span := h.obs.start(r.Context(), rec.ID)
	x := host.NewExchange(w, traced(ctx, r))
	if h.next == nil { // else the bodies are those of what stands behind
		x.MaxRequest, x.MaxResponse = h.limits.request, h.limits.response
	}
	cpu, err := h.run(ctx, x, rec.ID, l)
	rec.Guest += time.Since(began)
	rec.CPU += cpu
	out = classify(r.Context(), err)
	h.obs.end(context.WithoutCancel(ctx), span, out, err, time.Since(began), cpu)
	return out, x.Started(), err
}

// run takes an instance, calls the guest, and sees to it that nothing of either is left
// when it returns.
func (h *handler) run(ctx context.Context, x *host.Exchange, id string, l *loaded) (cpu time.Duration, err error) {
	i, err := h.instance(ctx, l)
	if err != nil {
		return 0, err
	}
	r, stop := h.newRun(ctx, &h.limits)
	defer func() {
		err = errors.Join(err, h.giveBack(ctx, l, i, err))
	}()
	if i.fork == nil {
		i.enter(r)
	}
	gone := client{heeds: h.abi == orlav1.Abi_ABI_HTTP_WASM}
	defer r.follow(ctx, x, &gone)()
	defer stop()
	x.Clock = &r.meter
	if h.limits.timing {
		x.OnStart = r.serverTiming
	}
	log := h.newLog(ctx, id)
	r.kv = &kvAccess{kv: h.kv, stores: h.stores, log: log}
	if h.abi == orlav1.Abi_ABI_CGI {
		err = h.runCGI(i, r, x, log)
	} else {
		err = h.runHTTPWasm(r, x, log, &gone)
	}
	if cause := context.Cause(r); err != nil && cause != nil && !errors.Is(err, cause) {
		err = fmt.Errorf("%w (%w)", cause, err)
	}
	if err != nil && i.mem.Refused() && stopped(err) == nil && r.Err() == nil {
		err = fmt.Errorf("%w (%w)", tooMuchMemory(h.limits.memory), err)
	}
	return r.meter.cpu, err
}

// instance returns one that is clean.
func (h *handler) instance(ctx context.Context, l *loaded) (*instance, error) {
	if i := l.take(); i != nil {
		return i, nil
	}
	return l.make(ctx, h.Program)
}

// giveBack keeps the instance for the next request, or frees it.
func (p *Program) giveBack(ctx context.Context, l *loaded, i *instance, failed error) error {
	why := p.clear(l, i, failed)
	if i.idle = time.Now(); i.fork == nil {
		i.run = nil
	}
	if why == nil {
		l.count(i, int64(i.mem.Size()))
		l.keep(i)
		return nil
	}
	p.logger.DebugContext(ctx, "instance is not used again", telemetry.KeyError, why)
	return l.discard(ctx, i)
}

// clear makes the instance fit for another request. An error says why it is not.
func (p *Program) clear(l *loaded, i *instance, failed error) error {
	switch {
	case p.limits.fresh || l.snap.image == nil:
		return errors.New("each request has an instance of its own")
	case i.fork != nil:
		return i.fork.last.unclean
	case !p.limits.pooled:
		return i.reset(l.snap.globals)
	case failed != nil:
		return failed
	case i.mem.Size() > p.limits.memory/4*3:
		return errors.New("its memory is nearly used up")
	}
	i.unwind()
	return nil
}

// client tells whether the client has gone, to a guest that asks.
type client struct {
	heeds       bool // the guest's ABI lets it ask
	gone, asked atomic.Bool
}

func (c *client) isGone() bool {
	c.asked.Store(true)
	return c.gone.Load()
}

// follow ends the run's waiting when its time is up or its client goes away. The caller
// calls what it returns when the guest has ended.
func (r *run) follow(ctx context.Context, x *host.Exchange, c *client) func() {
	r.attach(x)
	forget := context.AfterFunc(ctx, func() {
		c.gone.Store(true)
		r.halt()
		end := func() { r.end(context.Cause(ctx)) }
		if !c.heeds {
			end()
			return
		}
		time.AfterFunc(heed, func() {
			if !c.asked.Load() {
				end()
			}
		})
		time.AfterFunc(grace, end)
	})
	return func() {
		forget()
		r.attach(nil)
		x.Close()
	}
}

func (h *handler) newLog(ctx context.Context, id string) *host.Log {
	log := host.NewLog(ctx, h.logger)
	log.Attr = slog.String(telemetry.KeyRequestID, id)
	log.MaxBytes, log.Rate = h.limits.log, h.logRate
	log.Dropped = func(limit string) { h.obs.hit(ctx, limit) }
	return log
}

func (h *handler) runCGI(i *instance, r *run, x *host.Exchange, log *host.Log) error {
	out, stderr := cgi.NewOutput(x, r.end), log.Stream("stderr")
	defer stderr.Flush()
	r.stdin, r.stdout, r.stderr = x, out, stderr
	r.env = merge(h.env, cgi.Env(x.Request, h.mount))
	err := r.command(i)
	if code, exited := exitCode(err); exited && context.Cause(r) == nil && (code == 0 || x.Started()) {
		if err = nil; code != 0 { // as with any CGI program, the answer counts
			log.Line(slog.LevelWarn, "exit", fmt.Sprintf("exit code %d", code))
		}
	}
	if err != nil {
		return err
	}
	return out.Close()
}

// merge returns the variables of the function and those of the request, which win.
func merge(function []string, request []cgi.Var) []string {
	all := make([]string, 0, len(function)+len(request))
	for _, v := range function {
		name, _, _ := strings.Cut(v, "=")
		if !slices.ContainsFunc(request, func(v cgi.Var) bool { return v.Name == name }) {
			all = append(all, v)
		}
	}
	for _, v := range request {
		all = append(all, v.Name+"="+v.Value)
	}
	return all
}

func (h *handler) runHTTPWasm(r *run, x *host.Exchange, log *host.Log, c *client) error {
	stdout, stderr := log.Stream("stdout"), log.Stream("stderr")
	defer stderr.Flush()
	defer stdout.Flush()
	r.stdout, r.stderr = stdout, stderr
	call := &httpwasm.Call{Exchange: x, Log: log, Config: h.guestConfig, Check: r.check, Gone: c.isGone}
	if h.next != nil {
		call.Next = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			defer r.suspend()()
			h.next.ServeHTTP(w, req)
		})
	}
	return protect("serve", func() error { return call.Serve(r, r) })
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

// serverTiming tells the client what the request has cost so far (W3C Server Timing).
func (r *run) serverTiming(h http.Header) {
	h.Add("Server-Timing", fmt.Sprintf("guest;dur=%s, cpu;dur=%s", ms(time.Since(r.began)), ms(r.meter.used())))
}

func ms(d time.Duration) string { return strconv.FormatFloat(float64(d)/1e6, 'f', 3, 64) }
