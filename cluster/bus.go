package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"
)

// Subjects of the messages between nodes. Edges may publish to hubs only.
const (
	toAll  = "orla.all."
	toHubs = "orla.hub."
)

// Audience is who a message is for.
type Audience string

// Audiences.
const (
	All  Audience = toAll  // every node; only hubs may send
	Hubs Audience = toHubs // every hub
)

// Message is one that another node, or this one, has sent.
type Message struct {
	Topic string
	Data  []byte // not to be changed
	reply func([]byte) error
}

// Reply answers a message that was sent with [Cluster.Ask].
func (m Message) Reply(data []byte) error {
	if m.reply == nil {
		return errors.New("cluster: the message wants no answer")
	}
	return m.reply(data)
}

// listener is one call of Listen.
type listener struct {
	subject string
	f       func(Message)
	sub     *nats.Subscription // of the present session; nil: none
}

// bus are the listeners, which outlive sessions.
type bus struct {
	mu        sync.Mutex // guards what follows and listener.sub
	nc        *nats.Conn // nil: no session
	listeners map[*listener]struct{}
}

// Send sends a message to everybody who listens to the topic at this moment; nobody
// may, and a message may be lost. It returns [ErrUnavailable].
func (c *Cluster) Send(to Audience, topic string, data []byte) error {
	nc := c.bus.conn()
	if nc == nil {
		return fmt.Errorf("send %q: %w", topic, ErrUnavailable)
	}
	if err := nc.Publish(string(to)+topic, data); err != nil {
		return fmt.Errorf("send %q: %w: %w", topic, ErrUnavailable, err)
	}
	return nil
}

// Ask sends a message and returns the first answer. It returns [ErrUnavailable] or
// the context's error.
func (c *Cluster) Ask(ctx context.Context, to Audience, topic string, data []byte) ([]byte, error) {
	nc := c.bus.conn()
	if nc == nil {
		return nil, fmt.Errorf("ask %q: %w", topic, ErrUnavailable)
	}
	m, err := nc.RequestWithContext(ctx, string(to)+topic, data)
	if err != nil {
		return nil, fmt.Errorf("ask %q: %w: %w", topic, ErrUnavailable, err)
	}
	return m.Data, nil
}

// Listen calls f for each message to the audience on the topic, in order and one
// at a time, until stop is called: "x.>" stands for every topic that begins with
// "x.". It goes on across reconnects. A message that this node sends it hears too.
func (c *Cluster) Listen(to Audience, topic string, f func(Message)) (stop func()) {
	l := &listener{subject: string(to) + topic, f: f}
	c.bus.mu.Lock()
	defer c.bus.mu.Unlock()
	if c.bus.listeners == nil {
		c.bus.listeners = map[*listener]struct{}{}
	}
	c.bus.listeners[l] = struct{}{}
	if c.bus.nc != nil {
		c.subscribeLocked(l)
		c.bus.nc.Flush() //nolint:errcheck // a connection that broke subscribes anew
	}
	return func() {
		c.bus.mu.Lock()
		defer c.bus.mu.Unlock()
		delete(c.bus.listeners, l)
		if l.sub != nil {
			l.sub.Unsubscribe() //nolint:errcheck // at worst the connection is gone, and it with it
		}
	}
}

func (b *bus) conn() *nats.Conn {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.nc
}

// attach makes the connection the one that messages go through; nil: none.
func (c *Cluster) attachBus(nc *nats.Conn) {
	c.bus.mu.Lock()
	defer c.bus.mu.Unlock()
	c.bus.nc = nc
	for l := range c.bus.listeners {
		l.sub = nil // of a connection that is closed, or about to be
		if nc != nil {
			c.subscribeLocked(l)
		}
	}
}

func (c *Cluster) subscribeLocked(l *listener) {
	sub, err := c.bus.nc.Subscribe(l.subject, func(m *nats.Msg) {
		msg := Message{Topic: trimAudience(m.Subject), Data: m.Data}
		if m.Reply != "" {
			msg.reply = m.Respond
		}
		l.f(msg)
	})
	if err != nil {
		c.log.Warn("listen to other nodes", "subject", l.subject, "error", err)
		return
	}
	l.sub = sub
}

func trimAudience(subject string) string {
	for _, to := range []string{toAll, toHubs} {
		if topic, ok := strings.CutPrefix(subject, to); ok {
			return topic
		}
	}
	return subject
}
