//go:build linux

package faults

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/orla-edge/orla/client"
	"github.com/orla-edge/orla/internal/lab"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

// scene is a cluster that is watched while harm is done to it.
type scene struct {
	*lab.Lab
	t       *testing.T
	clients map[*lab.Node]*client.Client
	prober  *lab.Prober
	watched sync.WaitGroup
	stop    context.CancelFunc // of the watch

	mu     sync.Mutex // guards what follows
	backs  []string   // revisions that went back
	acked  []push
	failed map[connect.Code]int // pushes by the code of their error
	unsure map[string]bool      // sets whose last push may have been made, or may be yet
	errors []string             // the first of codes that should not be
}

// push is one that the cluster has acknowledged.
type push struct {
	set, text string
	number    uint64
}

const home = "home"

// newScene starts a cluster that serves a site, and the watch over it. Its nodes have
// networks of their own: on the loopback the port of one that is down may be taken by
// another test's.
func newScene(t *testing.T, o lab.Options) *scene {
	t.Helper()
	o.Network = true
	s := &scene{t: t, clients: map[*lab.Node]*client.Client{}, failed: map[connect.Code]int{}, unsure: map[string]bool{}}
	s.Lab = lab.New(t, o)
	token := newToken(t, s.Nodes[0])
	for _, n := range s.Nodes {
		c, err := client.Find(client.Options{Admin: n.Admin(), Token: token, Getenv: func(string) string { return "" }})
		if err != nil {
			t.Fatal(err)
		}
		s.clients[n] = c
		t.Cleanup(c.Close)
	}
	if err := s.Deploy(t.Context(), map[string]string{"orla.toml": "name = \"home\"\n[site]\n", "public/index.html": home}); err != nil {
		t.Fatal(err)
	}
	s.Await("/", s.Nodes, saysHome)
	s.prober = s.Probe("/", func(_ *lab.Node, status int, body string) error { return saysHome(status, body) })
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	s.stop = stop
	for _, n := range s.Nodes {
		s.watched.Go(func() { s.watch(ctx, n) })
	}
	t.Cleanup(func() {
		stop()
		s.watched.Wait()
	})
	return s
}

// newToken returns a token that all nodes take.
func newToken(t *testing.T, n *lab.Node) string {
	t.Helper()
	c := n.Client()
	defer c.Close()
	res, err := c.Control().CreateToken(t.Context(), connect.NewRequest(&orlav1.CreateTokenRequest{Name: "faults", Role: orlav1.Role_ROLE_ADMIN}))
	if err != nil {
		t.Fatal(err)
	}
	return res.Msg.GetSecret()
}

func saysHome(status int, body string) error {
	if status != http.StatusOK || body != home {
		return fmt.Errorf("the answer is %d %q, want %q", status, body, home)
	}
	return nil
}

// watch notes when a node says that it is at an older revision than it was, or serves
// another revision than it has taken over.
func (s *scene) watch(ctx context.Context, n *lab.Node) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	var last uint64
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		before, up := n.State()
		if !up {
			continue
		}
		res, err := s.node(ctx, n)
		if after, _ := n.State(); err != nil || after != before {
			continue
		}
		if now := res.GetRevision(); now >= last {
			last = now
			continue
		}
		s.mu.Lock()
		s.backs = append(s.backs, fmt.Sprintf("%s: node %s went from revision %d back to %d", time.Now().Format("15:04:05.000"), n.Name, last, res.GetRevision()))
		s.mu.Unlock()
		last = res.GetRevision()
	}
}

func (s *scene) node(ctx context.Context, n *lab.Node) (*orlav1.GetNodeResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	res, err := s.clients[n].Control().GetNode(ctx, connect.NewRequest(&orlav1.GetNodeRequest{}))
	if err != nil {
		return nil, err
	}
	return res.Msg, nil
}

// eager is the rollout of a change that waits for no node that is away.
func eager() *orlav1.Rollout { return &orlav1.Rollout{NoWait: true} }

// answering is a route set that answers every path of its own host with a text.
func answering(set, text string) *orlav1.Manifest {
	return &orlav1.Manifest{
		Name: set, Kind: orlav1.Kind_KIND_ROUTES, Hosts: []string{set + ".test"},
		Routes: []*orlav1.Route{{
			Match: &orlav1.Match{Path: "/*"}, Source: "routes.toml:1",
			Target: &orlav1.Route_Respond{Respond: &orlav1.Respond{Status: 200, Body: text, MediaType: "text/plain"}},
		}},
	}
}

