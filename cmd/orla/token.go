package main

import (
	"context"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/proto/orla/v1/orlav1connect"
)

func tokenCommand(c *console) *cobra.Command {
	return group(&cobra.Command{
		Use:   "token",
		Short: "Create, list and revoke API tokens",
		Long: `Tokens let people and programs use a node's API: viewer reads, deployer changes
the apps that the token names, admin does everything.`,
		Example: "  orla token create ci --role deployer --app shop\n  orla token list\n  orla token revoke 4hq7x2m9ap",
	}, tokenCreate(c), tokenList(c), tokenRevoke(c))
}

func tokenCreate(c *console) *cobra.Command {
	cmd := &cobra.Command{
		Use: "create [NAME]", Short: "Create a token and print its secret, once", Args: between(0, "NAME"),
		Long: `Create a token and print its secret on stdout. The node does not keep the secret:
note it now. NAME is what the history shows as who; without one it is made of the
role and the apps.`,
		Example: `  orla token create ci --role deployer --app shop --app blog
  orla token create grafana --role viewer
  ORLA_TOKEN=$(orla token create me --role admin)`,
	}
	n := c.nodeFlags(cmd)
	role := cmd.Flags().String("role", "viewer", "`role`: admin, deployer or viewer")
	completeValues(cmd, "role", []string{"admin", "deployer", "viewer"})
	apps := cmd.Flags().StringArray("app", nil, "`app` that a deployer may change; may be repeated")
	n.completeFlag(cmd, "app")
	var asJSON bool
	jsonFlag(cmd, &asJSON)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		r, ok := orlav1.Role_value["ROLE_"+strings.ToUpper(*role)]
		if !ok || r == 0 {
			return usagef("--role %q: want admin, deployer or viewer", *role)
		}
		api, err := n.api()
		if err != nil {
			return err
		}
		res, err := api.CreateToken(cmd.Context(), connect.NewRequest(&orlav1.CreateTokenRequest{Name: argument(args, tokenName(*role, *apps)), Role: orlav1.Role(r), Apps: *apps}))
		if err != nil {
			return err
		}
		t := tokenOf(res.Msg.GetToken(), res.Msg.GetSecret())
		if asJSON {
			return c.json(t)
		}
		c.tell("token %s (%s): note its secret now, it is not shown again\n", t.ID, tokenReach(t))
		return c.printf("%s\n", t.Secret)
	}
	return cmd
}

// tokenName is the name of a token that a person gave none: "deployer-shop".
func tokenName(role string, apps []string) string {
	name := strings.Join(append([]string{role}, apps...), "-")
	return name[:min(len(name), 100)]
}

func tokenReach(t tokenShape) string {
	if len(t.Apps) > 0 {
		return t.Role + " of " + strings.Join(t.Apps, ", ")
	}
	return t.Role
}

func tokenList(c *console) *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List the tokens, without their secrets", Example: "  orla token list", Args: exact()}
	return ask(c.nodeFlags(cmd), cmd, func(ctx context.Context, api orlav1connect.ControlServiceClient, _ []string) ([]tokenShape, error) {
		res, err := api.ListTokens(ctx, connect.NewRequest(&orlav1.ListTokensRequest{}))
		if err != nil {
			return nil, err
		}
		return shapes(res.Msg.GetTokens(), func(t *orlav1.Token) tokenShape { return tokenOf(t, "") }), nil
	}, func(all []tokenShape) error {
		var rows [][]string
		for _, s := range all {
			rows = append(rows, []string{s.ID, s.Name, s.Role, strings.Join(s.Apps, " "), when(s.Created)})
		}
		return c.table("no tokens beside the node's own admin token; try: orla token create NAME", []string{"ID", "NAME", "ROLE", "APPS", "CREATED"}, rows)
	})
}

func tokenRevoke(c *console) *cobra.Command {
	cmd := &cobra.Command{
		Use: "revoke ID", Short: "End a token", Args: exact("ID"),
		Example: "  orla token revoke 4hq7x2m9ap",
	}
	return ask(c.nodeFlags(cmd), cmd, func(ctx context.Context, api orlav1connect.ControlServiceClient, args []string) (revokedShape, error) {
		_, err := api.RevokeToken(ctx, connect.NewRequest(&orlav1.RevokeTokenRequest{Id: args[0]}))
		return revokedShape{args[0]}, err
	}, func(s revokedShape) error {
		return c.printf("token %s is revoked\n", s.ID)
	})
}
