package control

import (
	"context"
	"errors"
	"fmt"

	"connectrpc.com/connect"

	"github.com/orla-edge/orla/cluster"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/release"
)

var (
	errInternal = errors.New("internal error; the node's log has the cause")
	errNoToken  = errors.New("this needs a token: set ORLA_TOKEN, or run the command on the node's machine, where DATA/admin.token is found by itself")
	errStarting = errors.New("the node is starting, and does not know its tokens yet: try again in a moment")
	errBadToken = errors.New("the token is not known here: it may have been revoked, or belong to another node (check ORLA_TOKEN and ORLA_ADMIN)")
)

// problemsError is the error of a call whose input a person can mend.
func problemsError(ps release.Problems) error {
	err := connect.NewError(connect.CodeInvalidArgument, ps)
	detail := &orlav1.Problems{}
	for _, p := range ps {
		detail.Problems = append(detail.Problems, &orlav1.Problem{Field: p.Field, Message: p.Message})
	}
	if d, derr := connect.NewErrorDetail(detail); derr == nil {
		err.AddDetail(d)
	}
	return err
}

// callError gives err the code that tells a client what to do.
func callError(err error) error {
	var ps release.Problems
	var ce *connect.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &ce):
		return err
	case errors.As(err, &ps):
		return problemsError(ps)
	case errors.Is(err, cluster.ErrUnavailable):
		return connect.NewError(connect.CodeUnavailable, fmt.Errorf("%w; the node goes on serving what is live: try again when the cause is gone", err))
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return connect.NewError(connect.CodeCanceled, err)
	default:
		return connect.NewError(connect.CodeInternal, err)
	}
}
