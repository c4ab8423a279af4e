package control

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/orla-edge/orla/cluster"
	"github.com/orla-edge/orla/dispatch"
	"github.com/orla-edge/orla/identity"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

const (
	// rolloutTimeout is how long a change waits for the nodes if nobody says.
	rolloutTimeout = 5 * time.Minute
	// askAgain is after how long a question that was perhaps lost is asked again.
	askAgain = time.Second
	// answersWithin is how long nodes may take to answer a hub's greeting.
	answersWithin = 300 * time.Millisecond
	// membersWithin is how long a change waits for other hubs to be heard of.
	membersWithin = 15 * time.Second
	membersEvery  = 20 * time.Millisecond
	// inlineManifest is the size in bytes up to which a manifest goes with the question.
	inlineManifest = 256 << 10
)

const lostText = "not heard of for a while; it catches up when it is back"

// rollout is a change on its way to the nodes: each is asked to get it ready, then the
// head moves, then each says that it serves it. Nothing changes anywhere if one cannot.
type rollout struct {
	s       *Service
	head    *orlav1.Head // as it shall become
	opts    *orlav1.Rollout
	id      string
	limit   context.Context //nolint:containedctx // ends when the nodes have had their time
	cancel  context.CancelFunc
	changed chan struct{} // holds a token when it is worth looking at all nodes

	mu       sync.Mutex               // guards what follows
	tell     func(*orlav1.NodeResult) // hears of each step; nil: nobody does, or not any more
	nodes    map[string]*orlav1.NodeResult
	open     int // nodes of which the next step is waited for
	roles    map[string]string
	since    time.Time // when the nodes were asked, or the head moved
	revision uint64    // of the change; 0: it has not been made
	early    map[string]*orlav1.Applied
}

// awaitMembers waits until this hub knows who is there: the others answer its greeting
// at once, and where there are several hubs one more has to be among them.
func (s *Service) awaitMembers(ctx context.Context) error {
	if s.cfg.Register.Alone() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, membersWithin)
	defer cancel()
	for {
		at := s.greeted.Load()
		if at != nil && time.Since(*at) >= answersWithin && (!s.cfg.Register.Several() || s.otherHub()) {
			return nil
		}
		select {
		case <-ctx.Done():
			return connect.NewError(connect.CodeUnavailable, errors.New(
				"this hub has not heard of another one that could keep the release too; see `orla nodes`; nothing has changed"))
		case <-time.After(membersEvery):
		}
	}
}

// otherHub reports whether another hub is there.
func (s *Service) otherHub() bool {
	return slices.ContainsFunc(s.members.present(s.cfg.Node), func(h heard) bool { return h.GetRole() == string(identity.Hub) })
}

// newRollout begins a rollout to the nodes that are there; the caller ends it.
func (s *Service) newRollout(ctx context.Context, head *orlav1.Head, opts *orlav1.Rollout, tell func(*orlav1.NodeResult)) *rollout {
	timeout := rolloutTimeout
	if d := opts.GetTimeout(); d != nil && d.AsDuration() > 0 {
		timeout = d.AsDuration()
	}
	r := &rollout{
		s: s, head: head, opts: opts, tell: tell, id: hubToken(s.cfg.Node) + "." + rand.Text(), changed: make(chan struct{}, 1),
		nodes: map[string]*orlav1.NodeResult{}, roles: map[string]string{}, since: time.Now(), early: map[string]*orlav1.Applied{},
	}
	r.limit, r.cancel = context.WithTimeoutCause(ctx, timeout, fmt.Errorf("not within %v", timeout))
	if s.cfg.Register.Alone() {
		return r
	}
	now := time.Now()
	for _, h := range s.members.list() {
		if h.GetNode() == s.cfg.Node || h.GetPhase() == phaseStopped {
			continue
		}
		n := &orlav1.NodeResult{Node: h.GetNode(), State: orlav1.NodeState_NODE_STATE_WORKING}
		r.nodes[h.GetNode()], r.roles[h.GetNode()] = n, h.GetRole()
		r.open++
		if h.lost(now) {
			r.setLocked(n, orlav1.NodeState_NODE_STATE_LOST, lostText) // nobody else knows of r yet
		}
	}
	s.rollouts.add(r)
	return r
}

// end ends the rollout. Nobody is told of anything after it: who was is gone then. What
// arrives at this moment waits, and finds that nobody listens.
func (r *rollout) end() {
	r.cancel()
	r.s.rollouts.remove(r)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tell = nil
}

func (r *rollout) onStaged(st *orlav1.Staged) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.nodes[st.GetNode()]
	if n == nil || r.revision != 0 || n.GetState() == orlav1.NodeState_NODE_STATE_REFUSED || n.GetState() == orlav1.NodeState_NODE_STATE_READY {
		return
	}
	n.Ms, n.Step, n.Done, n.Total = milliseconds(time.Since(r.since)), st.GetStep(), st.GetDone(), st.GetTotal()
	switch {
	case st.GetRefusal() != "":
		r.setLocked(n, orlav1.NodeState_NODE_STATE_REFUSED, st.GetRefusal())
	case st.GetReady():
		r.setLocked(n, orlav1.NodeState_NODE_STATE_READY, "")
	default:
		r.setLocked(n, orlav1.NodeState_NODE_STATE_WORKING, "")
	}
}

