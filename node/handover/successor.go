package handover

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"
)

// Command is a program to start.
type Command struct {
	Path string // absolute
	Args []string
}

// Socket is a listener to pass on.
type Socket struct {
	Name     string // of the listener: "http"
	Address  string // that it was asked for
	Listener net.Listener
}

// Successor is a process that takes over from this one. Its methods may not be
// called concurrently; the caller ends with Kill or Release.
type Successor struct {
	line   *line
	pid    int
	exited chan struct{} // closed when the process has ended
	exit   error         // how, once exited is closed
}

// Pid returns the process's number.
func (s *Successor) Pid() int { return s.pid }

// maxLive is how much of what is served a successor is told: a line has an end.
const maxLive = 10_000

// Asked tells the successor what is served, in words of at most 80 bytes, and
// returns when it wants the data directory, or the reason why it will not.
func (s *Successor) Asked(ctx context.Context, live []string) error {
	telling, cancel := context.WithCancel(ctx)
	defer cancel()
	told := make(chan error, 1)
	// Beside the reading: it may say why it ends, and not listen.
	go func() { told <- s.line.tell(telling, message{Kind: kindLive, Live: live[:min(len(live), maxLive)]}) }()
	_, err := s.line.expect(ctx, kindAsk)
	if err != nil {
		cancel()
	}
	return s.explain(cmp.Or(err, <-told))
}

// Grant tells the successor that the data directory is its own, and the notes.
func (s *Successor) Grant(notes []string) error {
	return s.explain(s.line.say(message{Kind: kindGrant, Notes: notes}))
}

// Served returns when the successor serves, with its version, or the reason why it
// will not.
func (s *Successor) Served(ctx context.Context) (version string, err error) {
	m, err := s.line.expect(ctx, kindServing)
	return m.Version, s.explain(err)
}

// explain adds to an error how the process ended, if it has.
func (s *Successor) explain(err error) error {
	if err == nil || !errors.Is(err, errHungUp) {
		return err
	}
	select {
	case <-s.exited:
		if s.exit != nil {
			return fmt.Errorf("it ended before it served: %w", s.exit)
		}
		return errors.New("it ended before it served")
	case <-time.After(exitWait):
		return err
	}
}

// exitWait is how long after a hang-up the end of a process is waited for.
const exitWait = time.Second

// Release lets the successor live on by itself.
func (s *Successor) Release() {
	_ = s.line.conn.Close() // nothing more is said
}

// without returns env without these variables.
func without(env []string, names ...string) []string {
	return slices.DeleteFunc(env, func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return slices.Contains(names, name)
	})
}
