package cluster

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

const childEnv = "ORLA_TEST_CLUSTER_CHILD"

// commitForever runs a node in dir and commits until it is killed: single keys and
// batches in turn. It tells of each commit once it is acknowledged.
func commitForever(dir string) error {
	c, err := New(Config{Dir: dir})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	first := make(chan struct{}, 1)
	go c.Run(ctx, func(context.Context, Update) error {
		select {
		case first <- struct{}{}:
		default:
		}
		return nil
	})
	<-first
	for c.Ready() != nil {
		<-time.After(time.Millisecond)
	}
	for i := 0; ; i++ {
		name := fmt.Sprintf("p%d.%d", os.Getpid(), i)
		changes := []Change{{Key: name + ".0", Value: []byte(name)}}
		if i%2 == 1 {
			for part := 1; part < 20; part++ {
				changes = append(changes, Change{Key: fmt.Sprintf("%s.%d", name, part), Value: []byte(name)})
			}
		}
		rev, err := c.Commit(ctx, changes...)
		if err != nil {
			return err
		}
		fmt.Println(name, len(changes), rev)
	}
}

type acked struct {
	name  string
	parts int
	rev   uint64
}

// killCommitting runs a child on dir and kills it after n acknowledged commits.
func killCommitting(t *testing.T, dir string, n int) []acked {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var told []acked
	lines := bufio.NewScanner(out)
	for len(told) < n && lines.Scan() {
		told = append(told, parseAcked(t, lines.Text()))
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() { // told between the last line read and the kill
		if strings.Count(lines.Text(), " ") == 2 {
			told = append(told, parseAcked(t, lines.Text()))
		}
	}
	cmd.Wait() // it was killed
	if len(told) < n {
		t.Fatalf("the child committed %d times, want %d", len(told), n)
	}
	return told
}

func parseAcked(t *testing.T, line string) acked {
	t.Helper()
	var a acked
	if _, err := fmt.Sscan(line, &a.name, &a.parts, &a.rev); err != nil {
		t.Fatalf("read %q: %v", line, err)
	}
	return a
}

func TestKilledNodeKeepsWhatItAcknowledged(t *testing.T) {
	dir := t.TempDir()
	var told []acked
	for i := range 10 {
		told = append(told, killCommitting(t, dir, 2+i)...)
	}
	n := start(t, dir)
	got, err := n.List(t.Context(), "p")
	if err != nil {
		t.Fatal(err)
	}
	parts := map[string]int{}
	revs := map[string]uint64{}
	for _, e := range got {
		i := strings.LastIndex(e.Key, ".")
		if string(e.Value) != e.Key[:i] {
			t.Errorf("%s = %q", e.Key, e.Value)
		}
		parts[e.Key[:i]]++
		revs[e.Key[:i]] = max(revs[e.Key[:i]], e.Revision)
	}
	for _, a := range told {
		if parts[a.name] != a.parts || revs[a.name] != a.rev {
			t.Errorf("%s: %d of %d parts at revision %d, acknowledged at %d", a.name, parts[a.name], a.parts, revs[a.name], a.rev)
		}
	}
	for name, n := range parts { // also what was not acknowledged is whole or absent
		_, number, _ := strings.Cut(name, ".")
		i, err := strconv.Atoi(number)
		if want := 1 + 19*(i%2); err != nil || n != want {
			t.Errorf("%s has %d parts, want %d", name, n, want)
		}
	}
	n.wait(told[len(told)-1].rev)
	if len(n.values()) != len(got) {
		t.Errorf("applied %d entries of %d", len(n.values()), len(got))
	}
}
