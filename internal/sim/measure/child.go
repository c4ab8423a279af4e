package measure

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

// request is what a child is asked.
type request struct {
	Op       string        // "cpu", "stat", "stream", "leader", "publish", "put", "try", "collect", "collected"
	Subject  string        `json:",omitempty"`
	Count    int           `json:",omitempty"`
	Every    time.Duration `json:",omitempty"`
	Ack      bool          `json:",omitempty"`
	Replicas int           `json:",omitempty"`
}

// reply is what it answers.
type reply struct {
	Error string          `json:",omitempty"`
	Leaf  string          `json:",omitempty"` // address for leaf nodes
	CPU   time.Duration   `json:",omitempty"` // of the process since its start
	Used  int64           `json:",omitempty"` // heap and stacks in use, bytes
	RSS   int64           `json:",omitempty"`
	Out   int64           `json:",omitempty"` // bytes that the server has sent
	Name  string          `json:",omitempty"` // of the stream's leader
	Took  []time.Duration `json:",omitempty"`
}

// child is a NATS server in a process of its own. It ends when its input does, so
// never outlives this process.
type child struct {
	name string
	cmd  *exec.Cmd
	in   io.WriteCloser
	enc  *json.Encoder
	dec  *json.Decoder
	leaf string // address for leaf nodes
}

// launch starts a child, which is this program called with the arguments args.
func launch(ctx context.Context, args []string, o serverOptions) (*child, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("start server %s: %w", o.Name, err)
	}
	cmd := exec.CommandContext(ctx, exe, args...) //nolint:gosec // this program
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start server %s: %w", o.Name, err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start server %s: %w", o.Name, err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start server %s: %w", o.Name, err)
	}
	c := &child{name: o.Name, cmd: cmd, in: in, enc: json.NewEncoder(in), dec: json.NewDecoder(bufio.NewReader(out))}
	return c, c.enc.Encode(o)
}

// ready waits for what the child says once it runs. Members of a cluster wait for
// each other, so all are launched first.
func (c *child) ready() error {
	var r reply
	if err := c.dec.Decode(&r); err != nil {
		return fmt.Errorf("start server %s: %w", c.name, err)
	}
	if r.Error != "" {
		return fmt.Errorf("start server %s: %s", c.name, r.Error)
	}
	c.leaf = r.Leaf
	return nil
}

// ask sends a request and waits for its answer, however long it takes.
func (c *child) ask(q request) (reply, error) {
	var r reply
	if err := c.enc.Encode(q); err != nil {
		return r, fmt.Errorf("ask server %s to %s: %w", c.name, q.Op, err)
	}
	if err := c.dec.Decode(&r); err != nil {
		return r, fmt.Errorf("ask server %s to %s: %w", c.name, q.Op, err)
	}
	if r.Error != "" {
		return r, fmt.Errorf("ask server %s to %s: %s", c.name, q.Op, r.Error)
	}
	return r, nil
}

// kill ends the child as a crash would.
func (c *child) kill() error {
	err := c.cmd.Process.Kill()
	c.reap()
	return err
}

// close ends the child in order.
func (c *child) close() error {
	err := c.in.Close()
	if errors.Is(err, os.ErrClosed) {
		err = nil
	}
	c.reap()
	return err
}

// reap waits for the process; how it ended is no news.
func (c *child) reap() {
	_ = c.cmd.Wait()
}
