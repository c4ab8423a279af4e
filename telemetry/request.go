package telemetry

import (
	"context"
	"time"
)

// Request is what the layers that a request passes leave behind for its log
// line, span and metrics. The server makes it, dispatch and the targets fill it
// in, all on the request's own goroutine; the server reads it when the handler
// has returned.
type Request struct {
	// ID is the X-Request-Id, the client's own if it was acceptable.
	ID    string
	Start time.Time
	// App is the app or route set that owns the host; empty if none does.
	App string
	// Release is the number of the app's release that answers.
	Release uint64
	// Route is the pattern that matched: "/users/{id}"; empty if none did.
	Route string
	// Target is "site", "function", "proxy", "redirect" or "respond".
	Target string
	// Function is the name of the function that answered, if one did.
	Function string
	// Upstream is the app server that answered, if one did: "10.0.0.5:8080".
	Upstream string
	// Guest is the time spent inside the guest.
	Guest time.Duration
	// CPU is the CPU time that guests used, those of middleware included.
	CPU time.Duration
	// GuestFailed tells that a guest trapped, ran into one of its limits, or made an
	// answer that is no HTTP response.
	GuestFailed bool
	// Status is that of the answer; 0 until it begins. The server sets it.
	Status int
	// Err is the cause of an answer that the client only sees as a fixed phrase.
	Err error
}

type requestKey struct{}

// WithRequest returns a context that carries r.
func WithRequest(ctx context.Context, r *Request) context.Context {
	return context.WithValue(ctx, requestKey{}, r)
}

// RequestFrom returns the Request that ctx carries, or a fresh one that nobody
// will read, so that a handler need not ask whether there is one.
func RequestFrom(ctx context.Context) *Request {
	if r, ok := ctx.Value(requestKey{}).(*Request); ok {
		return r
	}
	return new(Request)
}
