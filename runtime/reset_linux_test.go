package runtime_test

import (
	"testing"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/runtime"
)

// TestGrownInstanceIsKept: the engine's view of a memory can be cut, which needs a field
// that wazero does not promise. If this fails after an upgrade, look at shrink.
func TestGrownInstanceIsKept(t *testing.T) {
	b := newBench(t, runtime.Config{Memory: 32 << 20})
	p := b.load(t, cgiGuest(t), &orlav1.Function{})
	url, last := serve(t, p.Handler("/*", ""))
	begins := int64(0)
	for _, tt := range []struct{ path, body string }{
		{"/count", "1\n"},
		{"/grow?1", "1\n"},
		{"/count", "1\n"},
		{"/grow?20", "20\n"}, // more than is copied back
		{"/grow?20", "20\n"},
	} {
		if got := get(t, url+tt.path); got.body != tt.body {
			t.Errorf("%s = %d %q, want %q", tt.path, got.StatusCode, got.body, tt.body)
		}
		last()
		s := p.Stats()
		if begins == 0 {
			begins = s.Memory
		}
		if s.Idle != 1 || s.Memory != begins {
			t.Errorf("after %s there are %d idle instances of %d bytes, want 1 of %d", tt.path, s.Idle, s.Memory, begins)
		}
	}
}
