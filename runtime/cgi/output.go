package cgi

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/orla-edge/orla/runtime/host"
)

// Output is a program's standard output: it turns the head into the response's and
// passes the body on as it comes.
type Output struct {
	x    *host.Exchange
	head []byte // collected so far; nil once the response has begun
	line int    // where the last line of head begins
	left int64  // of the body, as Content-Length has it; negative if it says nothing
	err  error
	// fail is told the first fault, so that the program can be stopped.
	fail func(error)
}

// NewOutput returns an Output that answers x. It calls fail at most once, from Write.
func NewOutput(x *host.Exchange, fail func(error)) *Output {
	return &Output{x: x, head: make([]byte, 0, 512), fail: fail}
}

// Write takes the next piece of the program's output. After a fault every call
// returns it.
func (o *Output) Write(p []byte) (int, error) {
	if o.err != nil {
		return 0, o.err
	}
	n, err := o.write(p)
	if err != nil {
		o.err = err
		o.fail(err)
	}
	return n, err
}

func (o *Output) write(p []byte) (int, error) {
	if o.head == nil {
		return o.body(p)
	}
	before := len(o.head)
	o.head = append(o.head, p[:min(len(p), MaxHead+1-before)]...)
	end, line := endOfHead(o.head, o.line)
	o.line = line
	switch {
	case end == 0 && len(o.head) > MaxHead:
		return 0, fmt.Errorf("%w: the head has more than %d bytes", ErrHead, MaxHead)
	case end == 0:
		return len(p), nil
	}
	h, err := ParseHead(o.head[:end])
	if err != nil {
		return 0, err
	}
	o.head = nil
	host.CopyHeader(o.x.Header(), h.Header)
	if h.Header["Content-Type"] == nil {
		o.x.Header()["Content-Type"] = nil // 6.3.1: nobody is to guess it
	}
	if o.left = h.Length; o.bodiless(h.Status) {
		o.left = -1
	}
	if err := o.x.Start(h.Status); err != nil {
		return 0, err
	}
	used := end - before // of p, for the head
	if used == len(p) {
		return len(p), nil
	}
	n, err := o.body(p[used:])
	return used + n, err
}

// bodiless reports whether a Content-Length tells of a body that is not sent.
func (o *Output) bodiless(status int) bool {
	return o.x.Request.Method == http.MethodHead || status == http.StatusNoContent || status == http.StatusNotModified
}

// body passes a piece of the body on.
func (o *Output) body(p []byte) (int, error) {
	if o.left >= 0 {
		if o.left -= int64(len(p)); o.left < 0 {
			return 0, fmt.Errorf("%w: the body is longer than its Content-Length", ErrHead)
		}
	}
	return o.x.Write(p)
}

// Close is called when the program has ended. It returns the fault that Write has
// met, or that the output ended too early.
func (o *Output) Close() error {
	switch {
	case o.err != nil:
		return o.err
	case o.head == nil && o.left > 0:
		return fmt.Errorf("%w: the body is %d bytes shorter than its Content-Length", ErrHead, o.left)
	case o.head == nil:
		return nil
	case len(o.head) == 0:
		return fmt.Errorf("%w: the program printed nothing", ErrHead)
	}
	return fmt.Errorf("%w: the output ends within the head, after %q (an empty line ends the head)",
		ErrHead, strings.ToValidUTF8(string(o.head[:min(len(o.head), 80)]), "?"))
}
