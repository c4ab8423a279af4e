package dev

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"

	"github.com/orla-edge/orla/app"
	"github.com/orla-edge/orla/client"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

// errAllEnded is returned when there is no node left.
var errAllEnded = errors.New("dev: no node is left")

// session brings an app to the nodes, again and again.
type session struct {
	cfg    Config
	out    *printer
	nodes  []*node
	builds *builds
	seen   tree   // what the last build was made of
	live   string // name of the app that is live, empty before the first deploy
	number uint64 // of its release
	deploy func(context.Context, *app.Package) error

	compiled map[string]bool // digests of the modules that nodes have had
}

func newSession(cfg Config, out *printer, nodes []*node) *session {
	s := &session{cfg: cfg, out: out, nodes: nodes, builds: newBuilds(), compiled: make(map[string]bool)}
	s.deploy = s.send
	return s
}

// run builds and deploys until ctx ends or no node is left.
func (s *session) run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	var parts sync.WaitGroup
	defer parts.Wait()
	defer stop()
	w, err := newWatcher(s.cfg.Dir)
	if err != nil {
		return err
	}
	failed := make(chan error, 1)
	parts.Go(func() { failed <- w.run(ctx) })
	ended := make(chan *node, len(s.nodes))
	for _, n := range s.nodes {
		parts.Go(func() {
			select {
			case <-n.ended:
				ended <- n
			case <-ctx.Done():
			}
		})
	}
	s.greet()
	if err := s.update(ctx); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			return err
		case n := <-ended:
			if err := s.lost(n); err != nil {
				return err
			}
		case <-w.changed:
			if err := s.update(ctx); err != nil {
				return err
			}
		}
	}
}

// greet tells what is running, before anything is built.
func (s *session) greet() {
	for _, n := range s.nodes {
		s.out.say("%s: %s (process %d, data in %s)", n.name, n.url, n.pid, shortPath(n.data))
	}
	s.out.say(`the app is deployed with the host "*" beside its own, so that localhost reaches it`)
}

// lost tells of a node that has ended.
func (s *session) lost(n *node) error {
	s.out.warn("node %s has ended: %s", n.name, n.reason())
	left := 0
	for _, other := range s.nodes {
		if other.alive() {
			left++
		}
	}
	if left == 0 {
		return fmt.Errorf("%w; the last one was %s: %s", errAllEnded, n.name, n.reason())
	}
	s.out.say("%d of %d nodes go on", left, len(s.nodes))
	return nil
}

// update looks at what has changed and brings it to the nodes, until nothing has. The
// error is one that nothing a person changes in the app can mend.
func (s *session) update(ctx context.Context) error {
	for ctx.Err() == nil {
		before, err := scan(s.cfg.Dir, s.seen)
		if err != nil {
			return err
		}
		changed := changes(s.seen, before)
		if s.seen != nil && len(changed) == 0 {
			return nil
		}
		if s.seen != nil {
			s.out.say("changed: %s", named(changed))
		}
		if err := s.build(ctx, before); err != nil {
			return err
		}
	}
	return nil
}

// build builds and deploys what is there, and tells what went wrong with it.
func (s *session) build(ctx context.Context, before tree) error {
	s.seen = nil
	var scanErr error
	built := func() { s.seen, scanErr = s.after(before) }
	pkg, problem := app.Pack(ctx, app.Options{
		Path: s.cfg.Dir, EveryHost: true, Build: true, Stdout: s.out.raw(), Stderr: s.out.raw(),
		Building: func(command string) { s.out.say("building: %s", plain(command)) },
		Built:    built,
	})
	if s.seen == nil && scanErr == nil {
		built() // the build has failed
	}
	if scanErr != nil {
		return scanErr
	}
	if problem == nil {
		problem = s.deploy(ctx, pkg)
	}
	if problem != nil && ctx.Err() == nil {
		s.failed(problem)
	}
	return nil
}

// after returns the tree that a build has left, with the files that somebody has
// edited meanwhile as they were before: the next look finds that they have changed.
func (s *session) after(before tree) (tree, error) {
	now, err := scan(s.cfg.Dir, before)
	if err != nil {
		return nil, err
	}
	for _, p := range s.builds.edits(before, now) {
		now[p] = before[p]
	}
	return now, nil
}

