package client

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"

	"connectrpc.com/connect"

	"github.com/orla-edge/orla/app"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

// Error is a call that failed. Its text says what to do. It unwraps to the
// connect error, which has the code, and to the [app.Problems] if there are any.
type Error struct {
	Message string
	// Problems are what a person can mend, placed in their files where those are
	// known.
	Problems app.Problems
	// Broken reports whether the connection, not the node, ended the call.
	Broken bool

	fields []*orlav1.Problem // the problems as the node told them
	cause  error
}

// Error returns the problems one a line, or else the message.
func (e *Error) Error() string {
	if len(e.Problems) > 0 {
		return e.Problems.Error()
	}
	return e.Message
}

// Unwrap returns the cause and the problems.
func (e *Error) Unwrap() []error {
	if len(e.Problems) > 0 {
		return []error{e.cause, e.Problems}
	}
	return []error{e.cause}
}

// explain says what an error of a call means to who made it. It leaves alone
// what it has explained, and the end of a context.
func (c *Client) explain(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*Error](err); ok {
		return err
	}
	e := &Error{cause: err}
	switch ce, _ := errors.AsType[*connect.Error](err); {
	case connect.IsWireError(err):
		c.explainAnswer(e, ce)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	default:
		c.explainFailure(e, ce)
	}
	return e
}

// explainAnswer explains an error that the node told.
func (c *Client) explainAnswer(e *Error, ce *connect.Error) {
	switch ce.Code() {
	case connect.CodeUnauthenticated:
		e.Message = fmt.Sprintf("%s does not accept the token from %s: %s", c.target.url, c.target.tokenFrom, ce.Message())
	case connect.CodePermissionDenied:
		e.Message = fmt.Sprintf("the token from %s may not do this: %s", c.target.tokenFrom, ce.Message())
	case connect.CodeUnimplemented:
		e.Message = fmt.Sprintf("the node at %s does not know this call: it runs another version of Orla; update it, or use the orla command of its version", c.target.url)
	default:
		e.Message = ce.Message()
	}
	for _, detail := range ce.Details() {
		value, err := detail.Value()
		if err != nil {
			continue
		}
		if problems, ok := value.(*orlav1.Problems); ok {
			e.fields = append(e.fields, problems.GetProblems()...)
		}
	}
	e.place(nil)
}

// place puts the node's problems into the files of the package that it was sent;
// without one they are told by field.
func (e *Error) place(pkg *app.Package) {
	e.Problems = nil
	for _, p := range e.fields {
		q := app.Problem{File: p.GetField(), Field: p.GetField(), Message: p.GetMessage()}
		if pkg != nil {
			q = pkg.Problem(p.GetField(), p.GetMessage())
		}
		e.Problems = append(e.Problems, q)
	}
	e.Problems.Sort()
}

// explainFailure explains a call that got no answer, or one that is not Orla's.
func (c *Client) explainFailure(e *Error, ce *connect.Error) {
	var op *net.OpError
	var unknown x509.UnknownAuthorityError
	var host x509.HostnameError
	text := e.cause.Error()
	switch {
	case errors.As(e.cause, &op) && op.Op == "dial" && c.target.local:
		e.Message = fmt.Sprintf("the node of this machine does not answer at %s (%v): start it with `orla serve`", c.target.url, op.Err)
	case errors.As(e.cause, &op) && op.Op == "dial":
		e.Message = fmt.Sprintf("no node answers at %s, named by %s (%v): check the address, and that the node runs", c.target.url, c.target.urlFrom, op.Err)
	case errors.As(e.cause, &unknown), errors.As(e.cause, &host):
		e.Message = fmt.Sprintf("the certificate of %s is not trusted: %s", c.target.url, tail(text))
	case strings.Contains(text, "server gave HTTP response to HTTPS client"):
		e.Message = fmt.Sprintf("%s speaks plain HTTP: name it with http://", c.target.url)
	case ce != nil && notOrla(ce):
		e.Message = fmt.Sprintf("%s, named by %s, answers but is no admin API of Orla: check the address (the admin listener is :7070 unless --admin says otherwise)", c.target.url, c.target.urlFrom)
	case ce != nil && ce.Code() == connect.CodeResourceExhausted:
		e.Message = "the node's answer is too large: " + ce.Message()
	default:
		e.Broken = true
		e.Message = fmt.Sprintf("the connection to %s broke: %s", c.target.url, tail(text))
	}
}

// notOrla reports whether connect made the error of an HTTP response that no
// Connect server sends.
func notOrla(ce *connect.Error) bool {
	for status := 300; status < 600; status++ {
		if text := http.StatusText(status); text != "" && strings.Contains(ce.Message(), text) {
			return true
		}
	}
	return strings.Contains(ce.Message(), "invalid content-type")
}

// tail returns the last part of an error's text, which has the cause.
func tail(text string) string {
	if i := strings.LastIndex(text, ": "); i >= 0 {
		return text[i+2:]
	}
	return text
}
