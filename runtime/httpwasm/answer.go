package httpwasm

import (
	"bytes"
	"net/http"
	"strconv"
	"strings"

	"github.com/orla-edge/orla/runtime/host"
)

// answer is the response as the guest, or the next handler, makes it.
type answer struct {
	x *host.Exchange
	// header and status are the response's; changes count until it has begun.
	header   http.Header
	status   int
	trailers http.Header
	size     int // of header and trailers as set by the guest

	// held is the body that buffer_response keeps back; nil means that it streams.
	held *bytes.Buffer
	// at is how much of held the guest has read.
	at int
	// overwritten is set once handle_response has begun to write a body of its own.
	overwritten bool
	err         error // of the next handler's writes
}

func (a *answer) begun() bool { return a.x != nil && a.x.Started() }

// start sends the head.
func (a *answer) start() error {
	if a.begun() {
		return nil
	}
	if v, ok := a.header["Content-Length"]; ok {
		if n, err := strconv.ParseUint(v[0], 10, 63); err != nil || len(v) > 1 {
			a.header.Del("Content-Length")
		} else {
			a.header["Content-Length"] = []string{strconv.FormatUint(n, 10)}
		}
	}
	host.CopyHeader(a.x.Header(), a.header)
	return a.x.Start(a.status)
}

// write sends a piece of the body, or keeps it.
func (a *answer) write(p []byte) (int, error) {
	if a.held != nil {
		if a.held.Len()+len(p) > MaxBuffer {
			return 0, ErrBuffer
		}
		return a.held.Write(p)
	}
	if err := a.start(); err != nil {
		return 0, err
	}
	return a.x.Write(p)
}

// finish sends what has not been sent, and the trailers.
func (a *answer) finish() error {
	if held := a.held; held != nil {
		a.held = nil
		if a.overwritten || a.x.Request.Method != http.MethodHead {
			a.header.Del("Content-Length") // the body may not be what it was
		}
		if _, err := a.write(held.Bytes()); err != nil {
			return err
		}
	}
	if err := a.start(); err != nil {
		return err
	}
	if len(a.trailers) > 0 {
		a.x.Flush() // else a short answer gets a Content-Length, and then no trailer (RFC 9112, 7.1.2)
	}
	for name, values := range a.trailers {
		if !host.Own(name) {
			a.x.Header()[http.TrailerPrefix+name] = values
		}
	}
	return nil
}

// takeTrailers moves what the next handler has set as [http.TrailerPrefix] fields to
// where the guest sees trailers.
func (a *answer) takeTrailers() {
	for key, values := range a.header {
		name, ok := strings.CutPrefix(key, http.TrailerPrefix)
		if !ok {
			continue
		}
		if a.trailers == nil {
			a.trailers = make(http.Header)
		}
		a.trailers[http.CanonicalHeaderKey(name)] = values
		delete(a.header, key)
	}
}

// record returns the ResponseWriter for the next handler.
func (a *answer) record(f Feature) http.ResponseWriter {
	if f&BufferResponse != 0 {
		a.held = new(bytes.Buffer)
	}
	return &recorder{a: a}
}

// recorder lets a handler write into an answer. Unless the answer is held back, the
// guest sees status and header of what has been sent.
type recorder struct {
	a     *answer
	wrote bool
}

// Header implements [http.ResponseWriter].
func (w *recorder) Header() http.Header { return w.a.header }

// WriteHeader implements [http.ResponseWriter]. Informational statuses are dropped.
func (w *recorder) WriteHeader(status int) {
	if w.wrote || status < 200 {
		return
	}
	w.wrote = true
	w.a.status = status
	if w.a.held == nil {
		w.a.err = w.a.start()
	}
}

// Write implements [http.ResponseWriter].
func (w *recorder) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	n, err := w.a.write(p)
	if err != nil {
		w.a.err = err
	}
	return n, err
}

// Flush implements [http.Flusher].
func (w *recorder) Flush() {
	w.WriteHeader(http.StatusOK)
	if w.a.held == nil {
		w.a.x.Flush()
	}
}
