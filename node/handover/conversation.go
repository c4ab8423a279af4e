package handover

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// maxLine bounds a message, in bytes.
const maxLine = 1 << 20

// Kinds of messages.
const (
	kindHello   = "hello"
	kindLive    = "live"
	kindAsk     = "ask"
	kindGrant   = "grant"
	kindServing = "serving"
	kindFailed  = "failed"
)

// message is one line of the conversation.
type message struct {
	Kind string `json:"kind"`

	Sockets []greeting `json:"sockets,omitempty"` // hello
	Managed bool       `json:"managed,omitempty"` // hello: a service manager has the sockets too
	Live    []string   `json:"live,omitempty"`    // live
	Notes   []string   `json:"notes,omitempty"`   // grant
	Version string     `json:"version,omitempty"` // serving
	Reason  string     `json:"reason,omitempty"`  // failed
}

// greeting tells of one socket, in the order of the descriptors.
type greeting struct {
	Name    string `json:"name"`
	Address string `json:"address"` // as it was asked for
}

// line is one end of the conversation. It belongs to one goroutine at a time.
type line struct {
	conn net.Conn
	in   *bufio.Reader
}

func newLine(c net.Conn) *line { return &line{conn: c, in: bufio.NewReader(c)} }

// say sends a small message: nobody's buffers are full.
func (l *line) say(m message) error { return l.tell(context.Background(), m) }

// tell sends a message, for which the other side may have to make room by reading;
// its error may be ctx's.
func (l *line) tell(ctx context.Context, m message) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = l.conn.SetWriteDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err = l.conn.Write(append(b, '\n')); err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return errors.Join(errHungUp, err)
}

// errHungUp means that the other process has closed its end, by ending most likely.
var errHungUp = errors.New("it closed the connection")

// hear returns the next message; its error may be ctx's.
func (l *line) hear(ctx context.Context) (message, error) {
	stop := context.AfterFunc(ctx, func() { _ = l.conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	var b []byte
	for {
		part, err := l.in.ReadSlice('\n')
		b = append(b, part...)
		switch {
		case err == nil:
			var m message
			if err := json.Unmarshal(b, &m); err != nil {
				return message{}, fmt.Errorf("it does not speak as a node does: %w", err)
			}
			return m, nil
		case len(b) > maxLine:
			return message{}, fmt.Errorf("it does not speak as a node does: a line of more than %d bytes", maxLine)
		case errors.Is(err, bufio.ErrBufferFull):
		case ctx.Err() != nil:
			return message{}, context.Cause(ctx)
		case errors.Is(err, io.EOF):
			return message{}, errHungUp
		default:
			return message{}, errors.Join(errHungUp, err)
		}
	}
}

// expect returns the next message, which has to be of that kind.
func (l *line) expect(ctx context.Context, kind string) (message, error) {
	m, err := l.hear(ctx)
	switch {
	case err != nil:
		return message{}, err
	case m.Kind == kindFailed:
		return message{}, errors.New(m.Reason)
	case m.Kind != kind:
		return message{}, fmt.Errorf("it does not speak as a node does: %q where %q is due", m.Kind, kind)
	}
	return m, nil
}
