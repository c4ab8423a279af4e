package client

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"time"

	"connectrpc.com/connect"

	"github.com/orla-edge/orla/proto/orla/v1/orlav1connect"
)

const (
	dialTimeout = 10 * time.Second
	// maxMessage is the size of the largest answer in bytes: a manifest with
	// some 100,000 files.
	maxMessage = 64 << 20
)

// Client calls one node's admin API. It is safe for concurrent use.
type Client struct {
	target  target
	http    *http.Client
	control orlav1connect.ControlServiceClient
}

func newClient(t target) *Client {
	transport := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSHandshakeTimeout: dialTimeout,
		ForceAttemptHTTP2:   true,
		IdleConnTimeout:     time.Minute,
	}
	c := &Client{target: t, http: &http.Client{
		Transport: transport,
		// A token is for the node that was named, not for where it points.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	c.control = orlav1connect.NewControlServiceClient(c.http, t.url,
		connect.WithInterceptors(interceptor{c}),
		connect.WithReadMaxBytes(maxMessage),
	)
	return c
}

// Control returns the API. Its errors are [*Error]s, which say what to do.
// Streams have no time limit of their own: ctx ends them.
func (c *Client) Control() orlav1connect.ControlServiceClient { return c.control }

// Admin returns the node's URL.
func (c *Client) Admin() string { return c.target.url }

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// interceptor adds the token and explains errors.
type interceptor struct{ c *Client }

var _ connect.Interceptor = interceptor{}

// WrapUnary implements connect.Interceptor.
func (i interceptor) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		req.Header().Set("Authorization", "Bearer "+i.c.target.token)
		res, err := next(ctx, req)
		return res, i.c.explain(err)
	}
}

// WrapStreamingClient implements connect.Interceptor.
func (i interceptor) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return func(ctx context.Context, spec connect.Spec) connect.StreamingClientConn {
		conn := next(ctx, spec)
		conn.RequestHeader().Set("Authorization", "Bearer "+i.c.target.token)
		return explainedConn{conn, i.c}
	}
}

// WrapStreamingHandler implements connect.Interceptor; there are no handlers here.
func (interceptor) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}

// explainedConn explains the errors that end a stream. io.EOF means to connect
// that there is nothing more, or that Receive has the error: it passes.
type explainedConn struct {
	connect.StreamingClientConn
	c *Client
}

// Send sends one message.
func (s explainedConn) Send(msg any) error {
	err := s.StreamingClientConn.Send(msg)
	if errors.Is(err, io.EOF) {
		return err
	}
	return s.c.explain(err)
}

// Receive receives one message.
func (s explainedConn) Receive(msg any) error {
	err := s.StreamingClientConn.Receive(msg)
	if errors.Is(err, io.EOF) && connect.CodeOf(err) == connect.CodeUnknown {
		return err
	}
	return s.c.explain(err)
}
