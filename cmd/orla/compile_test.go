package main

import (
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/orla-edge/orla/runtime/compile"
)

// TestCompileChild has a compiler start this program, by the name under which the
// test's binary is main.
func TestCompileChild(t *testing.T) {
	orla, err := exec.LookPath("orla")
	if err != nil {
		t.Fatal(err)
	}
	c, err := compile.New(compile.Config{Dir: t.TempDir(), Command: []string{orla, compilerName}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Cache().Close(t.Context())
	if err := c.Compile(t.Context(), "tenant", []byte("\x00asm\x01\x00\x00\x00")); err != nil {
		t.Errorf("Compile in the child: %v", err)
	}
	err = c.Compile(t.Context(), "tenant", []byte("nonsense"))
	if err == nil || !strings.Contains(err.Error(), "invalid magic number") {
		t.Errorf("Compile of nonsense = %v", err)
	}
}

func TestCompileByHand(t *testing.T) {
	for _, args := range [][]string{{}, {"--help"}, {"file.wasm"}, {"--stage", filepath.Join(t.TempDir(), "x")}} {
		var told strings.Builder
		c := &console{in: strings.NewReader(""), out: io.Discard, err: &told, env: func(string) (string, bool) { return "", false }}
		if code := run(c, append([]string{compilerName}, args...)); code != exitFailed || told.Len() == 0 {
			t.Errorf("orla compile %q ends with %d and says %q, want a reason", args, code, &told)
		}
	}
}
