package control

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/orla-edge/orla/cluster"
	"github.com/orla-edge/orla/dispatch"
	"github.com/orla-edge/orla/identity"
	"github.com/orla-edge/orla/internal/ports"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

// planes are a hub and two edges that know each other; the hub is the first.
func planes(t *testing.T) []*plane {
	t.Helper()
	secret, addr := identity.New(), ports.Address(t)
	all := []*plane{newPlaneOf(t, "h", cluster.Topology{Name: "c", Secret: secret, Listen: addr})}
	for _, name := range []string{"e1", "e2"} {
		all = append(all, newPlaneOf(t, name, cluster.Topology{Name: "c", Secret: secret.Edge(), Join: []string{addr}}))
	}
	eventually(t, "all know each other", func() bool {
		return len(all[0].s.members.present("h")) == 2 && len(all[1].s.Hubs()) == 1 && len(all[2].s.Hubs()) == 1
	})
	return all
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
		<-time.After(2 * time.Millisecond)
	}
}

// states are how far the nodes are, by name.
func states(all []*orlav1.NodeResult) map[string]orlav1.NodeState {
	out := map[string]orlav1.NodeState{}
	for _, n := range all {
		out[n.GetNode()] = n.GetState()
	}
	return out
}

func (p *plane) push(body string, r *orlav1.Rollout) (*orlav1.Live, error) {
	p.t.Helper()
	res, err := runDeploy(p.t, p.admin(), &orlav1.DeployRequest{Manifest: answering("set", "s.test", body), Rollout: r})
	return res.GetLive(), err
}

func answers(t *testing.T, p *plane, want string) {
	t.Helper()
	if got := p.get("http://s.test/"); got != want {
		t.Errorf("%s serves %q, want %q", p.s.cfg.Node, got, want)
	}
}

const (
	isLive = orlav1.NodeState_NODE_STATE_LIVE
	isLost = orlav1.NodeState_NODE_STATE_LOST
)

func TestAPushIsProvenOnEveryNode(t *testing.T) {
	all := planes(t)
	live, err := all[0].push("v1", nil)
	if err != nil || live.GetUnproven() != "" {
		t.Fatalf("push: %v, %q", err, live.GetUnproven())
	}
	for _, p := range all { // at once: the call has waited
		answers(t, p, "v1")
		if got := states(live.GetNodes())[p.s.cfg.Node]; got != isLive {
			t.Errorf("%s is %v, want live", p.s.cfg.Node, got)
		}
	}
	if _, err := all[0].push("v2", nil); err != nil {
		t.Fatal(err)
	}
	res, err := all[0].admin().Rollback(t.Context(), connect.NewRequest(&orlav1.RollbackRequest{Name: "set"}))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		answers(t, p, "v1")
		if got := states(res.Msg.GetLive().GetNodes())[p.s.cfg.Node]; got != isLive {
			t.Errorf("after the rollback %s is %v, want live", p.s.cfg.Node, got)
		}
	}
}

// A node that cannot take a release keeps it from all, and is named.
func TestOneRefusalStopsAPush(t *testing.T) {
	all := planes(t)
	if _, err := all[0].push("v1", nil); err != nil {
		t.Fatal(err)
	}
	before, revision := all[0].s.catalog.head("set")
	if err := all[2].blobs.Close(); err != nil { // it can store nothing any more
		t.Fatal(err)
	}
	_, err := all[0].push("v2", nil)
	refused(t, "a push that e2 cannot take", err, connect.CodeFailedPrecondition, "node e2 refuses release 2", "nothing has changed on any node")
	for _, p := range all {
		answers(t, p, "v1")
	}
	if after, now := all[0].s.catalog.head("set"); now != revision || after.GetLive() != before.GetLive() {
		t.Errorf("the head has moved to release %d at %d", after.GetLive(), now)
	}
	eventually(t, "what was got ready is let go", func() bool {
		all[1].s.stagings.mu.Lock()
		defer all[1].s.stagings.mu.Unlock()
		return len(all[1].s.stagings.byID) == 0
	})
	t.Run("unless a quorum is enough", func(t *testing.T) {
		live, err := all[0].push("v2", &orlav1.Rollout{Quorum: 2})
		if err != nil || live.GetUnproven() != "" {
			t.Fatalf("push: %v, %q", err, live.GetUnproven())
		}
		answers(t, all[0], "v2")
		answers(t, all[1], "v2")
		answers(t, all[2], "v1")
		if got := states(live.GetNodes())["e2"]; got == isLive { // two were enough: e2 may not have answered yet
			t.Errorf("e2 is %v", got)
		}
		eventually(t, "e2 says so", func() bool { return len(all[2].s.Refused()) == 1 })
	})
	t.Run("or more is asked than there is", func(t *testing.T) {
		_, err := all[0].push("v3", &orlav1.Rollout{Quorum: 4})
		refused(t, "a push to four of three", err, connect.CodeFailedPrecondition, "nothing has changed")
	})
}

