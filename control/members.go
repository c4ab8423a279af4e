package control

import (
	"context"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/orla-edge/orla/cluster"
	"github.com/orla-edge/orla/identity"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

const (
	// presentEvery is how often a node tells the hubs about itself.
	presentEvery = 2 * time.Second
	// greetEvery is how often a hub looks whether it can ask who is there.
	greetEvery = 200 * time.Millisecond
	// lostAfter is the silence after which a node is taken to be lost.
	lostAfter = 3*presentEvery + time.Second
	// forgetAfter is the silence after which it is not shown any more.
	forgetAfter = 24 * time.Hour
	// maxMembers bounds how many nodes a hub remembers.
	maxMembers = 100_000
)

// Topics of the messages between nodes.
const (
	topicMember  = "member"  // to hubs: a node about itself
	topicHello   = "hello"   // to all: tell who you are
	topicStage   = "stage"   // to all: get a release ready
	topicUnstage = "unstage" // to all: let it go
	topicStaged  = "staged." // to a hub, with the stage's id: how far a node is
	topicApplied = "applied" // to hubs, or with its token to one: what a node has taken over
	topicTail    = "tail"    // to all: send a log, or go on sending it
	topicUntail  = "untail"  // to all: nobody reads it any more
	topicLog     = "log."    // to hubs, with the reader's id: records
)

// Phases in which a member describes itself.
const (
	phaseServing = "serving"
	phaseStopped = "stopped"
)

// members is who is in the cluster, as this node has heard.
type members struct {
	mu    sync.Mutex // guards what follows
	heard map[string]heard
	marks []mark // oldest first: the last one from before behindAfter, and those since
}

// mark is the revision that this node was at, at a time. Heartbeats are revisions too.
type mark struct {
	revision uint64
	at       time.Time
}

// behindAfter is how old the revision of a node may be that is not behind.
const behindAfter = 5 * time.Second

// mark notes how far this node is.
func (m *members) mark(revision uint64, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.marks = append(m.marks, mark{revision, now})
	for len(m.marks) > 1 && now.Sub(m.marks[1].at) >= behindAfter {
		m.marks = m.marks[1:]
	}
}

// behindLocked reports whether a node is at a revision that this one left a while ago.
func (m *members) behindLocked(revision uint64, now time.Time) bool {
	return len(m.marks) > 0 && now.Sub(m.marks[0].at) >= behindAfter && revision < m.marks[0].revision
}

// heard is what a node has said of itself, and when.
type heard struct {
	*orlav1.Member
	at     time.Time
	behind bool // its revision was one that this node had left long before
}

// lost reports whether the node has been silent for too long.
func (h heard) lost(now time.Time) bool {
	return h.GetPhase() == phaseStopped || now.Sub(h.at) > lostAfter
}

func (m *members) note(member *orlav1.Member) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.heard == nil {
		m.heard = map[string]heard{}
	}
	if _, known := m.heard[member.GetNode()]; !known && len(m.heard) >= maxMembers {
		return
	}
	now := time.Now()
	m.heard[member.GetNode()] = heard{member, now, m.behindLocked(member.GetRevision(), now)}
}

// list returns everybody who is remembered, by name.
func (m *members) list() []heard {
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]heard, 0, len(m.heard))
	for name, h := range m.heard {
		if now.Sub(h.at) > forgetAfter {
			delete(m.heard, name)
			continue
		}
		out = append(out, h)
	}
	slices.SortFunc(out, func(a, b heard) int { return strings.Compare(a.GetNode(), b.GetNode()) })
	return out
}

// present returns those who are there, but for one.
func (m *members) present(except string) []heard {
	now := time.Now()
	return slices.DeleteFunc(m.list(), func(h heard) bool { return h.GetNode() == except || h.lost(now) })
}

// get returns what a node has last said.
func (m *members) get(name string) (heard, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	h, ok := m.heard[name]
	return h, ok
}

// self describes this node.
func (s *Service) self() *orlav1.Member {
	m := &orlav1.Member{
		Node: s.cfg.Node, Role: s.role(), Version: s.cfg.Version, Started: timestamppb.New(s.started),
		Revision: s.cfg.Dispatcher.Revision(), Phase: phaseServing, Urls: s.cfg.URLs, Peer: s.cfg.Peer,
		Refusals: s.catalog.listRefusals(), Incarnation: s.incarnation,
	}
	if s.cfg.Phase != nil {
		m.Phase = s.cfg.Phase()
	}
	if err := s.cfg.Register.Ready(); err != nil {
		m.Problem = err.Error()
	}
	return m
}

func (s *Service) role() string {
	if s.cfg.Register.Alone() {
		return "alone"
	}
	return string(s.cfg.Register.Role())
}

// hub reports whether this node may change the register.
func (s *Service) hub() bool { return s.cfg.Register.Role() == identity.Hub }

// Beat is what a hub says with the register's heartbeat: which hubs there are. It is
// for [cluster.Config].
func (s *Service) Beat() []byte {
	beat := &orlav1.Members{}
	for _, h := range s.members.present("") {
		if h.GetRole() == string(identity.Hub) && h.GetPeer() != "" {
			beat.Members = append(beat.Members, &orlav1.Member{Node: h.GetNode(), Role: h.GetRole(), Peer: h.GetPeer()})
		}
	}
	b, err := encode(beat)
	if err != nil {
		s.cfg.Logger.Error("make heartbeat", "error", err)
	}
	return b
}

