package compile_test

import (
	"bufio"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/orla-edge/orla/runtime/compile"
)

func TestNodeDies(t *testing.T) {
	path := fifo(t)
	cmd := command(t, child(t, "node", t.TempDir(), path))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	pipe := bufio.NewReader(f)
	if _, err := pipe.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("the node was not killed")
	}
	gone(t, pipe)
}

// The child limits itself before it reads the first byte.
func TestConfined(t *testing.T) {
	t.Setenv("ORLA_SECRET", "secret")
	l := newLab(t, compile.Config{Dir: t.TempDir(), Command: child(t, "confess")})
	err := l.Compile(t.Context(), "tenant", answer(1))
	if err == nil {
		t.Fatal("a child that could not read its input succeeded")
	}
	said := err.Error()
	for _, want := range []string{
		`Max cpu time +60 +62 `,
		`Max core file size +0 +0 `,
		`Max file size +1073741824 +1073741824 `,
		`Max open files +64 +64 `,
		`Max address space +[0-9]+ +[0-9]+ `,
		`oom_score_adj 1000\n`,
		`env \["GOMAXPROCS=2" "GOTRACEBACK=none"\]`,
	} {
		if !regexp.MustCompile(want).MatchString(said) {
			t.Errorf("the child does not have %s", want)
		}
	}
	// Threads have priorities of their own; in their place 18 and 19.
	threads := regexp.MustCompile(`(?m)^thread [0-9]+ \(.*\) [A-Z]( [-0-9]+){14}( [-0-9]+ [-0-9]+) `).FindAllStringSubmatch(said, -1)
	for _, thread := range threads {
		if thread[2] != " 30 10" {
			t.Errorf("a thread has priority and niceness%s", thread[2])
		}
	}
	if len(threads) < 2 {
		t.Errorf("the child has %d threads; what does the test test?", len(threads))
	}
	if strings.Contains(said, "secret") {
		t.Error("the child knows the node's environment")
	}
	if t.Failed() {
		t.Log(said)
	}
}
