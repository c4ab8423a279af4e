package dev

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/orla-edge/orla/identity"
)

// clusterName is the name of the cluster on this machine.
const clusterName = "dev"

// hubs returns how many of the nodes vote: all of 3 or 5, else three.
func hubs(nodes int) int {
	if nodes == 5 {
		return 5
	}
	return 3
}

// joinUp makes members one cluster: the first ones are its hubs, the others edges that
// dial them.
func joinUp(ctx context.Context, members []member, ports *ports) error {
	// What is left of an earlier cluster would wait for members that have moved.
	home := filepath.Dir(members[0].data)
	if err := os.RemoveAll(home); err != nil {
		return fmt.Errorf("remove the data of an earlier run: %w", err)
	}
	if err := os.MkdirAll(home, 0o700); err != nil {
		return fmt.Errorf("create a folder for the nodes' data: %w", err)
	}
	secret := identity.New()
	listen := make([]string, hubs(len(members)))
	for i := range listen {
		p, err := ports.take(ctx, 0, 2) // edges connect to the one after it
		if err != nil {
			return err
		}
		listen[i] = local(p)
	}
	for i := range members {
		m := &members[i]
		p, err := ports.take(ctx, 0, 1)
		if err != nil {
			return err
		}
		m.args = append(m.args, "--cluster", clusterName, "--join", strings.Join(listen, ","), "--peer", local(p))
		theirs := secret.Edge()
		if i < len(listen) {
			m.args = append(m.args, "--cluster-listen", listen[i])
			theirs = secret
		}
		file := filepath.Join(home, m.name+".secret")
		if err := os.WriteFile(file, []byte(theirs.Reveal()+"\n"), 0o600); err != nil {
			return fmt.Errorf("write the cluster's secret: %w", err)
		}
		m.args = append(m.args, "--cluster-secret-file", file)
	}
	return nil
}
