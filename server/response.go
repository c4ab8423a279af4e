package server

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
)

// serverName is the value of the Server field. Its capacity is its length, so
// that an Add copies it.
var serverName = []string{"orla"}

var closeConnection = []string{"close"}

// The exchange is the handler's ResponseWriter. All the optional interfaces are
// there; those that the protocol does not have fail as [http.ResponseController]
// documents it.
var (
	_ http.Flusher    = (*exchange)(nil)
	_ http.Hijacker   = (*exchange)(nil)
	_ io.ReaderFrom   = (*exchange)(nil)
	_ io.StringWriter = (*exchange)(nil)
)

// Header implements [http.ResponseWriter].
func (x *exchange) Header() http.Header { return x.w.Header() }

// Unwrap is for [http.ResponseController].
func (x *exchange) Unwrap() http.ResponseWriter { return x.w }

// EnableFullDuplex is for [http.ResponseController].
func (x *exchange) EnableFullDuplex() error {
	x.duplex = x.r.ProtoMajor == 1
	return http.NewResponseController(x.w).EnableFullDuplex()
}

// WriteHeader implements [http.ResponseWriter].
func (x *exchange) WriteHeader(status int) {
	switch {
	case x.status != 0 || x.hijacked:
		return // once is enough; net/http would log it
	case status < 200 && status != http.StatusSwitchingProtocols:
		x.w.WriteHeader(status) // informational: more to come
		return
	case x.body.slow.Load() && status >= 400:
		status = http.StatusRequestTimeout // whatever the handler made of it
	}
	x.begin(status)
	x.w.WriteHeader(status)
}

// begin sets what every answer has, and what of it the handler cannot override.
func (x *exchange) begin(status int) {
	x.status, x.tel.Status = status, status
	h := x.w.Header()
	h["Server"] = serverName[:1:1]
	h[fieldRequestID] = x.id[:1:1]
	if status == http.StatusSwitchingProtocols {
		return
	}
	if x.r.ProtoMajor == 1 {
		x.body.arm(time.Now()) // net/http may read the rest before it writes
	}
	if x.mustClose() {
		h["Connection"] = closeConnection[:1:1] // HTTP/2 turns it into a GOAWAY
	}
}

func (x *exchange) mustClose() bool {
	return x.srv.draining.Load() || x.r.ProtoMajor == 1 && (x.closing || x.body.slow.Load() || x.srv.drained.Load())
}

// beginBody is for a body without WriteHeader before it.
func (x *exchange) beginBody() {
	switch {
	case x.status != 0:
	case x.body.slow.Load():
		x.WriteHeader(http.StatusRequestTimeout)
	default:
		x.begin(http.StatusOK) // net/http writes it
	}
}

// Write implements [http.ResponseWriter].
func (x *exchange) Write(p []byte) (int, error) {
	x.beginBody()
	n, err := guarded(x, p, x.w.Write)
	x.count(int64(n))
	return n, err
}

// WriteString implements [io.StringWriter].
func (x *exchange) WriteString(s string) (int, error) {
	x.beginBody()
	n, err := guarded(x, s, func(s string) (int, error) { return io.WriteString(x.w, s) })
	x.count(int64(n))
	return n, err
}

// guarded writes text with write, on HTTP/2 in pieces that each have their time.
func guarded[T []byte | string](x *exchange, text T, write func(T) (int, error)) (n int, err error) {
	if x.guard.w == nil {
		return write(text)
	}
	for {
		piece := text[:min(len(text), writePiece)]
		x.guard.arm()
		m, err := write(piece)
		x.guard.disarm()
		n += m
		if err != nil || len(piece) == len(text) {
			return n, err
		}
		text = text[len(piece):]
	}
}

// ReadFrom implements [io.ReaderFrom]: over HTTP/1 without TLS, a file goes out
// by sendfile(2).
func (x *exchange) ReadFrom(r io.Reader) (int64, error) {
	rf, ok := x.w.(io.ReaderFrom)
	if !ok {
		return copyPooled(writerOnly{x}, r)
	}
	x.beginBody()
	n, err := rf.ReadFrom(r)
	x.count(n)
	return n, err
}

func (x *exchange) count(n int64) {
	if x.r.Method != http.MethodHead {
		x.sent += n
	}
}

// Flush implements [http.Flusher].
func (x *exchange) Flush() { _ = x.FlushError() }

// FlushError is for [http.ResponseController].
func (x *exchange) FlushError() error {
	x.beginBody()
	x.guard.arm()
	defer x.guard.disarm()
	return http.NewResponseController(x.w).Flush()
}

// Hijack implements [http.Hijacker].
func (x *exchange) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, rw, err := http.NewResponseController(x.w).Hijack()
	if err != nil {
		return nil, nil, err
	}
	if x.status == 0 {
		x.begin(http.StatusSwitchingProtocols) // what the taker will most likely write
	}
	x.hijacked = true
	if x.peer.scan != nil {
		x.peer.scan.stop()
	}
	return c, rw, nil
}

// SetReadDeadline is for [http.ResponseController]. It ends the minimum rate of
// the request's body.
func (x *exchange) SetReadDeadline(t time.Time) error {
	x.body.release()
	return http.NewResponseController(x.w).SetReadDeadline(t)
}

// page answers with a fixed phrase and the request's id.
func (x *exchange) page(status int) {
	text := strconv.Itoa(status) + " " + http.StatusText(status) + "\n\nRequest " + x.id[0] + "\n"
	h := x.w.Header()
	hsts := h["Strict-Transport-Security"] // a promise that errors keep, too
	clear(h)                               // of what a handler that panicked had in mind
	if hsts != nil {
		h["Strict-Transport-Security"] = hsts
	}
	h["Content-Type"] = []string{"text/plain; charset=utf-8"}
	h["X-Content-Type-Options"] = []string{"nosniff"}
	h["Cache-Control"] = []string{"no-store"}
	h["Content-Length"] = []string{strconv.Itoa(len(text))}
	if status == http.StatusMethodNotAllowed {
		h["Allow"] = []string{methods}
	}
	x.WriteHeader(status)
	_, _ = x.WriteString(text) // a client that has gone is no event
}
