package main

import (
	"github.com/spf13/cobra"

	"github.com/orla-edge/orla/identity"
)

func clusterCommand(c *console) *cobra.Command {
	return group(&cobra.Command{
		Use:   "cluster",
		Short: "Make a cluster's secret; grow, save and rescue a cluster",
		Long: `A cluster is one, three or five hubs, which keep the register together, and any
number of edges, which dial out to them. All of them are orla serve.`,
		Example: "  (umask 077; orla cluster secret > cluster.secret)",
	}, clusterSecretCommand(c), clusterGrowCommand(c),
		clusterExportCommand(c), clusterImportCommand(c), clusterRescueCommand(c))
}

func clusterSecretCommand(c *console) *cobra.Command {
	var edge string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "secret",
		Short: "Make a cluster's secret, or an edge's from it",
		Long: `Print a new secret, by which the nodes of a cluster know each other. Hubs need the
secret itself: whoever has it can change everything. With --edge, print what an
edge needs of the secret in that file: with it a node joins, reads and recognises
the hubs, and can change nothing.

Keep it in a file that nobody else can read; orla serve refuses others.`,
		Example: `  (umask 077; orla cluster secret > cluster.secret)
  (umask 077; orla cluster secret --edge cluster.secret > edge.secret)`,
		Args: exact(),
		RunE: func(*cobra.Command, []string) error {
			secret := identity.New()
			if edge != "" {
				hub, err := identity.ReadFile(edge)
				if err != nil {
					return err
				}
				secret = hub.Edge()
			}
			if asJSON {
				return c.json(secretShape{string(secret.Role()), secret.Reveal()})
			}
			return c.printf("%s\n", secret.Reveal())
		},
	}
	cmd.Flags().StringVar(&edge, "edge", "", "print the edges' part of the secret in `file`")
	jsonFlag(cmd, &asJSON)
	return cmd
}

// secretShape is a secret as --json prints it.
type secretShape struct {
	Role   string `json:"role"`
	Secret string `json:"secret"`
}
