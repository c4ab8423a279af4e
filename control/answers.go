package control

import (
	"encoding/hex"
	"sync"

	"github.com/orla-edge/orla/cluster"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

// rollouts are those that go on at this node. It listens to the answers all the time: to
// begin and to end with each of them would be a message to every node.
type rollouts struct {
	mu   sync.Mutex // guards byID
	byID map[string]*rollout
}

func (rs *rollouts) add(r *rollout) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if rs.byID == nil {
		rs.byID = map[string]*rollout{}
	}
	rs.byID[r.id] = r
}

func (rs *rollouts) remove(r *rollout) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	delete(rs.byID, r.id)
}

func (rs *rollouts) get(id string) *rollout {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	return rs.byID[id]
}

func (rs *rollouts) all() []*rollout {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	out := make([]*rollout, 0, len(rs.byID))
	for _, r := range rs.byID {
		out = append(out, r)
	}
	return out
}

// of reports whether a change of that head goes on.
func (rs *rollouts) of(name string) bool {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	for _, r := range rs.byID {
		if r.head.GetName() == name {
			return true
		}
	}
	return false
}

// hubToken is a node's name as a part of a topic. Node names may have any character.
func hubToken(node string) string { return hex.EncodeToString([]byte(node)) }

func (s *Service) onStaged(m cluster.Message) {
	st, err := decode[orlav1.Staged](m.Data)
	if err != nil {
		return
	}
	if r := s.rollouts.get(st.GetId()); r != nil {
		r.onStaged(st)
	}
}

func (s *Service) onApplied(m cluster.Message) {
	ap, err := decode[orlav1.Applied](m.Data)
	if err != nil {
		return
	}
	for _, r := range s.rollouts.all() {
		r.onApplied(ap)
	}
}

// tellApplied answers the hubs that have asked for the heads: each gets its own, and
// all of them those that this node was not asked to get ready.
func (s *Service) tellApplied(revision uint64, heads []*orlav1.Head) {
	if s.cfg.Register.Alone() {
		return
	}
	answers := map[string]*orlav1.Applied{}
	for _, head := range heads {
		topic := topicApplied
		if hub := s.stagings.end(head); hub != "" {
			topic += "." + hubToken(hub)
		} else if s.rollouts.of(head.GetName()) {
			continue // its own
		}
		answer := answers[topic]
		if answer == nil {
			answer = &orlav1.Applied{Node: s.cfg.Node, Revision: revision}
			answers[topic] = answer
		}
		if refusal := s.catalog.refusal(head.GetName()); refusal != nil {
			answer.Refusals = append(answer.Refusals, refusal)
		}
	}
	for topic, answer := range answers {
		s.send(cluster.Hubs, topic, answer)
	}
}
