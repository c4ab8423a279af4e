package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/orla-edge/orla/telemetry"
)

// exchange is one request and its answer. It is made in one piece and never
// reused: what a handler started may outlive the handler.
type exchange struct {
	srv  *Server
	w    http.ResponseWriter
	r    *http.Request // with the exchange's context and body
	peer *peer
	tel  telemetry.Request
	span trace.Span // nil if nobody traces
	id   [1]string

	body  body
	guard guard

	status   int   // 0 until the answer begins
	sent     int64 // bytes of the answer's body
	closing  bool  // an HTTP/1 connection must not be used again
	hijacked bool
	duplex   bool // HTTP/1's handler reads and writes at the same time
}

// serveHTTP is the handler of net/http's servers.
func (s *Server) serveHTTP(w http.ResponseWriter, r *http.Request) {
	p, ok := r.Context().Value(peerKey{}).(*peer)
	if !ok {
		panic("server: a request without a connection of ours")
	}
	if p.conn.in(stateUnused) {
		panic(http.ErrAbortHandler) // it was closed before the request had been read
	}
	x := &exchange{srv: s, w: w, r: r, peer: p}
	x.tel.Start = time.Now()
	x.tel.ID = requestID(r.Header)
	x.id[0] = x.tel.ID
	refused := x.check()
	x.prepare()
	s.metrics.begin(r)
	defer x.finish()
	switch {
	case refused != nil:
		x.refuse(refused)
	case x.r.RequestURI == "*":
		x.Header()["Allow"] = []string{methods}
		x.WriteHeader(http.StatusNoContent)
	default:
		s.cfg.Handler.ServeHTTP(x, x.r)
	}
}

// check normalises the request in place.
func (x *exchange) check() *refusal {
	var f framing
	if x.peer.scan != nil {
		f = x.peer.scan.take()
		x.closing = f.suspicious(len(x.r.TransferEncoding) > 0) || f.unknown && !x.r.ProtoAtLeast(1, 1)
	}
	refused := normalise(x.r, f, &x.srv.cfg.Limits)
	x.r.Header[fieldRequestID] = x.id[:1:1] // upstreams and guests log it too
	return refused
}

// prepare gives the request its context and its watched body.
func (x *exchange) prepare() {
	ctx := telemetry.WithRequest(x.r.Context(), &x.tel)
	if x.srv.tracer != nil {
		ctx = x.startSpan(ctx)
	}
	x.r = x.r.WithContext(ctx)
	x.guard.init(x.r, x.w, x.srv.cfg.Limits.WriteStall)
	if x.r.Body != nil && x.r.Body != http.NoBody {
		x.body.init(x.r.Body, x.w, &x.srv.cfg.Limits)
		x.r.Body = &x.body
	}
}

func (x *exchange) refuse(why *refusal) {
	x.tel.Err = why
	x.closing = x.closing || why.status != http.StatusMethodNotAllowed
	x.page(why.status)
}

// finish is deferred: it recovers, ends the answer and writes down what
// happened.
func (x *exchange) finish() {
	abort := x.recovered(recover())
	if x.r.MultipartForm != nil {
		_ = x.r.MultipartForm.RemoveAll() // net/http only knows its own request
	}
	switch {
	case abort || x.hijacked:
	case x.status == 0 && x.body.slow.Load():
		x.page(http.StatusRequestTimeout)
	case x.status == 0:
		x.begin(http.StatusOK) // net/http writes it
	}
	if !abort {
		x.drain()
	}
	x.body.release()
	if !abort {
		x.guard.finish()
	}
	if x.body.slow.Load() && x.tel.Err == nil {
		x.tel.Err = ErrSlowBody
	}
	x.observe(abort)
	if abort {
		panic(http.ErrAbortHandler) // net/http closes the connection or resets the stream
	}
}

// recovered takes what a handler panicked with, nil if it did not, and reports
// whether the answer has to be cut off.
func (x *exchange) recovered(cause any) (abort bool) {
	if cause == nil {
		return false
	}
	if err, ok := cause.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		if x.tel.Err == nil {
			x.tel.Err = err
		}
		return true
	}
	x.tel.Err = fmt.Errorf("server: handler panicked: %v", cause)
	x.srv.metrics.panicked(x.r.Context())
	x.srv.log.LogAttrs(context.WithoutCancel(x.r.Context()), levelPanic, "handler panicked", x.panicAttrs(cause, debug.Stack())...)
	if x.status != 0 || x.hijacked {
		return true
	}
	x.page(http.StatusInternalServerError)
	return false
}
