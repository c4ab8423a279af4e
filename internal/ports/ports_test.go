package ports

import (
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

const childEnv = "ORLA_TEST_PORTS_CHILD"

// Processes that take addresses side by side never have one in common, and can listen
// on all of their ports.
func TestNobodyHasTheSame(t *testing.T) {
	const each = 200
	mine := map[string]bool{}
	for range each {
		addr := Address(t)
		if mine[addr] {
			t.Fatalf("%s twice", addr)
		}
		mine[addr] = true
		_, port, _ := net.SplitHostPort(addr)
		n, err := strconv.Atoi(port)
		for i := range Run {
			l, lerr := net.Listen("tcp", at(n+i))
			if err != nil || lerr != nil {
				t.Fatal(err, lerr)
			}
			defer l.Close()
		}
	}
	if os.Getenv(childEnv) != "" {
		for addr := range mine {
			os.Stdout.WriteString("got " + addr + "\n")
		}
		return
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestNobodyHasTheSame$", "-test.v")
	cmd.Env = append(os.Environ(), childEnv+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	theirs := 0
	for line := range strings.Lines(string(out)) {
		addr, ok := strings.CutPrefix(strings.TrimSpace(line), "got ")
		if !ok {
			continue
		}
		if theirs++; mine[addr] {
			t.Errorf("%s is another process's too", addr)
		}
	}
	if theirs != each {
		t.Errorf("the other process got %d addresses, want %d", theirs, each)
	}
}

// A slot of which any port is taken is nobody's; it is free again when the test ends.
func TestWhatIsTakenIsLeft(t *testing.T) {
	addr := ""
	t.Run("a test", func(t *testing.T) { addr = Address(t) })
	_, port, _ := net.SplitHostPort(addr)
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	for i := range slotSize {
		l, err := net.Listen("tcp", at(n+i))
		if err != nil {
			t.Fatal(err)
		}
		if take(t, n) {
			t.Errorf("taken, though somebody listens on port %d of it", i)
		}
		l.Close()
	}
	if !take(t, n) {
		t.Error("not free again")
	}
}
