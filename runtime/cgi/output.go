package cgi

import (
	"fmt"
	"strings"

	"github.com/orla-edge/orla/runtime/host"
)

// Output is a program's standard output: it turns the head into the response's and
// passes the body on as it comes.
type Output struct {
	x    *host.Exchange
	head []byte // collected so far; nil once the response has begun
	line int    // where the last line of head begins
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
		return o.x.Write(p)
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
	if err := o.x.Start(h.Status); err != nil {
		return 0, err
	}
	used := end - before // of p, for the head
	if used == len(p) {
		return len(p), nil
	}
	n, err := o.x.Write(p[used:])
	return used + n, err
}

// Close is called when the program has ended. It returns the fault that Write has
// met, or that the output ended within the head.
func (o *Output) Close() error {
	switch {
	case o.err != nil || o.head == nil:
		return o.err
	case len(o.head) == 0:
		return fmt.Errorf("%w: the program printed nothing", ErrHead)
	}
	return fmt.Errorf("%w: the output ends within the head, after %q (an empty line ends the head)",
		ErrHead, strings.ToValidUTF8(string(o.head[:min(len(o.head), 80)]), "?"))
}
