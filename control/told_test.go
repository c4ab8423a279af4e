package control

import (
	"testing"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

// A node's word that arrives when the call has ended is told to nobody: the client's
// stream is gone, and whoever writes to it takes the node with it.
func TestNobodyIsToldAfterTheEnd(t *testing.T) {
	told := 0
	s := &Service{}
	var err error
	if s.metrics, err = s.newInstruments(nil); err != nil {
		t.Fatal(err)
	}
	r := &rollout{
		s: s, limit: t.Context(), head: &orlav1.Head{Name: "shop"}, tell: func(*orlav1.NodeResult) { told++ }, cancel: func() {}, changed: make(chan struct{}, 1),
		revision: 7, nodes: map[string]*orlav1.NodeResult{"n2": {Node: "n2"}, "n3": {Node: "n3"}}, open: 2,
	}
	r.onApplied(&orlav1.Applied{Node: "n2", Revision: 7})
	if told != 1 {
		t.Errorf("%d steps were told before the end, want 1", told)
	}
	r.end()
	r.onApplied(&orlav1.Applied{Node: "n3", Revision: 7})
	if told != 1 {
		t.Error("a step was told after the end")
	}
}
