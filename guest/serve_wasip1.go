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
	ctx := newRequestContext(clientGone)
	defer ctx.cancel()
	w := newResponse(ctx)
	r, err := newRequest(ctx)
	if err != nil {
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

// newRequest makes the request as a server of net/http would.
func newRequest(ctx *requestContext) (*http.Request, error) {
	uri := text(hostURI)
	u, err := url.ParseRequestURI(uri)
	if err != nil {
		return nil, err
	}
	r := (&http.Request{
		Method: text(hostMethod), URL: u, RequestURI: uri, Proto: text(hostProtocol),
		RemoteAddr: text(hostSource), Header: make(http.Header), ContentLength: -1,
	}).WithContext(ctx)
	var ok bool
	if r.ProtoMajor, r.ProtoMinor, ok = http.ParseHTTPVersion(r.Proto); !ok {
		r.ProtoMajor, r.ProtoMinor = 1, 1
	}
	for _, name := range headerNames(kindRequest) {
		r.Header[http.CanonicalHeaderKey(name)] = headerValues(kindRequest, name)
	}
	r.Host = r.Header.Get("Host")
	r.Header.Del("Host")
	if n := r.Header.Get("Content-Length"); n != "" {
		if r.ContentLength, err = strconv.ParseInt(n, 10, 64); err != nil || r.ContentLength < 0 {
			return nil, fmt.Errorf("Content-Length %q", n)
		}
	}
	b := &body{request: r, ctx: ctx}
	// The host passes no Transfer-Encoding: whether there is a body of unknown length
	// shows when it is read.
	if r.Body = b; r.ContentLength == 0 {
		r.Body = http.NoBody
	}
	return r, nil
}