func TestSilentNodesAreNamedThenLeftBehind(t *testing.T) {
	all := planes(t)
	if _, err := all[0].push("v1", nil); err != nil {
		t.Fatal(err)
	}
	member, _ := all[0].s.members.get("e2")
	all[2].leave()
	eventually(t, "e2 has said goodbye", func() bool { return len(all[0].s.members.present("h")) == 1 })
	all[0].s.members.note(member.Member) // it went without a word
	_, err := all[0].push("v2", &orlav1.Rollout{Timeout: durationpb.New(300 * time.Millisecond)})
	refused(t, "a push to a node that is silent", err, connect.CodeDeadlineExceeded, "e2 has not got it ready", "--timeout")
	answers(t, all[0], "v1")

	all[0].s.members.mu.Lock()
	all[0].s.members.heard["e2"] = heard{Member: member.Member, at: time.Now().Add(-lostAfter - time.Second)}
	all[0].s.members.mu.Unlock()
	live, err := all[0].push("v2", nil)
	if err != nil || live.GetUnproven() != "" {
		t.Fatalf("push: %v, %q", err, live.GetUnproven())
	}
	if got := states(live.GetNodes()); got["e2"] != isLost || got["e1"] != isLive {
		t.Errorf("nodes are %v, want e2 lost and e1 live", got)
	}
}

// What a hub has on trial is nowhere else, and goes away if it fails.
func TestATrialThatFailsIsTakenBack(t *testing.T) {
	all := planes(t)
	if _, err := all[0].push("v1", nil); err != nil {
		t.Fatal(err)
	}
	bad := answering("set", "s.test", "bad")
	bad.Routes[0].GetRespond().Status = 500
	over := make(chan error, 1)
	go func() {
		_, err := runDeploy(t, all[0].admin(), &orlav1.DeployRequest{Manifest: bad, Rollout: &orlav1.Rollout{Canary: durationpb.New(time.Minute)}})
		over <- err
	}()
	eventually(t, "the hub tries it", func() bool { return all[0].get("http://s.test/") == "bad" })
	answers(t, all[1], "v1")
	var err error
	eventually(t, "it is given up", func() bool {
		all[0].get("http://s.test/")
		select {
		case err = <-over:
			return true
		default:
			return false
		}
	})
	refused(t, "the trial", err, connect.CodeFailedPrecondition, "was tried on node h and given up", "server error")
	for _, p := range all {
		answers(t, p, "v1")
	}
	if live, err := all[0].push("v2", &orlav1.Rollout{Canary: durationpb.New(200 * time.Millisecond)}); err != nil || live.GetUnproven() != "" {
		t.Errorf("a good one: %v, %q", err, live.GetUnproven())
	}
	for _, p := range all {
		answers(t, p, "v2")
	}
}

