package guest

import (
	"fmt"
	"net/http"
	"net/url"
	"runtime/debug"
	"strconv"
)

//go:wasmexport handle_request
func handleRequest() uint64 {
	serve()
	return 0 // answered
}

//go:wasmexport handle_response
func handleResponse(_, _ uint32) {}

func serve() {
	if handler == nil {
		logLine(levelError, "guest: no handler: call guest.Handle in an init function")
		hostStatus(http.StatusInternalServerError)
		return
	}
	x := takeExchange()
	defer x.ctx.cancel()
	w, r := x.response, x.request
	if err := x.read(); err != nil {
		logLine(levelError, "guest: request: "+err.Error())
		http.Error(w, http.StatusText(http.StatusBadRequest), http.StatusBadRequest)
		w.finish()
		return
	}
	w.head = r.Method == http.MethodHead
	call(w, r)
}

// call runs the handler. A panic before the answer has begun becomes a 500; a later
// one, like [http.ErrAbortHandler], ends the guest, so that the client sees that the
// answer is cut short.
func call(w *response, r *http.Request) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		if p != http.ErrAbortHandler {
			logLine(levelError, fmt.Sprintf("guest: handler panicked: %v", p))
			logLine(levelError, string(debug.Stack()))
		}
		if w.sent || p == http.ErrAbortHandler {
			panic(p)
		}
		w.reset()
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		w.finish()
	}()
	handler.ServeHTTP(w, r)
	w.finish()
}

// exchange is what a request needs.
type exchange struct {
	ctx      *requestContext
	request  *http.Request
	response *response
	body     *body
}

// spare is an exchange that was made before its request came: in a memory that is made
// clean for each request it is there each time.
var spare *exchange

func newExchange() *exchange {
	ctx := newRequestContext(clientGone)
	r := (&http.Request{Header: make(http.Header, 16), ContentLength: -1}).WithContext(ctx)
	return &exchange{ctx: ctx, request: r, response: newResponse(ctx), body: &body{request: r, ctx: ctx}}
}

func takeExchange() *exchange {
	x := spare
	if spare = nil; x == nil {
		return newExchange()
	}
	return x
}

// read makes the request as a server of net/http would.
func (x *exchange) read() (err error) {
	r := x.request
	r.RequestURI = text(hostURI)
	if r.URL, err = url.ParseRequestURI(r.RequestURI); err != nil {
		return err
	}
	r.Method, r.Proto, r.RemoteAddr = text(hostMethod), text(hostProtocol), text(hostSource)
	var ok bool
	if r.ProtoMajor, r.ProtoMinor, ok = http.ParseHTTPVersion(r.Proto); !ok {
		r.ProtoMajor, r.ProtoMinor = 1, 1
	}
	for _, name := range headerNames(kindRequest) {
		values := headerValues(kindRequest, name)
		if name == "host" && len(values) > 0 {
			r.Host = values[0]
			continue
		}
		r.Header[http.CanonicalHeaderKey(name)] = values
	}
	if n := first(r.Header["Content-Length"]); n != "" {
		if r.ContentLength, err = strconv.ParseInt(n, 10, 64); err != nil || r.ContentLength < 0 {
			return fmt.Errorf("Content-Length %q", n)
		}
	}
	// The host passes no Transfer-Encoding: whether there is a body of unknown length
	// shows when it is read.
	if r.Body = x.body; r.ContentLength == 0 {
		r.Body = http.NoBody
	}
	return nil
}
