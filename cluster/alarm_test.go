package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// A register that is emptied, deleted or made anew behind the nodes' backs is an
// alarm: no node drops what it serves, hubs or edges, also after a restart.
func TestALostRegisterOfHubsIsNotObeyed(t *testing.T) {
	losses := map[string]func(ctx context.Context, js jetstream.JetStream) error{
		"deleted": func(ctx context.Context, js jetstream.JetStream) error { return js.DeleteStream(ctx, streamName) },
		"made anew": func(ctx context.Context, js jetstream.JetStream) error {
			if err := js.DeleteStream(ctx, streamName); err != nil {
				return err
			}
			_, err := js.CreateStream(ctx, bucketConfig(newBucketID(time.Now().Add(time.Hour)), 0, 3))
			return err
		},
	}
	for name, lose := range losses {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLabWith(t, 3, 1, func(c *Config) { c.doubt = time.Second })
			l.hubs[0].must(put("k", "v", 0))
			l.everywhere("k", "v")
			js, err := l.hubs[1].status.Load().reg.jetStream()
			must(t, err)
			must(t, lose(t.Context(), js))
			alarmed := func(n *node) bool {
				err := n.Ready()
				_, lost := errors.AsType[*lostError](err)
				return lost && strings.Contains(n.log.String(), "level=ERROR")
			}
			for _, n := range l.all() {
				until(t, fmt.Sprintf("%s raises the alarm", n.cfg.Node), func() bool { return alarmed(n) })
				if n.values()["k"] != "v" {
					t.Errorf("%s has dropped what it serves", n.cfg.Node)
				}
			}
			must(t, l.edges[0].stop())
			again := newNode(t, l.edge(0)).run()
			until(t, "the edge serves what it had", func() bool { return again.values()["k"] == "v" })
		})
	}
}