func TestVerdict(t *testing.T) {
	health := func(number, requests, errors, failures uint64) dispatch.ReleaseHealth {
		return dispatch.ReleaseHealth{Number: number, Requests: requests, ServerErrors: errors, GuestFailures: failures}
	}
	for _, test := range []struct {
		name        string
		before, now dispatch.ReleaseHealth
		good        bool
	}{
		{"no requests", health(1, 100, 0, 0), health(2, 0, 0, 0), true},
		{"all good", health(1, 100, 0, 0), health(2, 100, 0, 0), true},
		{"two failures are chance", health(1, 100, 0, 0), health(2, 2, 2, 0), true},
		{"three of three", health(1, 100, 0, 0), health(2, 3, 3, 0), false},
		{"as bad as before", health(1, 100, 50, 0), health(2, 100, 50, 0), true},
		{"much worse than before", health(1, 100, 50, 0), health(2, 100, 60, 0), false},
		{"one in a thousand", health(1, 1000, 0, 0), health(2, 3000, 3, 0), true},
		{"guests fail", health(1, 100, 0, 0), health(2, 100, 0, 5), false},
		{"there was nothing before", health(0, 0, 0, 0), health(2, 100, 5, 0), false},
	} {
		if why := verdict([]dispatch.ReleaseHealth{test.before, test.now}, 2); (why == "") != test.good {
			t.Errorf("%s: %q", test.name, why)
		}
	}
}

// A node that was not there for a push serves it when it comes.
func TestLateNodesFetchWhatIsLive(t *testing.T) {
	secret, addr := identity.New(), ports.Address(t)
	hub := newPlaneOf(t, "h", cluster.Topology{Name: "c", Secret: secret, Listen: addr})
	eventually(t, "the hub takes changes", func() bool { return hub.s.cfg.Register.Ready() == nil })
	if _, err := hub.push("v1", nil); err != nil {
		t.Fatal(err)
	}
	edge := newPlaneOf(t, "e", cluster.Topology{Name: "c", Secret: secret.Edge(), Join: []string{addr}})
	eventually(t, "the edge serves what it was not there for", func() bool { return edge.get("http://s.test/") == "v1" })
	if refusals := edge.s.Refused(); len(refusals) != 0 {
		t.Errorf("it still refuses %v", refusals)
	}
}

// The word that takes a question back may be heard before the question, and a question
// that is settled may be heard again.
func TestQuestionsThatHaveEndedAreNotTaken(t *testing.T) {
	p := newPlane(t)
	ask, err := encode(&orlav1.Stage{Id: "x", Origin: "other", Name: "set", KeepMs: 60_000})
	if err != nil {
		t.Fatal(err)
	}
	drop, err := encode(&orlav1.Unstage{Id: "x"})
	if err != nil {
		t.Fatal(err)
	}
	p.s.onUnstage(cluster.Message{Data: drop})
	p.s.onStage(t.Context(), cluster.Message{Data: ask})
	if n := len(p.s.stagings.byID); n != 0 {
		t.Errorf("%d questions are worked on, want none", n)
	}
	for i := range 10 * endedKept {
		p.s.unstage(fmt.Sprint(i))
	}
	if n := len(p.s.stagings.ended); n > endedKept {
		t.Errorf("%d ids are remembered, want at most %d", n, endedKept)
	}
}

// One change costs what it changes, however much the register has beside it.
func TestCatalogCostsTheChangeOnly(t *testing.T) {
	allocs := func(others int) float64 {
		c := newCatalog("secret")
		var all []cluster.Entry
		for i := range others {
			head, _ := encode(&orlav1.Head{Name: fmt.Sprint("set", i)})
			token, _ := encode(&orlav1.Token{Id: fmt.Sprint(i), Hash: make([]byte, 32)})
			all = append(all, cluster.Entry{Key: headKey(fmt.Sprint("set", i)), Value: head}, cluster.Entry{Key: tokenKey(fmt.Sprint(i)), Value: token})
		}
		if _, _, err := c.apply(cluster.Update{Full: true, Entries: all}); err != nil {
			t.Fatal(err)
		}
		one := cluster.Update{Entries: all[:1]}
		before := c.callers
		n := testing.AllocsPerRun(100, func() { _, _, _ = c.apply(one) })
		if reflect.ValueOf(before).Pointer() != reflect.ValueOf(c.callers).Pointer() {
			t.Error("tokens are indexed anew though none has changed")
		}
		return n
	}
	if few, many := allocs(10), allocs(10_000); many > few {
		t.Errorf("a change beside 10,000 route sets allocates %v times, beside 10 %v times", many, few)
	}
}
