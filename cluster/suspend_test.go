package cluster

import (
	"context"
	"errors"
	"strings"
	"testing"
)

func (n *node) suspend() {
	n.t.Helper()
	if err := n.Suspend(n.t.Context()); err != nil {
		n.t.Fatal(err)
	}
}

// A suspended node makes room for another on its directory, and goes on from what
// that one has left.
func TestSuspendMakesRoomForAnother(t *testing.T) {
	dir := t.TempDir()
	n := start(t, dir)
	n.wait(n.must(put("a", "1", 0)))
	n.suspend()
	if _, err := n.Commit(t.Context(), put("b", "1", 0)); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "upgraded") {
		t.Errorf("Commit while suspended = %v, want ErrUnavailable that speaks of the upgrade", err)
	}
	if err := n.Suspend(t.Context()); err == nil {
		t.Error("a second Suspend succeeds")
	}
	other := start(t, dir)
	other.wait(other.must(put("b", "2", 0)))
	if err := other.stop(); err != nil {
		t.Fatal(err)
	}
	n.Resume()
	until(t, "what the other has committed", func() bool { return n.values()["b"] == "2" })
	n.ready()
	n.wait(n.must(put("c", "3", 0)))
	if got := n.values()["a"]; got != "1" {
		t.Errorf("a = %q after all, want 1", got)
	}
	n.Resume() // nothing to resume

	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	again := start(t, dir)
	if got := again.values(); got["a"] != "1" || got["b"] != "2" || got["c"] != "3" {
		t.Errorf("the next start has %v, want a, b and c", got)
	}
}

// While the other one is still there, a resumed node serves what it has, says
// why it takes no changes, and goes on when the directory is free.
func TestResumeWaitsForTheDirectory(t *testing.T) {
	dir := t.TempDir()
	n := start(t, dir)
	n.wait(n.must(put("a", "1", 0)))
	n.suspend()
	other := start(t, dir)
	n.Resume()
	until(t, "the reason", func() bool { return errors.Is(n.Ready(), ErrInUse) })
	if err := other.stop(); err != nil {
		t.Fatal(err)
	}
	n.ready()
	n.wait(n.must(put("a", "2", 1)))
}

// A node that stops while it is suspended leaves the directory to its successor.
func TestStopWhileSuspended(t *testing.T) {
	dir := t.TempDir()
	n := start(t, dir)
	n.wait(n.must(put("a", "1", 0)))
	n.suspend()
	other := start(t, dir)
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	if err := n.Suspend(t.Context()); err == nil {
		t.Error("Suspend after the end succeeds")
	}
	other.wait(other.must(put("a", "2", 1)))
	if _, err := New(Config{Dir: dir}); !errors.Is(err, ErrInUse) {
		t.Errorf("the stopped node has freed its successor's directory: %v", err)
	}
}

// Suspend waits for an apply that runs; one that outlasts the caller's patience
// leaves everything as it was.
func TestSuspendGivesUp(t *testing.T) {
	n := start(t, t.TempDir())
	gate := make(chan struct{})
	n.mu.Lock()
	n.gate = gate
	n.mu.Unlock()
	before := n.box.lastTicket()
	rev := n.must(put("a", "1", 0))
	until(t, "apply to run", func() bool {
		n.box.mu.Lock()
		defer n.box.mu.Unlock()
		return n.box.ticket > before && !n.box.filled
	})
	ctx, cancel := context.WithCancelCause(t.Context())
	impatient := errors.New("impatient")
	done := make(chan error, 1)
	go func() { done <- n.Suspend(ctx) }()
	cancel(impatient)
	if err := <-done; !errors.Is(err, impatient) {
		t.Errorf("Suspend = %v, want the context's cause", err)
	}
	n.mu.Lock()
	n.gate = nil
	n.mu.Unlock()
	close(gate)
	n.wait(rev)
	n.must(put("b", "1", 0))
	n.suspend() // and it can be tried again
	n.Resume()
	n.ready()
}
