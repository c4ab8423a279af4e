package runtime

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/orla-edge/orla/runtime/cgi"
	"github.com/orla-edge/orla/runtime/host"
	"github.com/orla-edge/orla/runtime/httpwasm"
)

// outcome is how an invocation ended: a label of few values.
type outcome string

const (
	succeeded    outcome = "ok"
	timedOut     outcome = "deadline" // stopped by the wall clock
	overCPU      outcome = "cpu"      // stopped by its CPU time
	canceled     outcome = "canceled" // the client went away
	crashed      outcome = "crash"    // trap, exit, fault against the ABI, memory or stack used up
	exceeded     outcome = "limit"    // another limit of the function
	malformed    outcome = "response" // an answer that is no HTTP response
	overloaded   outcome = "overload" // no place, no memory, no instance
	broken       outcome = "circuit"  // not called: it keeps crashing
	tooLargeBody outcome = "request"  // not called: the request's body is too large
	downstream   outcome = "next"     // what stands behind middleware failed
)

var outcomes = []outcome{
	succeeded, timedOut, overCPU, canceled, crashed, exceeded, malformed, overloaded, broken, tooLargeBody, downstream,
}

// failed reports whether the guest is at fault.
func (o outcome) failed() bool {
	switch o {
	case timedOut, overCPU, crashed, exceeded, malformed:
		return true
	}
	return false
}

// circuitError says that the function is not called for so long.
type circuitError struct{ wait time.Duration }

// Error implements error.
func (e *circuitError) Error() string {
	return fmt.Sprintf("runtime: the function keeps crashing; it is tried again in %s", e.wait.Round(time.Millisecond))
}

// limitOf names the limit that err says was reached; "" if none was.
func limitOf(err error) string {
	switch s := stopped(err); {
	case s != nil:
		return s.limit
	case errors.Is(err, host.ErrRequestSize):
		return "request_body"
	case errors.Is(err, host.ErrResponseSize):
		return "response_body"
	}
	return ""
}

// classify tells how an invocation ended. The context is the client's; it says nothing
// about an invocation that the node has stopped, because stopping cuts the connection's
// reading side, which cancels the context.
func classify(client context.Context, err error) outcome {
	if err == nil {
		return succeeded
	}
	s := stopped(err)
	switch {
	case s != nil:
		return s.out
	case errors.Is(err, host.ErrRequestSize):
		return tooLargeBody
	case errors.Is(err, host.ErrResponseSize):
		return exceeded
	case full(err):
		return overloaded
	case errors.Is(err, cgi.ErrHead):
		return malformed
	case client.Err() != nil:
		return canceled
	case errors.Is(err, httpwasm.ErrNext):
		return downstream
	}
	return crashed
}

// refuse answers in the guest's place: a fixed phrase and the request's id.
func refuse(w http.ResponseWriter, out outcome, requestID string, err error) {
	status, phrase := http.StatusBadGateway, "the function failed"
	h := w.Header()
	switch out {
	case overloaded:
		status, phrase = http.StatusServiceUnavailable, "the function is busy, try again"
		h.Set("Retry-After", "1")
	case broken:
		status, phrase = http.StatusServiceUnavailable, "the function is failing, try again later"
		if c, ok := errors.AsType[*circuitError](err); ok {
			h.Set("Retry-After", strconv.Itoa(int(c.wait/time.Second)+1))
		}
	case timedOut, overCPU:
		status, phrase = http.StatusGatewayTimeout, "the function took too long"
	case tooLargeBody:
		status, phrase = http.StatusRequestEntityTooLarge, "the request's body is too large"
	}
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Del("Content-Length")
	w.WriteHeader(status)
	if requestID != "" {
		phrase += "\nrequest " + requestID
	}
	_, _ = fmt.Fprintf(w, "%d %s: %s\n", status, http.StatusText(status), phrase) // the client may be gone
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line[:min(len(line), 300)]
}