func (r *rollout) onApplied(ap *orlav1.Applied) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.revision == 0 { // the head has moved, and the answer to this node is on its way
		r.early[ap.GetNode()] = ap
		return
	}
	r.applyLocked(ap)
}

func (r *rollout) applyLocked(ap *orlav1.Applied) {
	n := r.nodes[ap.GetNode()]
	if n == nil || ap.GetRevision() < r.revision || n.GetState() == orlav1.NodeState_NODE_STATE_LIVE {
		return
	}
	refused := slices.ContainsFunc(ap.GetRefusals(), func(refusal *orlav1.Refusal) bool { return refusal.GetName() == r.head.GetName() })
	if refused && n.GetState() == orlav1.NodeState_NODE_STATE_LOST {
		return // it is back, and has yet to fetch what it was not there for
	}
	n.Ms, n.Revision, n.Step = milliseconds(time.Since(r.since)), ap.GetRevision(), ""
	for _, refusal := range ap.GetRefusals() {
		if refusal.GetName() == r.head.GetName() {
			r.setLocked(n, orlav1.NodeState_NODE_STATE_REFUSED, refusal.GetReason())
			return
		}
	}
	r.s.metrics.propagation.Record(r.limit, n.GetMs()/1000)
	r.setLocked(n, orlav1.NodeState_NODE_STATE_LIVE, "")
}

// awaitedLocked reports whether a node in that state has its next step before it.
func (r *rollout) awaitedLocked(state orlav1.NodeState) bool {
	return state == orlav1.NodeState_NODE_STATE_WORKING || state == orlav1.NodeState_NODE_STATE_READY && r.revision != 0
}

// setLocked notes a node's step and tells of it. All nodes are looked at when it may be
// the last one that was waited for, not after each of them.
func (r *rollout) setLocked(n *orlav1.NodeResult, state orlav1.NodeState, reason string) {
	if r.awaitedLocked(n.GetState()) && !r.awaitedLocked(state) {
		r.open--
	}
	n.State, n.Reason = state, reason
	if r.tell != nil {
		r.tell(proto.CloneOf(n))
	}
	refused := state == orlav1.NodeState_NODE_STATE_REFUSED
	if r.open > 0 && !refused && r.opts.GetQuorum() == 0 && !r.opts.GetNoWait() {
		return
	}
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

// stage has every node get a release ready. Its error names those that refuse; then
// nothing has changed.
func (r *rollout) stage(built *dispatch.Release, manifest []byte, since *timestamppb.Timestamp) error {
	if len(r.nodes) == 0 {
		return nil
	}
	st := &orlav1.Stage{
		Id: r.id, Name: r.head.GetName(), Release: built.Number, Digest: built.Digest.String(), Since: since, Origin: r.s.cfg.Node,
		KeepMs: uint32(maxKeep.Milliseconds()),
	}
	if r.s.cfg.Peer != "" {
		st.Peers = []string{r.s.cfg.Peer}
	}
	if len(manifest) <= inlineManifest {
		st.Manifest = manifest
	}
	r.s.send(cluster.All, topicStage, st)
	again := time.NewTicker(askAgain)
	defer again.Stop()
	r.loseAbsent()
	for {
		done, err := r.staged()
		if err != nil {
			r.unstage()
			return err
		}
		if done {
			return nil
		}
		select {
		case <-r.changed:
		case <-again.C:
			r.loseAbsent()
			if r.silent() {
				r.s.send(cluster.All, topicStage, st)
			}
		case <-r.limit.Done():
			r.unstage()
			return r.late("got it ready", orlav1.NodeState_NODE_STATE_READY)
		}
	}
}

// unstage lets the nodes forget about the release.
func (r *rollout) unstage() { r.s.send(cluster.All, topicUnstage, &orlav1.Unstage{Id: r.id}) }

// silent reports whether some node has not said a word.
func (r *rollout) silent() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, n := range r.nodes {
		if n.GetState() == orlav1.NodeState_NODE_STATE_WORKING && n.GetStep() == "" {
			return true
		}
	}
	return false
}

