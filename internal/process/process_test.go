//go:build linux

package process

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestProcess: what a program prints is kept, and how it ended. Its clock is tested with
// a lab's nodes.
func TestProcess(t *testing.T) {
	p, err := Start(exec.CommandContext(t.Context(), "sh", "-c", "echo out; echo err >&2; exit 3"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	<-p.Exited()
	if log := p.Log(); !strings.Contains(log, "out") || !strings.Contains(log, "err") {
		t.Errorf("the log is %q, want both of what was printed", log)
	}
	if err := p.Err(); err == nil || err.Error() != "exit status 3" {
		t.Errorf("it ended with %v, want exit status 3", err)
	}
	if err := p.Signal(os.Interrupt); err == nil {
		t.Error("a process that is gone took a signal")
	}
	p.Kill() // does no harm
}

func TestKill(t *testing.T) {
	p, err := Start(exec.CommandContext(t.Context(), "sleep", "600"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	p.Kill()
	if err := p.Err(); err == nil || err.Error() != "signal: killed" {
		t.Errorf("it ended with %v, want the signal", err)
	}
}

func TestNoProgram(t *testing.T) {
	if p, err := Start(exec.CommandContext(t.Context(), "/nonexistent/program"), Options{}); err == nil {
		t.Errorf("Start = process %d, want an error", p.PID())
	}
}
