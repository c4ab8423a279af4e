package proxy

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// headDelay is how long a response's head waits for the first bytes of the body,
// to be sent in one piece with them.
const headDelay = 2 * time.Millisecond

// copySize is the size of the pieces that bodies are passed on in, in bytes.
const copySize = 32 << 10

// respond passes an upstream's response on. If the upstream breaks it off, so does
// respond, by a panic with [http.ErrAbortHandler]: the client must not take the
// beginning for the whole.
func (x *exchange) respond(res *http.Response, a *attempt) {
	if res.StatusCode == http.StatusSwitchingProtocols {
		x.switchProtocols(res)
		return
	}
	defer func() { _ = res.Body.Close() }()
	h := x.w.Header()
	dropNamed(res.Header, res.Header["Connection"])
	copyResponseHeader(h, res.Header)
	if _, ok := h["Content-Type"]; !ok {
		h["Content-Type"] = nil // else the server would guess one
	}
	if x.r.ProtoMajor == 1 && !x.body.drained() {
		h.Set("Connection", "close") // what is left must not be read as a request
	}
	announced := announceTrailers(h, res.Trailer)
	if announced > 0 && x.r.ProtoMajor == 1 && x.r.Method != http.MethodHead {
		h.Del("Content-Length") // trailers need a chunked body
	}
	x.w.WriteHeader(res.StatusCode)
	err := x.copyBody(res)
	if err == nil {
		x.copyTrailers(h, res.Trailer, announced)
		return
	}
	x.record.Err = err
	a.fail(err)
	if !errors.Is(err, errClientGone) {
		panic(http.ErrAbortHandler)
	}
}

// copyBody passes the body on, each piece as it comes.
func (x *exchange) copyBody(res *http.Response) error {
	buf, ok := x.p.c.Pool.buffers.Get().(*[copySize]byte)
	if !ok {
		buf = new([copySize]byte)
	}
	defer x.p.c.Pool.buffers.Put(buf)
	s := &stream{rc: x.rc, length: res.ContentLength}
	if res.ContentLength != 0 && x.r.Method != http.MethodHead {
		s.timer = time.AfterFunc(headDelay, s.flushHead)
		defer s.stop()
	}
	for {
		n, rerr := res.Body.Read(buf[:])
		if n > 0 {
			if err := s.write(x.w, buf[:n], rerr == nil); err != nil {
				return fmt.Errorf("%w: %w", errClientGone, err)
			}
		}
		switch {
		case rerr == nil:
		case rerr == io.EOF:
			return nil
		case x.r.Context().Err() != nil:
			return fmt.Errorf("%w: %w", errClientGone, rerr)
		default:
			return fmt.Errorf("proxy: upstream broke off its response: %w", rerr)
		}
	}
}

// stream writes a body so that no byte waits for the next one.
type stream struct {
	rc     *http.ResponseController
	length int64 // of the body; -1 if unknown
	timer  *time.Timer

	mu      sync.Mutex // guards the response writer and what follows
	written int64
	ended   bool
}

// flushHead sends the head of a response whose body keeps it waiting.
func (s *stream) flushHead() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.written == 0 && !s.ended {
		// An error comes back at the next write.
		_ = s.rc.Flush()
	}
}

// stop ends the use of the response writer by the timer.
func (s *stream) stop() {
	s.timer.Stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
}

// write writes p, and flushes it if there is more to come; at the end the server
// flushes by itself.
func (s *stream) write(w io.Writer, p []byte, more bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, err := w.Write(p)
	s.written += int64(n)
	if err != nil || !more || s.written == s.length {
		return err
	}
	if err := s.rc.Flush(); !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}

// announceTrailers returns the number of trailer fields that the upstream has
// announced, after announcing them to the client.
func announceTrailers(h, trailer http.Header) int {
	for name := range trailer {
		h.Add("Trailer", name)
	}
	return len(trailer)
}

// copyTrailers sets the trailer fields, which the end of the handler sends; those
// that came unannounced by way of the server's prefix for them.
func (x *exchange) copyTrailers(h, trailer http.Header, announced int) {
	if len(trailer) == 0 {
		return
	}
	// A body that has been flushed is chunked, which trailers need.
	_ = x.rc.Flush()
	prefix := ""
	if len(trailer) != announced {
		prefix = http.TrailerPrefix
	}
	for name, values := range trailer {
		h[prefix+name] = values
	}
}
