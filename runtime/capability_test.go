package runtime

import (
	"context"
	"strings"
	"testing"
)

// TestCapabilities: everything that is offered is told, and nothing else.
func TestCapabilities(t *testing.T) {
	e, err := New(t.Context(), Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close(context.WithoutCancel(t.Context()))
	for module, functions := range e.offered {
		for name := range functions {
			if Capability(module, name) == "" {
				t.Errorf("Capability(%q, %q) is empty", module, name)
			}
		}
	}
	seen := make(map[string]bool)
	for _, c := range capabilities {
		for f := range strings.FieldsSeq(c.functions) {
			if e.offered[c.module][f] == nil {
				t.Errorf("%s.%s is in the table and not offered", c.module, f)
			}
			if seen[c.module+f] {
				t.Errorf("%s.%s is in the table twice", c.module, f)
			}
			seen[c.module+f] = true
		}
	}
	if got := Capability("env", "path_open"); got != "" {
		t.Errorf("Capability of another module's function = %q, want none", got)
	}
}