// failed tells what is wrong, and what is served nevertheless.
func (s *session) failed(problem error) {
	s.out.problem(problem)
	if s.live == "" {
		s.out.warn("nothing is live yet; the next change is tried again")
		return
	}
	s.out.warn("%s: release %d stays live; the next change is tried again", s.live, s.number)
}

// send makes the package live on all nodes. It tries again where the register cannot be
// changed for a while: the hubs that are left elect a leader when theirs has died.
func (s *session) send(ctx context.Context, pkg *app.Package) error {
	for _, f := range pkg.Manifest.GetFunctions() {
		if !s.compiled[f.GetModule()] {
			s.out.say("compiling function %s", plain(f.GetName()))
			s.compiled[f.GetModule()] = true
		}
	}
	begin := time.Now()
	for first := true; ; first = false {
		err := s.try(ctx, pkg)
		if connect.CodeOf(err) != connect.CodeUnavailable || time.Since(begin) > retryFor {
			return err
		}
		if first {
			s.out.warn("%v; trying again", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(retryWait):
		}
	}
}

const (
	// retryFor is how long a change is tried to be made, retryWait how long it waits
	// between two tries.
	retryFor  = 20 * time.Second
	retryWait = time.Second
)

func (s *session) try(ctx context.Context, pkg *app.Package) error {
	n := s.first()
	if n == nil {
		return errAllEnded
	}
	c, err := n.client()
	if err != nil {
		return err
	}
	defer c.Close()
	if name := pkg.Manifest.GetName(); name != s.live {
		if err := clearOthers(ctx, c, name); err != nil {
			return err
		}
	}
	res, err := c.Deploy(ctx, pkg, client.DeployOptions{Message: "orla dev"}, nil)
	if err != nil {
		return err
	}
	s.tell(res.GetLive())
	return nil
}

// first returns a node that runs, nil if there is none.
func (s *session) first() *node {
	for _, n := range s.nodes {
		if n.alive() {
			return n
		}
	}
	return nil
}

// tell tells what is live, and where it is not.
func (s *session) tell(l *orlav1.Live) {
	s.live, s.number = l.GetName(), l.GetRelease()
	if l.GetUnchanged() {
		s.out.good("%s is unchanged: release %d", s.live, s.number)
		return
	}
	live, others := 0, []string(nil)
	for _, n := range l.GetNodes() {
		if n.GetState() == orlav1.NodeState_NODE_STATE_LIVE {
			live++
			continue
		}
		others = append(others, strings.TrimSpace(n.GetNode()+" "+n.GetReason()))
	}
	on := ""
	if len(s.nodes) > 1 {
		on = fmt.Sprintf(" on %d of %d nodes", live, len(l.GetNodes()))
	}
	s.out.good("%s is live%s: release %d, in %.0f ms", s.live, on, s.number, l.GetTotalMs())
	if len(others) > 0 || l.GetUnproven() != "" {
		s.out.warn("not proven everywhere: %s", plain(strings.Join(append(others, l.GetUnproven()), "; ")))
	}
}

// clearOthers removes the apps that have another name: the app's own, before it was
// renamed in its file.
func clearOthers(ctx context.Context, c *client.Client, name string) error {
	res, err := c.Control().ListApps(ctx, connect.NewRequest(&orlav1.ListAppsRequest{}))
	if err != nil {
		return err
	}
	for _, a := range res.Msg.GetApps() {
		head := a.GetHead()
		if head.GetName() == name || head.GetKind() != orlav1.Kind_KIND_APP {
			continue
		}
		if _, err := c.Control().RemoveApp(ctx, connect.NewRequest(&orlav1.RemoveAppRequest{Name: head.GetName(), Kind: orlav1.Kind_KIND_APP})); err != nil {
			return err
		}
	}
	return nil
}

// shortPath returns a path as seen from the current folder, if that is shorter.
func shortPath(name string) string {
	here, err := os.Getwd()
	if err != nil {
		return name
	}
	if rel, err := filepath.Rel(here, name); err == nil && len(rel) < len(name) {
		return rel
	}
	return name
}
