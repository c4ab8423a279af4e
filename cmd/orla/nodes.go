package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/proto/orla/v1/orlav1connect"
)

func nodesCommand(c *console) *cobra.Command {
	return withList(&cobra.Command{
		Use:   "nodes",
		Short: "List nodes, or take one out of rotation",
		Long: `List the nodes of the cluster, as the hubs know them: which revision each serves,
when it was last heard of, and what it has refused. A node that is lost goes on
serving what it has.`,
		Example: "  orla nodes\n  orla nodes drain fra1\n  orla nodes resume fra1",
	}, nodesList(c), nodesDrain(c, false), nodesDrain(c, true))
}

// nodeShape is a node as --json prints it.
type nodeShape struct {
	Node     string    `json:"node"`
	Role     string    `json:"role"`
	State    string    `json:"state"`
	Revision uint64    `json:"revision"`
	Version  string    `json:"version"`
	HeardMs  float64   `json:"heardMs"`
	Started  time.Time `json:"started"`
	URLs     []string  `json:"urls,omitempty"`
	Peer     string    `json:"peer,omitempty"`
	Problem  string    `json:"problem,omitempty"`
	Refused  []string  `json:"refused,omitempty"`
}

func nodeOf(n *orlav1.NodeLine) nodeShape {
	s := nodeShape{
		Node: n.GetNode(), Role: n.GetRole(), State: n.GetState(), Revision: n.GetRevision(), Version: n.GetVersion(),
		HeardMs: n.GetHeardMs(), Started: n.GetStarted().AsTime(), URLs: n.GetUrls(), Peer: n.GetPeer(), Problem: n.GetProblem(),
	}
	for _, r := range n.GetRefusals() {
		s.Refused = append(s.Refused, fmt.Sprintf("%s release %d: %s", r.GetName(), r.GetRelease(), r.GetReason()))
	}
	return s
}

func nodesList(c *console) *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List the nodes", Example: "  orla nodes list --json", Args: exact()}
	return ask(c.nodeFlags(cmd), cmd, func(ctx context.Context, api orlav1connect.ControlServiceClient, _ []string) ([]nodeShape, error) {
		res, err := api.ListNodes(ctx, connect.NewRequest(&orlav1.ListNodesRequest{}))
		if err != nil {
			return nil, err
		}
		return shapes(res.Msg.GetNodes(), nodeOf), nil
	}, func(all []nodeShape) error {
		var rows [][]string
		var notes []string
		for _, s := range all {
			heard := time.Duration(s.HeardMs * float64(time.Millisecond)).Round(100 * time.Millisecond)
			rows = append(rows, []string{s.Node, s.Role, s.State, strconv.FormatUint(s.Revision, 10), heard.String(), s.Version, strings.Join(s.URLs, " ")})
			if s.Problem != "" {
				notes = append(notes, s.Node+": "+s.Problem)
			}
			for _, r := range s.Refused {
				notes = append(notes, s.Node+" refuses "+r)
			}
		}
		if err := c.table("no nodes", []string{"NODE", "ROLE", "STATE", "REVISION", "HEARD", "VERSION", "URLS"}, rows); err != nil {
			return err
		}
		for _, note := range notes {
			if err := c.printf("%s\n", plain(note)); err != nil {
				return err
			}
		}
		return nil
	})
}

// drainedShape is what became of a node that was drained or resumed.
type drainedShape struct {
	Node     string `json:"node"`
	Drained  bool   `json:"drained"`
	Revision uint64 `json:"revision"`
}

func nodesDrain(c *console, resume bool) *cobra.Command {
	cmd := &cobra.Command{
		Use: "drain NODE", Short: "Have a node send its clients elsewhere", Args: exact("NODE"),
		Long: `Take a node out of rotation: its /readyz is 503, its answers ask clients to go
elsewhere, and whoever comes all the same is served. It stays so, across restarts,
until: orla nodes resume NODE`,
		Example: "  orla nodes drain fra1",
	}
	if resume {
		cmd.Use, cmd.Short = "resume NODE", "Put a drained node back into rotation"
		cmd.Long, cmd.Example = "Put a node back into rotation that was drained.", "  orla nodes resume fra1"
	}
	return ask(c.nodeFlags(cmd), cmd, func(ctx context.Context, api orlav1connect.ControlServiceClient, args []string) (drainedShape, error) {
		res, err := api.DrainNode(ctx, connect.NewRequest(&orlav1.DrainNodeRequest{Node: args[0], Resume: resume}))
		if err != nil {
			return drainedShape{}, err
		}
		return drainedShape{args[0], !resume, res.Msg.GetRevision()}, nil
	}, func(s drainedShape) error {
		if s.Drained {
			return c.printf("%s is drained, from revision %d on\n", s.Node, s.Revision)
		}
		return c.printf("%s is back in rotation, from revision %d on\n", s.Node, s.Revision)
	})
}
