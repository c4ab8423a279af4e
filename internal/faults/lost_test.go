//go:build linux

package faults

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/orla-edge/orla/internal/lab"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

// TestLostRegister: the register's stores are gone at all hubs at once. Every node serves
// what it served, and nobody makes a new register, until an export is imported: that is
// what all serve then, at revisions above all before, and changes go on.
func TestLostRegister(t *testing.T) {
	t.Parallel()
	l := lab.New(t, lab.Options{Hubs: 3, Edges: 1})
	release := func(body string) {
		t.Helper()
		if err := l.Deploy(t.Context(), map[string]string{"orla.toml": "name = \"lost\"\n[site]\n", "public/index.html": body}); err != nil {
			t.Fatal(err)
		}
		l.Await("/", l.Nodes, serves(body))
	}
	saved := filepath.Join(t.TempDir(), "register.tar")
	release("one")
	if out, err := l.Nodes[1].Orla("cluster", "export", saved); err != nil {
		t.Fatalf("export: %v\n%s", err, out)
	}
	release("two")
	edge := l.Nodes[3]
	before := appliedRevision(t, edge)
	for _, n := range l.Nodes[:3] {
		n.Kill()
	}
	for _, n := range l.Nodes[:3] {
		if err := os.RemoveAll(filepath.Join(n.Data, "nats")); err != nil {
			t.Fatal(err)
		}
	}
	l.StartAll(l.Nodes[:3]...)
	l.Await("/", l.Nodes, serves("two"))
	asked := l.Nodes[2]
	awaitOutput(t, asked, "the register was lost", "cluster", "import", "--dry-run", saved)
	l.Await("/", l.Nodes, serves("two"))
	out, err := asked.Orla("cluster", "import", saved)
	if err != nil || !strings.Contains(out, "made anew") {
		t.Fatalf("import: %v\n%s", err, out)
	}
	l.Await("/", l.Nodes, serves("one"))
	for _, n := range l.Nodes {
		if now := appliedRevision(t, n); now <= before {
			t.Errorf("%s is at revision %d, and was at %d", n.Name, now, before)
		}
	}
	l.AwaitMembers(l.Nodes...)
	release("three")
}

// serves wants a page with that text.
func serves(body string) func(int, string) error {
	return func(status int, got string) error {
		if status != http.StatusOK || got != body {
			return fmt.Errorf("the answer is %d %q, want %q", status, got, body)
		}
		return nil
	}
}

// awaitOutput runs a command of orla until it prints that.
func awaitOutput(t *testing.T, n *lab.Node, want string, args ...string) {
	t.Helper()
	limit := time.Now().Add(lab.Patience)
	for {
		out, err := n.Orla(args...)
		if err == nil && strings.Contains(out, want) {
			return
		}
		if time.Now().After(limit) {
			t.Fatalf("orla %s never prints %q: %v\n%s\n%s", strings.Join(args, " "), want, err, out, n.Log())
		}
		elapse(t, 200*time.Millisecond)
	}
}

// appliedRevision is the revision that a node serves.
func appliedRevision(t *testing.T, n *lab.Node) uint64 {
	t.Helper()
	c := n.Client()
	defer c.Close()
	res, err := c.Control().GetNode(t.Context(), connect.NewRequest(&orlav1.GetNodeRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	return res.Msg.GetRevision()
}