// staged reports whether enough nodes are ready.
func (r *rollout) staged() (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var refusals []string
	ready, working, hubs, otherHubs := 1, 0, 0, 0
	for name, n := range r.nodes {
		hub := r.roles[name] == string(identity.Hub)
		switch n.GetState() { //nolint:exhaustive // the others are not reached before the head moves
		case orlav1.NodeState_NODE_STATE_REFUSED:
			refusals = append(refusals, fmt.Sprintf("node %s refuses release %d of %q: %s", name, r.head.GetLive(), r.head.GetName(), n.GetReason()))
		case orlav1.NodeState_NODE_STATE_READY:
			ready++
			if hub {
				hubs++
			}
		case orlav1.NodeState_NODE_STATE_WORKING:
			working++
		}
		if hub && n.GetState() != orlav1.NodeState_NODE_STATE_LOST {
			otherHubs++
		}
	}
	quorum := int(r.opts.GetQuorum())
	left := ready + working
	if len(refusals) > 0 && (quorum == 0 && !r.opts.GetNoWait() || quorum > left) {
		slices.Sort(refusals)
		return false, connect.NewError(connect.CodeFailedPrecondition, errors.New(strings.Join(refusals, "\n")+"\nnothing has changed on any node"))
	}
	// What is live must not be on one machine only.
	if hubs == 0 && otherHubs > 0 {
		return false, nil
	}
	switch {
	case r.opts.GetNoWait():
		return true, nil
	case quorum > 0:
		return ready >= quorum, quorumError(quorum, left)
	default:
		return working == 0, nil
	}
}

func quorumError(quorum, left int) error {
	if left >= quorum {
		return nil
	}
	return connect.NewError(connect.CodeFailedPrecondition, fmt.Errorf("--quorum %d asks for more nodes than there are (%d); nothing has changed on any node", quorum, left))
}

// loseAbsent gives up on nodes that have not been heard of for a while.
func (r *rollout) loseAbsent() {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, n := range r.nodes {
		h, ok := r.s.members.get(name)
		if n.GetState() != orlav1.NodeState_NODE_STATE_WORKING && n.GetState() != orlav1.NodeState_NODE_STATE_READY || ok && !h.lost(now) {
			continue
		}
		r.setLocked(n, orlav1.NodeState_NODE_STATE_LOST, lostText)
	}
}

// late is the error for nodes that took too long.
func (r *rollout) late(what string, want orlav1.NodeState) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var names []string
	for name, n := range r.nodes {
		if n.GetState() != want && n.GetState() != orlav1.NodeState_NODE_STATE_LOST {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return connect.NewError(connect.CodeDeadlineExceeded, fmt.Errorf("%s has not %s: %w; see `orla nodes`, or pass --quorum or --timeout",
		strings.Join(names, ", "), what, context.Cause(r.limit)))
}

// moved notes that the head has moved, at a time.
func (r *rollout) moved(revision uint64, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.revision, r.since, r.open = revision, at, 0
	for _, n := range r.nodes {
		if r.awaitedLocked(n.GetState()) {
			r.open++
		}
	}
	for _, ap := range r.early {
		r.applyLocked(ap)
	}
}

// prove waits until the nodes serve the change. It returns why that is not proven;
// empty: it is.
func (r *rollout) prove() string {
	if r.opts.GetNoWait() {
		return ""
	}
	check := time.NewTicker(askAgain)
	defer check.Stop()
	r.loseAbsent()
	for {
		if done, why := r.proven(); done {
			return why
		}
		select {
		case <-r.changed:
		case <-check.C:
			r.loseAbsent()
			r.believe()
		case <-r.limit.Done():
			return r.late("taken it over", orlav1.NodeState_NODE_STATE_LIVE).Error()
		}
	}
}

// believe takes what nodes say of themselves now and then for answers that were lost.
func (r *rollout) believe() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, n := range r.nodes {
		if h, ok := r.s.members.get(name); ok && r.awaitedLocked(n.GetState()) {
			r.applyLocked(&orlav1.Applied{Node: name, Revision: h.GetRevision(), Refusals: h.GetRefusals()})
		}
	}
}

// proven reports whether all is known, and what is wrong.
func (r *rollout) proven() (bool, string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	live, waiting := 1, 0
	var refusals []string
	for name, n := range r.nodes {
		switch n.GetState() { //nolint:exhaustive // lost nodes catch up
		case orlav1.NodeState_NODE_STATE_LIVE:
			live++
		case orlav1.NodeState_NODE_STATE_REFUSED:
			refusals = append(refusals, fmt.Sprintf("node %s: %s", name, n.GetReason()))
		case orlav1.NodeState_NODE_STATE_READY, orlav1.NodeState_NODE_STATE_WORKING:
			waiting++
		}
	}
	if quorum := int(r.opts.GetQuorum()); quorum > 0 {
		return live >= quorum || waiting == 0, ""
	}
	slices.Sort(refusals)
	return waiting == 0, strings.Join(refusals, "\n")
}

// results are what the nodes have made of it, this one first.
func (r *rollout) results(own *orlav1.NodeResult) []*orlav1.NodeResult {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := []*orlav1.NodeResult{own}
	for _, name := range slices.Sorted(maps.Keys(r.nodes)) {
		out = append(out, proto.CloneOf(r.nodes[name]))
	}
	return out
}
