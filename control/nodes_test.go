package control

import (
	"fmt"
	"testing"

	"connectrpc.com/connect"

	"github.com/orla-edge/orla/cluster"
	"github.com/orla-edge/orla/identity"
	"github.com/orla-edge/orla/internal/ports"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

// A hub that is asked for a change while no hub leads makes it when one does.
func TestChangesWaitForTheElection(t *testing.T) {
	secret, addrs := identity.New(), []string{ports.Address(t), ports.Address(t), ports.Address(t)}
	hub := func(i int) *plane {
		return newPlaneOf(t, fmt.Sprint("h", i), cluster.Topology{Name: "c", Secret: secret, Listen: addrs[i], Join: addrs})
	}
	first := hub(0)
	drain := func(resume bool) func() error {
		return func() error {
			_, err := first.admin().DrainNode(t.Context(), connect.NewRequest(&orlav1.DrainNodeRequest{Node: "h0", Resume: resume}))
			return err
		}
	}
	calls := map[string]func() error{
		"drain": drain(false),
		"create token": func() error {
			_, err := first.admin().CreateToken(t.Context(), connect.NewRequest(&orlav1.CreateTokenRequest{Name: "me", Role: orlav1.Role_ROLE_ADMIN}))
			return err
		},
		"set secret": func() error {
			_, err := first.admin().SetSecret(t.Context(), connect.NewRequest(&orlav1.SetSecretRequest{App: "shop", Name: "KEY", Value: []byte("v")}))
			return err
		},
	}
	type outcome struct {
		what string
		err  error
	}
	done := make(chan outcome, len(calls))
	for what, call := range calls {
		go func() { done <- outcome{what, call()} }()
	}
	hub(1)
	hub(2)
	for range calls {
		if got := <-done; got.err != nil {
			t.Errorf("%s: %v", got.what, got.err)
		}
	}
	e, err := first.s.get(t.Context(), nodeKey("h0"))
	if err != nil || string(e.Value) != drainedValue {
		t.Errorf("h0 is %q, %v, want drained", e.Value, err)
	}
	if err := drain(false)(); err != nil { // again: it is so already
		t.Error(err)
	}
	if again, err := first.s.get(t.Context(), nodeKey("h0")); err != nil || again.Revision != e.Revision {
		t.Errorf("drained again at revision %d, %v, want %d as before", again.Revision, err, e.Revision)
	}
	if err := drain(true)(); err != nil {
		t.Error(err)
	}
}
