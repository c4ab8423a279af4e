package runtime

import (
	"net/http/httptest"
	"testing"

	"github.com/orla-edge/orla/internal/guests/hostile"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

// TestDeepCallsEndAndLeaveNothing: endless recursion is stopped by the stack's limit,
// not by the clock, and its native stack is not kept. It would not notice an engine that
// hides its stack, were it not for the first check.
func TestDeepCallsEndAndLeaveNothing(t *testing.T) {
	for _, m := range hostile.Modules() {
		if m.Name == "infinite recursion" {
			recurse(t, loadForTest(t, m.Wasm, &orlav1.Function{}))
			return
		}
	}
	t.Error("there is no such module")
}

func recurse(t *testing.T, p *Program) {
	w := httptest.NewRecorder()
	p.Handler("/*", "").ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	if c := p.Circuit(); w.Code != 502 || c.LastError == "" || c.Failures != 1 {
		t.Errorf("answer %d, circuit %+v, want 502 and a failure", w.Code, c)
	}
	l, err := p.hold(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	i := l.take()
	if i == nil {
		t.Fatal("the instance is not kept")
	}
	if n := stackOf(i.request); n == 0 || n > maxStack {
		t.Errorf("the function kept has a native stack of %d bytes, want some, and at most %d", n, maxStack)
	}
	l.keep(i)
	if err := l.drop(t.Context()); err != nil {
		t.Error(err)
	}
}