// pushTimeout is how long a push may take: longer than a new leader does.
const pushTimeout = 40 * time.Second

// push makes a set answer a text, by way of a node, and notes what is acknowledged.
func (s *scene) push(ctx context.Context, n *lab.Node, set, text string, rollout *orlav1.Rollout) (*orlav1.Live, error) {
	live, err := deploy(ctx, s.clients[n], &orlav1.DeployRequest{Manifest: answering(set, text), Message: text, Rollout: rollout})
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		code := connect.CodeOf(err)
		s.failed[code]++
		broken, ok := errors.AsType[*client.Error](err)
		if ok && broken.Broken || expected(code) {
			s.unsure[set] = true
			return nil, err // as the faults have it
		}
		if code == connect.CodeAborted && s.unsure[set] {
			return nil, err // by the push before, which was made after all
		}
		if len(s.errors) < 10 {
			s.errors = append(s.errors, fmt.Sprintf("%s: push by way of %s: %v", time.Now().Format("15:04:05.000"), n.Name, err))
		}
		return nil, err
	}
	delete(s.unsure, set)
	s.acked = append(s.acked, push{set, text, live.GetRelease()})
	return live, nil
}

// deploy runs a call of the API to its end.
func deploy(ctx context.Context, c *client.Client, req *orlav1.DeployRequest) (*orlav1.Live, error) {
	ctx, cancel := context.WithTimeout(ctx, pushTimeout)
	defer cancel()
	stream, err := c.Control().Deploy(ctx, connect.NewRequest(req))
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	var live *orlav1.Live
	for stream.Receive() {
		if l := stream.Msg().GetLive(); l != nil {
			live = l
		}
	}
	if err := stream.Err(); err != nil {
		return nil, err
	}
	if live == nil {
		return nil, connect.NewError(connect.CodeUnknown, fmt.Errorf("the deploy has no result"))
	}
	return live, nil
}

// maxReleases keeps a set below what a head remembers.
const maxReleases = 60

// pushing pushes by way of each of the nodes, each to sets of its own, until the
// function that it returns is called.
func (s *scene) pushing(nodes []*lab.Node) (stop func()) {
	ctx, cancel := context.WithCancel(s.t.Context())
	var wg sync.WaitGroup
	for _, n := range nodes {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				// An error is what the faults are for; what is acknowledged counts.
				_, _ = s.push(ctx, n, fmt.Sprintf("%s-%d", n.Name, i/maxReleases), fmt.Sprintf("%s %d", n.Name, i), eager())
				select {
				case <-ctx.Done():
				case <-time.After(20 * time.Millisecond):
				}
			}
		})
	}
	return sync.OnceFunc(func() {
		cancel()
		wg.Wait()
	})
}

// acks is how many pushes have been acknowledged.
func (s *scene) acks() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.acked)
}

// await waits for a condition.
func (s *scene) await(what string, ok func() error) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), lab.Patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ok()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			s.t.Fatalf("%s: after %s still %v\n%s", what, lab.Patience, err, s.logs())
		case <-tick.C:
		}
	}
}

// more waits until so many more pushes have been acknowledged.
func (s *scene) more(count int) {
	s.t.Helper()
	before := s.acks()
	s.await("the cluster takes changes", func() error {
		if n := s.acks() - before; n < count {
			return fmt.Errorf("%d of %d", n, count)
		}
		return nil
	})
}

// logs are the ends of the nodes' logs.
func (s *scene) logs() string {
	var b strings.Builder
	for _, n := range s.Nodes {
		text := n.Log()
		fmt.Fprintf(&b, "== %s\n%s\n", n.Name, text[max(0, len(text)-6000):])
	}
	return b.String()
}

