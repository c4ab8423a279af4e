package control

import (
	"testing"
	"time"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

func TestStateOfANode(t *testing.T) {
	now := time.Now()
	refusals := []*orlav1.Refusal{{Name: "shop"}}
	for _, tt := range []struct {
		h    heard
		want string
	}{
		{heard{Member: &orlav1.Member{Phase: "serving"}, at: now}, "serving"},
		{heard{Member: &orlav1.Member{}, at: now}, "serving"},
		{heard{Member: &orlav1.Member{Phase: "starting"}, at: now}, "starting"},
		{heard{Member: &orlav1.Member{Phase: "drained", Problem: "x"}, at: now}, "drained"},
		{heard{Member: &orlav1.Member{Phase: "draining"}, at: now}, "draining"},
		{heard{Member: &orlav1.Member{Phase: "serving", Problem: "x"}, at: now, behind: true}, "cut off"},
		{heard{Member: &orlav1.Member{Phase: "serving", Refusals: refusals}, at: now, behind: true}, "behind"},
		{heard{Member: &orlav1.Member{Phase: "serving", Refusals: refusals}, at: now}, "refusing"},
		{heard{Member: &orlav1.Member{Phase: "serving"}, at: now.Add(-lostAfter - 1)}, "lost"},
		{heard{Member: &orlav1.Member{Phase: "stopped"}, at: now}, "lost"},
	} {
		if got := tt.h.stateOf(now); got != tt.want {
			t.Errorf("stateOf(%v, behind %t) = %q, want %q", tt.h.Member, tt.h.behind, got, tt.want)
		}
	}
}

// The register moves by one revision a second at least: who is at one that the hub left
// five seconds ago or more is behind.
func TestBehind(t *testing.T) {
	var m members
	start := time.Now()
	at := func(d time.Duration) time.Time { return start.Add(d) }
	behind := func(revision uint64, d time.Duration) bool { return m.behindLocked(revision, at(d)) }
	m.mark(100, start)
	if behind(1, 0) {
		t.Error("a node is behind a hub that has just started")
	}
	for i := range 10 { // two revisions every two seconds, as heartbeats make
		m.mark(100+2*uint64(i), at(time.Duration(2*i)*time.Second))
	}
	// At 18 s the hub is at 118, and was at 112 when it was 12 s.
	for revision, want := range map[uint64]bool{111: true, 112: false, 118: false, 130: false} {
		if got := behind(revision, 18*time.Second); got != want {
			t.Errorf("a node at revision %d is behind: %t, want %t", revision, got, want)
		}
	}
	if len(m.marks) > 4 {
		t.Errorf("%d marks are kept", len(m.marks))
	}
}
