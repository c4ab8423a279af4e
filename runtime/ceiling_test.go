package runtime_test

import (
	"errors"
	"strings"
	"testing"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/runtime"
)

// TestCeilings: what nobody uses makes room, and what cannot be had is the node's
// fault, not the module's.
func TestCeilings(t *testing.T) {
	info, err := newBench(t, runtime.Config{}).Inspect(t.Context(), cgiGuest(t))
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name    string
		cfg     runtime.Config
		refused string // empty if two functions can take turns
	}{
		{"one instance", runtime.Config{MaxInstances: 1}, ""},
		{"memory for one instance", runtime.Config{MaxMemory: info.Memory * 3 / 2}, ""},
		{"memory for none", runtime.Config{MaxMemory: 64 << 10}, "--function-memory"},
		{"no instance", runtime.Config{MaxInstances: -1}, "--function-instances"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, tt.cfg)
			if tt.refused != "" {
				_, err := b.tryLoad(t, cgiGuest(t), &orlav1.Function{})
				if err == nil || errors.As(err, new(*runtime.FunctionError)) || !strings.Contains(err.Error(), tt.refused) {
					t.Errorf("Load = %v, want the node's fault, with %q", err, tt.refused)
				}
				return
			}
			one, _ := serve(t, b.load(t, cgiGuest(t), &orlav1.Function{}).Handler("/*", ""))
			two, _ := serve(t, b.load(t, cgiGuest(t), &orlav1.Function{}).Handler("/*", ""))
			for _, url := range []string{one, two, one, one, two, two} {
				if got := get(t, url+"/"); got.StatusCode != 200 {
					t.Errorf("GET = %d %q, want 200", got.StatusCode, got.body)
				}
			}
		})
	}
}
