package proxy

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"strconv"
	"syscall"
)

// What the client did not get an upstream's answer for. They are found in the
// Err of the request's [telemetry.Request], bare or wrapped.
var (
	errAllDown     = errors.New("proxy: the health checks of all upstreams fail")
	errHeadTimeout = errors.New("proxy: the upstream did not answer in time")
	errClientGone  = errors.New("proxy: the client is gone")
	errLoop        = errors.New("proxy: the request has passed this proxy too often: an upstream leads back to it")
	errUpgrade     = errors.New("proxy: the Upgrade field is not printable")
)

// connectError is the failure to get a connection; nothing has been sent.
type connectError struct{ cause error }

// Error implements error.
func (e *connectError) Error() string { return "connect to upstream: " + e.cause.Error() }

// Unwrap returns the cause.
func (e *connectError) Unwrap() error { return e.cause }

// StatusClientGone is the status that the log shows for a request whose client
// did not wait for the answer. Nobody receives it.
const StatusClientGone = 499

// fail answers with a fixed phrase and the request's id; the cause goes to the
// request's record.
func (x *exchange) fail(err error) {
	if c := x.body.failure(); c != nil {
		err = fmt.Errorf("proxy: read request body: %w", c)
	}
	x.record.Err = err
	status, phrase := x.phrase(err)
	h := x.w.Header()
	if status == http.StatusServiceUnavailable {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(x.p.c.HealthInterval.Seconds()))))
	}
	if x.r.ProtoMajor == 1 && !x.body.drained() {
		h.Set("Connection", "close") // what is left must not be read as a request
	}
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	x.w.WriteHeader(status)
	if x.record.ID != "" {
		phrase += "\nrequest id: " + x.record.ID
	}
	// A client that is gone does not need it.
	_, _ = io.WriteString(x.w, phrase+"\n")
}

// phrase returns what the client is told about err.
func (x *exchange) phrase(err error) (int, string) {
	switch {
	case x.body.failure() != nil:
		return bodyPhrase(x.body.failure())
	case errors.Is(err, errClientGone):
		return StatusClientGone, "client closed the connection"
	case errors.Is(err, errHeadTimeout):
		return http.StatusGatewayTimeout, "the app server did not answer in time"
	case errors.Is(err, errAllDown):
		return http.StatusServiceUnavailable, "no app server is available"
	case errors.Is(err, errLoop):
		return http.StatusLoopDetected, "the app server leads back here"
	case errors.Is(err, errUpgrade):
		return http.StatusBadRequest, "bad Upgrade header"
	}
	return http.StatusBadGateway, "the app server could not be reached or gave no valid answer"
}

// bodyPhrase returns what the client is told about its own request's body.
func bodyPhrase(err error) (int, string) {
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return http.StatusRequestEntityTooLarge, "request body too large"
	case errors.Is(err, os.ErrDeadlineExceeded):
		return http.StatusRequestTimeout, "request body took too long"
	case isGone(err):
		return StatusClientGone, "client closed the connection"
	}
	return http.StatusBadRequest, "malformed request body"
}

// isGone reports whether err is what the end of a client's connection looks like.
func isGone(err error) bool {
	return errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// errorType is the short word for err on a span.
func errorType(err error) string {
	var c *connectError
	switch {
	case errors.As(err, &c):
		return "connect"
	case errors.Is(err, errHeadTimeout):
		return "timeout"
	case errors.Is(err, errClientGone):
		return "client_gone"
	}
	return "_OTHER"
}
