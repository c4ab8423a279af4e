package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/orla-edge/orla/dev"
	"github.com/orla-edge/orla/runtime/compile"
)

func devCommand(c *console) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dev [DIR]",
		Short: "Run an app on this machine, and build and deploy it again when a file changes",
		Long: `Run the app in DIR (default: here) on nodes of its own until Ctrl-C. A change of a
file in DIR builds and deploys it again; a change that is not good is told with
file and line, and what is live stays. The nodes keep their data in DIR/.orla.

With --nodes 3 or more, the nodes are processes that form a real cluster: the
first three (of five, all) are its hubs, the others edges. They listen on
the ports after the first one's.`,
		Example: `  orla dev
  orla dev shop --port 4000
  orla dev shop --nodes 3`,
		Args: between(0, "DIR"),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveFilterDirs
		},
	}
	nodes := cmd.Flags().Int("nodes", 1, "`number` of nodes: 1, or 3 to 32")
	port := cmd.Flags().Uint16("port", dev.DefaultPort, "`port` of the first node on localhost; 0 is any that is free")
	verbose := cmd.Flags().BoolP("verbose", "v", false, "show all that the nodes log")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *nodes < 1 {
			return usagef("--nodes %d: want 1, or 3 and more", *nodes)
		}
		self, err := compile.Self()
		if err != nil {
			return err
		}
		err = dev.Run(cmd.Context(), dev.Config{
			Dir: argument(args, "."), Nodes: *nodes, Port: int(*port), Command: []string{self},
			Out: c.out, Colour: c.colour(c.out), Verbose: *verbose,
		})
		switch {
		case errors.Is(err, dev.ErrNodes):
			return usageError{person{err}}
		case err != nil:
			return person{err}
		}
		return nil
	}
	return cmd
}
