package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

// rolloutFlags says what has to be proven before a change is done.
type rolloutFlags struct {
	noWait  bool
	timeout time.Duration
	quorum  uint32
	canary  time.Duration
}

func addRollout(cmd *cobra.Command) *rolloutFlags {
	f := addWaiting(cmd)
	cmd.Flags().DurationVar(&f.canary, "canary", 0, "serve it on one node alone for this `time` first, and take it back if more of its requests fail")
	return f
}

// addWaiting adds the flags without those of a trial.
func addWaiting(cmd *cobra.Command) *rolloutFlags {
	f := &rolloutFlags{}
	cmd.Flags().BoolVar(&f.noWait, "no-wait", false, "be done when one node, and one more hub, have accepted it")
	cmd.Flags().DurationVar(&f.timeout, "timeout", 5*time.Minute, "longest `time` to wait for the nodes")
	cmd.Flags().Uint32Var(&f.quorum, "quorum", 0, "`number` of nodes that have to take it (default: all that are there)")
	cmd.MarkFlagsMutuallyExclusive("no-wait", "quorum")
	return f
}

func (f *rolloutFlags) message() *orlav1.Rollout {
	r := &orlav1.Rollout{NoWait: f.noWait, Timeout: durationpb.New(f.timeout), Quorum: f.quorum}
	if f.canary > 0 {
		r.Canary = durationpb.New(f.canary)
	}
	return r
}

// node shows how far a node is, a line for each step.
func (p *progress) node(n *orlav1.NodeResult) {
	if p.silent {
		return
	}
	p.end()
	if text := nodeText(n); text != "" {
		p.line("  " + text)
	}
}

func nodeText(n *orlav1.NodeResult) string {
	name := fmt.Sprintf("%-14s", plain(n.GetNode()))
	switch n.GetState() {
	case orlav1.NodeState_NODE_STATE_WORKING:
		if n.GetStep() == "" {
			return ""
		}
		if n.GetStep() == "fetch" && n.GetTotal() > 0 {
			return fmt.Sprintf("%s fetch %s of %s", name, humanize.IBytes(n.GetDone()), humanize.IBytes(n.GetTotal()))
		}
		return name + " " + plain(n.GetStep())
	case orlav1.NodeState_NODE_STATE_READY:
		return fmt.Sprintf("%s ready    %8.1f ms", name, n.GetMs())
	case orlav1.NodeState_NODE_STATE_TRIAL:
		return name + " serves it for a trial"
	case orlav1.NodeState_NODE_STATE_LIVE:
		return fmt.Sprintf("%s live     %8.1f ms  revision %d", name, n.GetMs(), n.GetRevision())
	case orlav1.NodeState_NODE_STATE_REFUSED:
		return fmt.Sprintf("%s refused  %s", name, plain(n.GetReason()))
	case orlav1.NodeState_NODE_STATE_LOST:
		return fmt.Sprintf("%s lost     %s", name, plain(n.GetReason()))
	case orlav1.NodeState_NODE_STATE_UNSPECIFIED:
	}
	return ""
}

// spread sums up how long the nodes took; empty for a node that is alone.
func spread(nodes []*orlav1.NodeResult) string {
	if len(nodes) < 2 {
		return ""
	}
	var took []float64
	for _, n := range nodes {
		if n.GetState() == orlav1.NodeState_NODE_STATE_LIVE {
			took = append(took, n.GetMs())
		}
	}
	text := fmt.Sprintf("live on %d of %d nodes", len(took), len(nodes))
	if len(took) > 0 {
		slices.Sort(took)
		p50 := took[int(math.Ceil(float64(len(took))/2))-1]
		text += fmt.Sprintf(": p50 %.1f ms, max %.1f ms", p50, took[len(took)-1])
	}
	return text
}

// proven prints what the nodes have made of a change; its error names those that have
// not taken it.
func (c *console) proven(l *orlav1.Live, asJSON bool) error {
	if text := spread(l.GetNodes()); text != "" && !asJSON {
		if err := c.printf("  %s\n", text); err != nil {
			return err
		}
	}
	if l.GetUnproven() == "" {
		return nil
	}
	return fmt.Errorf("release %d of %s is live, but not on every node:\n%s", l.GetRelease(), l.GetName(), strings.TrimSpace(l.GetUnproven()))
}

// nodeResultShape is a node's part of a change, as --json prints it.
type nodeResultShape struct {
	Node     string  `json:"node"`
	State    string  `json:"state"`
	Revision uint64  `json:"revision,omitempty"`
	Ms       float64 `json:"ms"`
	Reason   string  `json:"reason,omitempty"`
}

func nodeResultOf(n *orlav1.NodeResult) nodeResultShape {
	state := strings.ToLower(strings.TrimPrefix(n.GetState().String(), "NODE_STATE_"))
	return nodeResultShape{Node: n.GetNode(), State: state, Revision: n.GetRevision(), Ms: n.GetMs(), Reason: n.GetReason()}
}
