package dev

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/orla-edge/orla/identity"
)

func flag(m member, name string) string {
	if i := slices.Index(m.args, name); i >= 0 {
		return m.args[i+1]
	}
	return ""
}

// TestPlan: how many are hubs, and that no two share a port or a directory.
func TestPlan(t *testing.T) {
	for nodes, hubs := range map[int]int{1: 0, 3: 3, 4: 3, 5: 5, 6: 3, 9: 3} {
		members, err := newPlan(t.Context(), Config{Nodes: nodes}, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		seen := make(map[string]bool)
		var listen []string
		for _, m := range members {
			for _, unique := range []string{m.name, m.data, m.url, flag(m, "--http"), flag(m, "--cluster-listen"), flag(m, "--peer")} {
				if unique != "" && seen[unique] {
					t.Errorf("%d nodes: %s is there twice", nodes, unique)
				}
				seen[unique] = true
			}
			if l := flag(m, "--cluster-listen"); l != "" {
				listen = append(listen, l)
			}
			if nodes == 1 && slices.Contains(m.args, "--cluster") {
				t.Errorf("one node is started as a cluster: %q", m.args)
			}
		}
		if len(members) != nodes || len(listen) != hubs {
			t.Errorf("%d nodes: %d are started, %d as hubs, want %d", nodes, len(members), len(listen), hubs)
		}
		for _, m := range members {
			if nodes == 1 {
				continue
			}
			if flag(m, "--join") != strings.Join(listen, ",") || flag(m, "--peer") == "" {
				t.Errorf("%d nodes: %s cannot join: %q", nodes, m.name, m.args)
			}
			role := identity.Edge
			if flag(m, "--cluster-listen") != "" {
				role = identity.Hub
			}
			if secret, err := identity.ReadFile(flag(m, "--cluster-secret-file")); err != nil || secret.Role() != role {
				t.Errorf("%d nodes: %s has the secret of role %s (%v), want %s", nodes, m.name, secret.Role(), err, role)
			}
		}
	}
}

// TestPortsInARow: those asked for together follow each other, and none is given twice.
func TestPortsInARow(t *testing.T) {
	p := &ports{taken: make(map[int]bool)}
	for range 20 {
		before := maps.Clone(p.taken)
		first, err := p.take(t.Context(), 0, 2)
		if err != nil {
			t.Fatal(err)
		}
		if before[first] || before[first+1] || !p.taken[first] || !p.taken[first+1] {
			t.Errorf("take gives %d and the next, of %v", first, before)
		}
		if _, err := p.take(t.Context(), first, 1); err == nil || !strings.Contains(err.Error(), "in use") {
			t.Errorf("port %d is given twice: %v", first, err)
		}
	}
}

// TestClusterBeginsAnew: what an earlier cluster has left is gone, and the secret is a
// new one.
func TestClusterBeginsAnew(t *testing.T) {
	home := t.TempDir()
	put(t, home, "nodes-3/n1/old", "x")
	put(t, home, "nodes-1/n1/kept", "x")
	var secrets []string
	for range 2 {
		members, err := newPlan(t.Context(), Config{Nodes: 3}, home)
		if err != nil {
			t.Fatal(err)
		}
		name := flag(members[0], "--cluster-secret-file")
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		secrets = append(secrets, string(b))
	}
	if secrets[0] == secrets[1] {
		t.Errorf("the secrets are %q", secrets)
	}
	if _, err := os.Stat(filepath.Join(home, "nodes-3", "n1")); err == nil {
		t.Error("an earlier cluster's data is still there")
	}
	if _, err := os.Stat(filepath.Join(home, "nodes-1", "n1", "kept")); err != nil {
		t.Errorf("a single node's data is gone: %v", err)
	}
}
