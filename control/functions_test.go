package control

import (
	"errors"
	"strings"
	"testing"

	"connectrpc.com/connect"

	"github.com/orla-edge/orla/dispatch"
	"github.com/orla-edge/orla/internal/guests"
	"github.com/orla-edge/orla/modules"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/runtime"
)

// function stores a C program as a module.
func (p *plane) function(name, source string, flags ...string) *orlav1.Function {
	p.t.Helper()
	b := guests.C(p.t, "internal/guests/c/"+source, flags...)
	if _, err := p.blobs.Put(b); err != nil {
		p.t.Fatal(err)
	}
	return &orlav1.Function{Name: name, Module: modules.Sum(b).String(), ModuleSize: int64(len(b))}
}

func (p *plane) functionsOf(name string, release uint64) []*orlav1.FunctionState {
	p.t.Helper()
	res, err := p.admin().GetApp(p.t.Context(), connect.NewRequest(&orlav1.GetAppRequest{Name: name, Release: release}))
	if err != nil {
		p.t.Fatal(err)
	}
	if res.Msg.GetNode() != "n1" {
		p.t.Errorf("GetApp is answered by %q, want n1", res.Msg.GetNode())
	}
	return res.Msg.GetFunctions()
}

func TestGetAppTellsHowFunctionsAre(t *testing.T) {
	p := newPlane(t)
	m := &orlav1.Manifest{
		Name: "shop", Kind: orlav1.Kind_KIND_APP, Hosts: []string{"shop.test"},
		Functions: []*orlav1.Function{p.function("api", "handler.c", "-mexec-model=reactor"), p.function("greet", "cgi.c")},
		Routes: []*orlav1.Route{
			{Match: &orlav1.Match{Path: "/*"}, Target: &orlav1.Route_Function{Function: "api"}},
			{Match: &orlav1.Match{Path: "/greet"}, Target: &orlav1.Route_Function{Function: "greet"}},
		},
	}
	if _, err := runDeploy(t, p.admin(), &orlav1.DeployRequest{Manifest: m}); err != nil {
		t.Fatal(err)
	}
	states := p.functionsOf("shop", 0)
	if len(states) != 2 || states[0].GetFunction() != "api" || states[0].GetAbi() != orlav1.Abi_ABI_HTTP_WASM ||
		states[1].GetFunction() != "greet" || states[1].GetAbi() != orlav1.Abi_ABI_CGI || states[0].GetCircuit().GetOpen() {
		t.Fatalf("functions after the deploy = %v", states)
	}
	if got := p.get("http://shop.test/hello"); got != "hello" {
		t.Fatalf("api answers %q, want hello", got)
	}
	const tries = 1000 // more than any circuit suffers
	var c *orlav1.Circuit
	for range tries {
		p.get("http://shop.test/fault/unreachable")
		if c = p.functionsOf("shop", 0)[0].GetCircuit(); c.GetOpen() {
			break
		}
	}
	if !c.GetOpen() || c.GetFailures() == 0 || c.GetOpens() != 1 || c.GetRetry() == nil || !strings.Contains(c.GetLastError(), "unreachable") {
		t.Errorf("circuit of a function that keeps failing = %v", c)
	}
	if c := p.functionsOf("shop", 0)[1].GetCircuit(); c.GetOpen() || c.GetFailures() != 0 {
		t.Errorf("circuit of its neighbour = %v, want it closed", c)
	}
	// A release that is not live has no state.
	m.Functions[0].Env = map[string]string{"A": "1"}
	if _, err := runDeploy(t, p.admin(), &orlav1.DeployRequest{Manifest: m}); err != nil {
		t.Fatal(err)
	}
	if states := p.functionsOf("shop", 1); len(states) != 0 {
		t.Errorf("functions of a release that is not live = %v, want none", states)
	}
	if states := p.functionsOf("shop", 2); len(states) != 2 || states[0].GetCircuit().GetOpen() {
		t.Errorf("functions of the new release = %v, want both, closed", states)
	}
}

func TestFunctionStateIsFitToSend(t *testing.T) {
	s := functionState(dispatch.FunctionState{
		Name:    "api",
		Circuit: runtime.Circuit{Failures: 3, LastError: "\xff" + strings.Repeat("é", maxErrorBytes)},
		Stats:   runtime.Stats{Idle: 2, Busy: 1, Memory: 1 << 40, Mode: "scan", Loaded: true},
	})
	if e := s.GetCircuit().GetLastError(); !strings.HasPrefix(e, "\uFFFDé") || len(e) > maxErrorBytes+10 {
		t.Errorf("the last error is %d bytes: %.20q", len(e), e)
	}
	if b, err := encode(s); err != nil {
		t.Error(err)
	} else if back, err := decode[orlav1.FunctionState](b); err != nil || back.GetMemoryBytes() != 1<<40 || back.GetIdle() != 2 || back.GetCircuit().GetRetry() != nil {
		t.Errorf("sent and received it is %v, %v", back, err)
	}
}

func TestDeployRefusesProgramsAsMiddleware(t *testing.T) {
	p := newPlane(t)
	m := &orlav1.Manifest{
		Name: "shop", Kind: orlav1.Kind_KIND_APP, Hosts: []string{"shop.test"}, Functions: []*orlav1.Function{p.function("greet", "cgi.c")},
		Routes: []*orlav1.Route{{Target: &orlav1.Route_Respond{Respond: &orlav1.Respond{Status: 200}}, Middleware: []string{"greet"}}},
	}
	for _, dryRun := range []bool{true, false} {
		_, err := runDeploy(t, p.admin(), &orlav1.DeployRequest{Manifest: m, DryRun: dryRun})
		refused(t, "deploy", err, connect.CodeInvalidArgument, "CGI program")
		var ce *connect.Error
		if !errors.As(err, &ce) || len(ce.Details()) != 1 {
			t.Fatalf("deploy = %v, want one detail", err)
		}
		detail, err := ce.Details()[0].Value()
		ps, _ := detail.(*orlav1.Problems)
		if err != nil || len(ps.GetProblems()) != 1 || ps.GetProblems()[0].GetField() != "routes[0].middleware[0]" {
			t.Errorf("deploy reports %v, %v, want routes[0].middleware[0]", detail, err)
		}
	}
}
