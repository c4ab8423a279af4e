package client

import (
	"context"
	"errors"
	"fmt"

	"connectrpc.com/connect"

	"github.com/orla-edge/orla/app"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

// DeployOptions are the choices of a deploy.
type DeployOptions struct {
	// Message is kept in the history.
	Message string
	// DryRun uploads and validates everything and changes nothing.
	DryRun bool
	// ExpectLive fails the deploy unless this is the live release's number. Nil
	// means whatever is live.
	ExpectLive *uint64
	// Rollout says what has to be proven of which nodes. Nil means the defaults.
	Rollout *orlav1.Rollout
}

// StepUpload is the step that the client does itself.
const StepUpload = "upload"

// Event is a step of a deploy.
type Event struct {
	// Step is [StepUpload], then the node's: "validate", "compress", "compile",
	// "activate".
	Step string
	// Item is what is being worked on: a file or function.
	Item string
	// Done and Total count items; bytes where a step of the node counts those.
	Done, Total uint64
	// Bytes and TotalBytes count an upload's bytes.
	Bytes, TotalBytes uint64
	// Node, if not nil, is a node that is a step further; the fields above are empty.
	Node *orlav1.NodeResult
}

// Deploy uploads what the node lacks of pkg, makes the release live and returns
// the node's last word: Live, or Checked after a dry run. observe sees the steps,
// on the caller's goroutine; it may be nil. Uploads are resumed once when the
// connection breaks. The error wraps [app.Problems] where the person has
// something to mend.
func (c *Client) Deploy(ctx context.Context, pkg *app.Package, o DeployOptions, observe func(Event)) (*orlav1.DeployResponse, error) {
	if observe == nil {
		observe = func(Event) {}
	}
	if err := c.upload(ctx, pkg, observe); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the stream when its last word is there
	stream, err := c.control.Deploy(ctx, connect.NewRequest(&orlav1.DeployRequest{
		Manifest:   pkg.Manifest,
		Message:    o.Message,
		DryRun:     o.DryRun,
		ExpectLive: o.ExpectLive,
		Rollout:    o.Rollout,
	}))
	if err != nil {
		return nil, c.deployError(pkg, err)
	}
	defer stream.Close() //nolint:errcheck // its error, if any, is known
	for stream.Receive() {
		msg := stream.Msg()
		if msg.GetLive() != nil || msg.GetChecked() != nil {
			return msg, nil
		}
		if n := msg.GetNode(); n != nil {
			observe(Event{Node: n})
		}
		if p := msg.GetProgress(); p != nil {
			observe(Event{Step: p.GetStep(), Item: p.GetItem(), Done: p.GetDone(), Total: p.GetTotal()})
		}
	}
	if err := stream.Err(); err != nil {
		return nil, c.deployError(pkg, err)
	}
	return nil, fmt.Errorf("the node ended the deploy without a result; `orla releases %s` shows what is live", pkg.Manifest.GetName())
}

// deployError places the node's problems in the person's files.
func (c *Client) deployError(pkg *app.Package, err error) error {
	err = c.explain(err)
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return err
	}
	e.place(pkg)
	if e.Broken {
		e.Message += fmt.Sprintf("; whether the release went live before, `orla releases %s` shows", pkg.Manifest.GetName())
	}
	return e
}
