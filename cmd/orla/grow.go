package main

import (
	"cmp"
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/orla-edge/orla/client"
	"github.com/orla-edge/orla/cluster"
	"github.com/orla-edge/orla/node"
)

// grownShape is what became of a data directory that was prepared, or put back.
type grownShape struct {
	Data     string `json:"data"`
	Undone   bool   `json:"undone"`
	Revision uint64 `json:"revision,omitempty"`
	Aside    string `json:"aside,omitempty"` // where the old store is
}

func clusterGrowCommand(c *console) *cobra.Command {
	var data string
	var undo, asJSON bool
	cmd := &cobra.Command{
		Use:   "grow",
		Short: "Prepare a node that was alone to be one of several hubs",
		Long: `Prepare the data directory of a node that has kept the register alone, and is
stopped now, so that it takes everything along into a cluster of three or five
hubs: every key with its revision, and the values of functions. Then start it
with --cluster, --cluster-listen and --join, and the other hubs with data
directories that are empty, in any order. What it served, it serves meanwhile.

It may be interrupted at any point, and run again. --undo takes it back, as long as
the node has not been started as one of several hubs. The old store is kept beside
the new one, and may be removed when the cluster is up.`,
		Example: `  orla cluster grow --data /var/lib/orla
  orla cluster grow --data /var/lib/orla --undo`,
		Args: exact(),
	}
	cmd.Flags().StringVar(&data, "data", "", "data `directory` of the node (default: as orla serve)")
	cmd.Flags().BoolVar(&undo, "undo", false, "take it back")
	jsonFlag(cmd, &asJSON)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		out := grownShape{Data: cmp.Or(data, c.getenv("ORLA_DATA"), client.DefaultDataDir(c.getenv)), Undone: undo}
		if undo {
			if err := cluster.Ungrow(out.Data); err != nil {
				return person{err}
			}
			now := time.Now()
			if err := node.NoteOffline(out.Data, fmt.Sprintf("ungrow-%d", now.UnixNano()), "cluster grow", "taken back", now); err != nil {
				return person{err}
			}
		} else {
			log := slog.New(slog.NewTextHandler(c.err, &slog.HandlerOptions{Level: slog.LevelWarn}))
			grown, err := cluster.Grow(cmd.Context(), out.Data, log)
			if err != nil {
				return person{err}
			}
			out.Revision, out.Aside = grown.Revision, grown.Aside
			detail := fmt.Sprintf("to be one of several hubs, up to revision %d", grown.Revision)
			if err := node.NoteOffline(out.Data, fmt.Sprintf("grow-%d", grown.Made.UnixNano()), "cluster grow", detail, grown.Made); err != nil {
				return person{err}
			}
		}
		return c.tellGrown(out, asJSON)
	}
	return cmd
}

func (c *console) tellGrown(out grownShape, asJSON bool) error {
	switch {
	case asJSON:
		return c.json(out)
	case out.Undone:
		return c.printf("%s is as it was: start the node without --join\n", out.Data)
	}
	return c.printf("%s is prepared, up to revision %d; the old store is in %s\n"+
		"start it with --cluster, --cluster-listen and --join, and the other hubs with empty data directories\n", out.Data, out.Revision, out.Aside)
}
