//go:build linux

package benchcluster

import (
	"context"
	"errors"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/orla-edge/orla/client"
	"github.com/orla-edge/orla/internal/lab"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

// hosted is the host of the route set that is pushed to processes.
const hosted = "bench.example"

// members are clients of the hubs' APIs, with a token that all nodes take.
func members(b *testing.B, l *lab.Lab) (clients []*client.Client) {
	b.Helper()
	own := l.Nodes[0].Client()
	defer own.Close()
	res, err := own.Control().CreateToken(b.Context(), connect.NewRequest(&orlav1.CreateTokenRequest{Name: "bench", Role: orlav1.Role_ROLE_ADMIN}))
	must(b, err)
	for _, n := range l.Nodes {
		if !n.Hub() {
			continue
		}
		c, err := client.Find(client.Options{Admin: n.Admin(), Token: res.Msg.GetSecret(), Getenv: func(string) string { return "" }})
		must(b, err)
		b.Cleanup(c.Close)
		clients = append(clients, c)
	}
	return clients
}

// pushLimit is how long a push to one hub may take: longer than an election does.
const pushLimit = 30 * time.Second

// accept pushes a text by way of a hub and returns when the cluster has accepted it: it
// is ready on one more hub, and a majority has committed it.
func accept(ctx context.Context, c *client.Client, text string) error {
	ctx, cancel := context.WithTimeout(ctx, pushLimit)
	defer cancel()
	stream, err := c.Control().Deploy(ctx, connect.NewRequest(&orlav1.DeployRequest{
		Manifest: answering("edge", hosted, text), Rollout: &orlav1.Rollout{NoWait: true},
	}))
	if err != nil {
		return err
	}
	defer stream.Close()
	for stream.Receive() {
		if stream.Msg().GetLive() != nil {
			return nil
		}
	}
	return errors.Join(stream.Err(), errors.New("the push has no result"))
}

// elapse lets time go by.
func elapse(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