// Peers returns where other nodes serve content, hubs first, in random order.
func (s *Service) Peers() []string {
	hubs, edges := s.peers()
	rand.Shuffle(len(hubs), func(i, j int) { hubs[i], hubs[j] = hubs[j], hubs[i] })
	rand.Shuffle(len(edges), func(i, j int) { edges[i], edges[j] = edges[j], edges[i] })
	return append(hubs, edges...)
}

// Hubs returns where other hubs are reached, in random order.
func (s *Service) Hubs() []string {
	hubs, _ := s.peers()
	rand.Shuffle(len(hubs), func(i, j int) { hubs[i], hubs[j] = hubs[j], hubs[i] })
	return hubs
}

func (s *Service) peers() (hubs, edges []string) {
	var beat orlav1.Members
	value, _ := s.cfg.Register.Beat()
	if err := proto.Unmarshal(value, &beat); err != nil {
		s.cfg.Logger.Warn("heartbeat not understood", "error", err)
	}
	all := beat.GetMembers()
	for _, h := range s.members.present(s.cfg.Node) {
		all = append(all, h.Member)
	}
	seen := map[string]bool{s.cfg.Peer: true, "": true}
	for _, m := range all {
		if seen[m.GetPeer()] {
			continue
		}
		seen[m.GetPeer()] = true
		if m.GetRole() == string(identity.Hub) {
			hubs = append(hubs, m.GetPeer())
		} else {
			edges = append(edges, m.GetPeer())
		}
	}
	return hubs, edges
}

// Run takes part in the cluster until ctx ends: it tells the hubs about this node, gets
// releases ready that a hub is about to make live, and fetches what the node lacks.
func (s *Service) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	defer s.background.Wait()
	for _, stop := range s.listen(ctx) {
		defer stop()
	}
	wg.Go(func() { s.catchUp(ctx) })
	wg.Go(func() { s.ledger.run(ctx) })
	wg.Go(func() { s.backups(ctx) })
	if s.cfg.Register.Alone() {
		<-ctx.Done()
		return nil
	}
	tick := time.NewTicker(presentEvery)
	defer tick.Stop()
	first := time.NewTicker(greetEvery)
	defer first.Stop()
	for {
		s.introduce()
		s.greet()
		select {
		case <-ctx.Done():
			last := s.self()
			last.Phase = phaseStopped
			s.send(cluster.Hubs, topicMember, last)
			return nil
		case <-first.C:
			if s.greeted.Load() != nil || !s.hub() {
				first.Stop()
			}
		case <-tick.C:
		case <-s.moved:
		}
	}
}

// greet asks the nodes, once, who they are.
func (s *Service) greet() {
	if s.greeted.Load() != nil || !s.hub() || s.cfg.Register.Ready() != nil {
		return
	}
	if s.cfg.Register.Send(cluster.All, topicHello, nil) == nil {
		now := time.Now()
		s.greeted.Store(&now)
	}
}

// introduce tells the hubs about this node.
func (s *Service) introduce() {
	self := s.self()
	s.members.mark(self.GetRevision(), time.Now())
	s.members.note(self)
	s.send(cluster.Hubs, topicMember, self)
}

// send sends a message to other nodes. One that is lost is sent again in some way or
// other: nobody needs the error.
func (s *Service) send(to cluster.Audience, topic string, m proto.Message) {
	if s.cfg.Register.Alone() {
		return
	}
	b, err := encode(m)
	if err == nil {
		err = s.cfg.Register.Send(to, topic, b)
	}
	if err != nil {
		s.cfg.Logger.Debug("message to other nodes not sent", "topic", topic, "error", err)
	}
}

// listen hears what other nodes say.
func (s *Service) listen(ctx context.Context) (stops []func()) {
	if s.cfg.Register.Alone() {
		return nil
	}
	on := func(to cluster.Audience, topic string, f func(cluster.Message)) {
		stops = append(stops, s.cfg.Register.Listen(to, topic, f))
	}
	on(cluster.All, topicHello, func(cluster.Message) { s.nudge() })
	on(cluster.All, topicStage, func(m cluster.Message) { s.onStage(ctx, m) })
	on(cluster.All, topicUnstage, s.onUnstage)
	on(cluster.All, topicTail, func(m cluster.Message) { s.onTail(ctx, m) })
	on(cluster.All, topicUntail, s.onUntail)
	if s.hub() {
		on(cluster.Hubs, topicMember, func(m cluster.Message) {
			if member, err := decode[orlav1.Member](m.Data); err == nil && member.GetNode() != "" {
				s.members.note(member)
			}
		})
		on(cluster.Hubs, topicStaged+hubToken(s.cfg.Node)+".>", s.onStaged)
		on(cluster.Hubs, topicApplied, s.onApplied)
		on(cluster.Hubs, topicApplied+"."+hubToken(s.cfg.Node), s.onApplied)
	}
	return stops
}

// nudge has the node introduce itself soon.
func (s *Service) nudge() {
	select {
	case s.moved <- struct{}{}:
	default:
	}
}

// States of a node that come on top of its phases.
const (
	stateLost     = "lost"
	stateCutOff   = "cut off"
	stateBehind   = "behind"
	stateRefusing = "refusing"
)

// stateOf says in a word how a node is: the worst that there is to say.
func (h heard) stateOf(now time.Time) string {
	switch {
	case h.lost(now):
		return stateLost
	case h.GetPhase() != phaseServing && h.GetPhase() != "":
		return h.GetPhase()
	case h.GetProblem() != "":
		return stateCutOff
	case h.behind:
		return stateBehind
	case len(h.GetRefusals()) > 0:
		return stateRefusing
	default:
		return phaseServing
	}
}