// converged waits until all nodes are at one revision and refuse nothing.
func (s *scene) converged() {
	s.t.Helper()
	s.await("all nodes are at one revision", func() error {
		revisions := map[uint64][]string{}
		for _, n := range s.Nodes {
			res, err := s.node(s.t.Context(), n)
			if err != nil {
				return fmt.Errorf("node %s: %w", n.Name, err)
			}
			if len(res.GetRefusals()) > 0 || !res.GetRegisterReady() {
				return fmt.Errorf("node %s: refuses %v, register: %s", n.Name, res.GetRefusals(), res.GetRegisterError())
			}
			revisions[res.GetRevision()] = append(revisions[res.GetRevision()], n.Name)
		}
		if len(revisions) != 1 {
			return fmt.Errorf("revisions %v", revisions)
		}
		return nil
	})
}

// finish ends a test whose faults are over: it checks all that has to hold.
func (s *scene) finish() {
	t := s.t
	t.Helper()
	s.AwaitMembers(s.Nodes...)
	s.converged()
	for _, n := range s.Nodes {
		s.prove(n)
	}
	s.converged()
	s.survived()
	s.stop()
	s.watched.Wait()
	if err := s.prober.Stop(); err != nil {
		t.Error(err)
	}
	for _, b := range s.backs {
		t.Error(b)
	}
	for _, e := range s.errors {
		t.Error(e)
	}
	t.Logf("%d requests, %d pushes acknowledged, failed: %v", s.prober.Requests(), len(s.acked), s.failed)
	if t.Failed() {
		t.Log(s.logs())
	}
}

// prove pushes once more by way of a node, which all nodes have to take; an edge asks a
// hub for it.
func (s *scene) prove(n *lab.Node) {
	s.t.Helper()
	live, err := s.push(s.t.Context(), n, "last", "by way of "+n.Name, &orlav1.Rollout{Timeout: durationpb.New(35 * time.Second)})
	if err != nil || live.GetUnproven() != "" {
		s.t.Errorf("a push by way of %s when all is over: %v %s", n.Name, err, live.GetUnproven())
		return
	}
	for _, r := range live.GetNodes() {
		if r.GetState() != orlav1.NodeState_NODE_STATE_LIVE {
			s.t.Errorf("a push by way of %s when all is over: node %s is %s %s", n.Name, r.GetNode(), r.GetState(), r.GetReason())
		}
	}
}

func (s *scene) hubs() []*lab.Node {
	var hubs []*lab.Node
	for _, n := range s.Nodes {
		if n.Hub() {
			hubs = append(hubs, n)
		}
	}
	return hubs
}

func (s *scene) edges() []*lab.Node { return s.Nodes[len(s.hubs()):] }

// survived checks that all that was acknowledged is in the history, everywhere, and that
// every node serves the newest of each set.
func (s *scene) survived() {
	s.t.Helper()
	for _, n := range s.Nodes {
		heads := s.heads(n)
		for _, p := range s.acked {
			h := heads[p.set]
			i := slices.IndexFunc(h.GetReleases(), func(r *orlav1.Release) bool { return r.GetNumber() == p.number })
			if i < 0 || h.GetReleases()[i].GetMessage() != p.text {
				s.t.Errorf("node %s: release %d of %s, %q, was acknowledged and is not in its history", n.Name, p.number, p.set, p.text)
			}
		}
		for set, h := range heads {
			if h.GetKind() != orlav1.Kind_KIND_ROUTES {
				continue
			}
			want := h.GetReleases()[slices.IndexFunc(h.GetReleases(), func(r *orlav1.Release) bool { return r.GetNumber() == h.GetLive() })].GetMessage()
			if got := s.serves(n, set); got != want {
				s.t.Errorf("node %s: %s.test says %q, want %q, which is live", n.Name, set, got, want)
			}
		}
	}
}

// heads returns what a node knows of all apps and sets.
func (s *scene) heads(n *lab.Node) map[string]*orlav1.Head {
	s.t.Helper()
	res, err := s.clients[n].Control().ListApps(s.t.Context(), connect.NewRequest(&orlav1.ListAppsRequest{}))
	if err != nil {
		s.t.Fatal(err)
	}
	heads := map[string]*orlav1.Head{}
	for _, a := range res.Msg.GetApps() {
		heads[a.GetHead().GetName()] = a.GetHead()
	}
	return heads
}

// expected reports whether a push may fail so while there are faults, for whoever pushes
// to try again.
func expected(code connect.Code) bool {
	return slices.Contains([]connect.Code{
		connect.CodeUnavailable, connect.CodeCanceled, connect.CodeDeadlineExceeded, connect.CodeResourceExhausted,
	}, code)
}
