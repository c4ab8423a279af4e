package dispatch

import (
	"testing"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

func TestFunctions(t *testing.T) {
	d, store := withEngine(t)
	if states := d.Functions("app", 7); states != nil {
		t.Errorf("Functions of what is not live = %v", states)
	}
	m := &orlav1.Manifest{
		Name: "app", Kind: orlav1.Kind_KIND_APP, Hosts: []string{"*"}, Routes: []*orlav1.Route{respondRoute("/", "x")},
		Functions: []*orlav1.Function{front(t, store, "z"), program(t, store, "a")},
	}
	m.Routes[0].Middleware = []string{"z"}
	r, err := d.Build(t.Context(), Spec{Number: 7, Manifest: m})
	if err != nil {
		t.Fatal(err)
	}
	swap(t, d, 1, r)
	if states := d.Functions("app", 6); states != nil {
		t.Errorf("Functions of another release = %v", states)
	}
	states := d.Functions("app", 7)
	if len(states) != 2 || states[0].Name != "z" || states[0].ABI != orlav1.Abi_ABI_HTTP_WASM || states[1].Name != "a" || states[1].ABI != orlav1.Abi_ABI_CGI {
		t.Fatalf("Functions = %+v, want those of release 7 in the manifest's order", states)
	}
	for _, s := range states {
		if s.Circuit.Open || s.Circuit.Failures != 0 || s.Stats.Busy != 0 {
			t.Errorf("%s at rest is %+v", s.Name, s)
		}
	}
	if err := d.Swap(2, nil, []string{"app"}); err != nil {
		t.Fatal(err)
	}
	if states := d.Functions("app", 7); states != nil {
		t.Errorf("Functions of what was removed = %v", states)
	}
}
