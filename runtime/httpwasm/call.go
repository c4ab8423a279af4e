package httpwasm

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/orla-edge/orla/runtime/host"
)

// MaxBuffer is how many bytes of a body the host keeps for a guest.
const MaxBuffer = 16 << 20

// ErrBuffer says that a body that had to be kept is larger than [MaxBuffer].
var ErrBuffer = errors.New("httpwasm: body too large to be buffered")

// ErrNext says that the next handler has failed.
var ErrNext = errors.New("httpwasm: the next handler failed")

// Guest is an instance of a handler. An error is a trap, or the cause of the context.
type Guest interface {
	// HandleRequest calls the export of that name.
	HandleRequest(ctx context.Context) (contextNext uint64, err error)
	// HandleResponse calls the export of that name, if there is one.
	HandleResponse(ctx context.Context, requestContext, isError uint32) error
}

// Call is one request in one guest. Exchange and Log must be set.
type Call struct {
	Exchange *host.Exchange
	Log      *host.Log
	// Config is what get_config returns.
	Config string
	// Next answers what the guest hands on; nil means with 404.
	Next http.Handler
	// Check ends the guest, by a panic, if it may not go on. It is called now and then, and
	// around what may take long; nil means that nobody minds.
	Check func()
	// Gone reports whether the client has gone; nil means that nobody knows.
	Gone func() bool

	calls    uint
	features Feature
	request  *http.Request // as the guest has changed it
	body     requestBody
	answer   answer
	phase    phase
	guest    guest // of the host function that runs
}

// phase tells which host functions mean what.
type phase int

const (
	initialising phase = iota // no request yet
	inRequest                 // in handle_request
	inResponse                // in handle_response
)

// Context returns a context in which the host functions find c: for initialisation, in
// which there is no request yet.
func (c *Call) Context(ctx context.Context) context.Context {
	return context.WithValue(ctx, callKey{}, c)
}

// Serve calls handle_request, then, if the guest hands on, the next handler and
// handle_response. The context carries the deadline. An error is the guest's, or the
// cause of the context; whether the answer has begun is for the Exchange to tell.
func (c *Call) Serve(ctx context.Context, g Guest) error {
	c.begin()
	ctx = c.Context(ctx)
	res, err := g.HandleRequest(ctx)
	if err != nil {
		return fmt.Errorf("call %s: %w", HandleRequest, err)
	}
	if uint32(res) == 0 { // next
		return c.answer.finish()
	}
	if c.answer.begun() {
		return fmt.Errorf("%w: it handed on a request that it had begun to answer", ErrGuest)
	}
	return c.next(ctx, g, uint32(res>>32))
}

func (c *Call) begin() {
	c.phase = inRequest
	r := c.Exchange.Request
	c.request = r
	c.body = requestBody{x: c.Exchange}
	c.answer = answer{x: c.Exchange, header: make(http.Header), status: http.StatusOK}
}

// next runs the next handler and handle_response.
func (c *Call) next(ctx context.Context, g Guest, guestContext uint32) error {
	w := c.answer.record(c.features)
	err := c.serveNext(w)
	c.phase = inResponse
	failed := uint32(0)
	if err != nil {
		failed = 1
	}
	if e := g.HandleResponse(ctx, guestContext, failed); e != nil {
		return errors.Join(err, fmt.Errorf("call %s: %w", HandleResponse, e))
	}
	if err != nil {
		return err
	}
	return c.answer.finish()
}

func (c *Call) serveNext(w http.ResponseWriter) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", ErrNext, p)
		}
	}()
	next := c.Next
	if next == nil {
		next = http.NotFoundHandler()
	}
	r := c.request.WithContext(c.Exchange.Request.Context()) // the deadline is the guest's alone
	r.Body = c.body.handOn()
	if c.body.replaced != nil {
		r.ContentLength = int64(len(c.body.replaced))
	}
	next.ServeHTTP(w, r)
	c.answer.takeTrailers()
	return c.answer.err
}
