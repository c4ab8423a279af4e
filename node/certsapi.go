package node

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/orla-edge/orla/certs"
	"github.com/orla-edge/orla/cluster"
	"github.com/orla-edge/orla/control"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

// certsAPI gives the errors of certificates the codes of the API.
type certsAPI struct{ *certs.Manager }

var _ control.Certificates = certsAPI{}

// certificates are what the API shows; nil: there are none.
func (n *Node) certificates() control.Certificates {
	if n.certs == nil {
		return nil
	}
	return certsAPI{n.certs}
}

// Show implements [control.Certificates].
func (a certsAPI) Show(host string) (*orlav1.Certificate, error) {
	c, err := a.Manager.Show(host)
	return c, certsError(err)
}

// Import implements [control.Certificates].
func (a certsAPI) Import(ctx context.Context, host string, chain, key []byte, who string) (*orlav1.Certificate, []string, error) {
	c, warnings, err := a.Manager.Import(ctx, host, chain, key, who)
	return c, warnings, certsError(err)
}

// Remove implements [control.Certificates].
func (a certsAPI) Remove(ctx context.Context, host string) (*orlav1.Certificate, error) {
	c, err := a.Manager.Remove(ctx, host)
	return c, certsError(err)
}

// Renew implements [control.Certificates].
func (a certsAPI) Renew(ctx context.Context, host string) error {
	err := a.Manager.Renew(ctx, host)
	switch {
	case errors.Is(err, certs.ErrNotLeading):
		return connect.NewError(connect.CodeUnavailable, errors.New("no node orders certificates now; hubs with --tls acme do, and one takes over within 20 seconds: try again, or see `orla nodes`"))
	case errors.Is(err, context.DeadlineExceeded):
		return connect.NewError(connect.CodeDeadlineExceeded, fmt.Errorf("%w; it is tried on: see `orla certs show %s`", err, host))
	}
	return certsError(err)
}

// RotateRoot implements [control.Certificates].
func (a certsAPI) RotateRoot(ctx context.Context, req *orlav1.RotateRootRequest) (*orlav1.RotateRootResponse, error) {
	res, err := a.Manager.RotateRoot(ctx, req)
	if errors.Is(err, certs.ErrChanged) {
		return nil, connect.NewError(connect.CodeAborted, errors.New("the root was replaced by somebody else meanwhile; `orla certs rotate-root` says which there is now"))
	}
	return res, certsError(err)
}

// certsError is an error as the API tells it.
func certsError(err error) error {
	var code connect.Code
	switch {
	case err == nil:
		return nil
	case errors.Is(err, certs.ErrImport), errors.Is(err, certs.ErrHost):
		code = connect.CodeInvalidArgument
	case errors.Is(err, certs.ErrNoCertificate):
		code = connect.CodeNotFound
	case errors.Is(err, certs.ErrChanged):
		return connect.NewError(connect.CodeAborted, errors.New("the host's certificate was changed meanwhile; see `orla certs` and try again"))
	case errors.Is(err, cluster.ErrUnavailable), errors.Is(err, context.Canceled):
		return err
	default:
		code = connect.CodeFailedPrecondition
	}
	text := err.Error()
	for _, kind := range []error{certs.ErrImport, certs.ErrNoCertificate, certs.ErrNotWanted} {
		text = strings.TrimPrefix(text, kind.Error()+": ")
	}
	return connect.NewError(code, errors.New(strings.TrimPrefix(text, "certs: ")))
}

const (
	// topicOrder is the messages' to the hubs that ask for a certificate.
	topicOrder = "tls.order"
	// askAgain is how long it is waited for the node that leads; then it may be another.
	askAgain = 3 * time.Second
	// askPatience is how long it is asked for: longer than a dead leader's lease.
	askPatience = 28 * time.Second
	// maxOrderAsks is how many such messages are worked on at a time.
	maxOrderAsks = 256
)

// askOrder has the hub that leads order a certificate: it is [certs.Config.Ask].
func (n *Node) askOrder(ctx context.Context, host string, renew bool) error {
	b, err := proto.Marshal(&orlav1.CertWish{Host: host, Renew: renew})
	if err != nil {
		return err
	}
	limit, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	for {
		once, cancel := context.WithTimeout(limit, askAgain)
		answer, err := n.register.Ask(once, cluster.Hubs, topicOrder, b)
		cancel()
		var wished orlav1.CertWished
		switch {
		case err == nil && proto.Unmarshal(answer, &wished) == nil:
			return wishedError(&wished)
		case limit.Err() != nil:
			return certs.ErrNotLeading
		}
		select { // not at once: the hubs may be gone
		case <-limit.Done():
			return certs.ErrNotLeading
		case <-time.After(askAgain / 10):
		}
	}
}

func wishedError(w *orlav1.CertWished) error {
	switch {
	case w.GetRefused() == "":
		return nil
	case w.GetNotWanted():
		return certs.ErrNotWanted
	}
	return errors.New(w.GetRefused())
}

// hearOrders orders what other nodes ask for, if this one leads, until ctx ends.
func (n *Node) hearOrders(ctx context.Context) error {
	if n.certs == nil || n.register.Alone() || !n.leads() {
		return nil
	}
	places := make(chan struct{}, maxOrderAsks)
	stop := n.register.Listen(cluster.Hubs, topicOrder, func(m cluster.Message) {
		wish := new(orlav1.CertWish)
		if proto.Unmarshal(m.Data, wish) != nil {
			return
		}
		select {
		case places <- struct{}{}:
		default:
			return // it is asked again
		}
		go func() {
			defer func() { <-places }()
			n.answerOrder(ctx, m, wish)
		}()
	})
	<-ctx.Done()
	stop()
	for range maxOrderAsks {
		places <- struct{}{} // who answers has ended
	}
	return nil
}

func (n *Node) answerOrder(ctx context.Context, m cluster.Message, wish *orlav1.CertWish) {
	err := n.certs.Wish(ctx, wish.GetHost(), wish.GetRenew())
	if errors.Is(err, certs.ErrNotLeading) || ctx.Err() != nil {
		return // another answers
	}
	answer := &orlav1.CertWished{NotWanted: errors.Is(err, certs.ErrNotWanted)}
	if err != nil {
		answer.Refused = err.Error()
	}
	b, err := proto.Marshal(answer)
	if err == nil {
		err = m.Reply(b)
	}
	if err != nil {
		n.log.Debug("answer about a certificate not sent", "host", wish.GetHost(), "error", err)
	}
}
