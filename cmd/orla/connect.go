package main

import (
	"context"
	"errors"
	"net"
	"net/url"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/orla-edge/orla/client"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/proto/orla/v1/orlav1connect"
)

// completionWait is how long a shell waits for a node's names.
const completionWait = 2 * time.Second

// nodeFlags says which node a command talks to.
type nodeFlags struct {
	c *console

	admin, tokenFile, context, data string
}

// nodeFlags gives a command the flags by which it finds its node.
func (c *console) nodeFlags(cmd *cobra.Command) *nodeFlags {
	n := &nodeFlags{c: c}
	cmd.Flags().StringVar(&n.admin, "admin", "", "`URL` of the node's API (default: ORLA_ADMIN, or the node on this machine)")
	cmd.Flags().StringVar(&n.tokenFile, "token-file", "", "`file` with the token (default: ORLA_TOKEN, or the one of the node on this machine)")
	cmd.Flags().StringVar(&n.context, "context", "", "`name` of a node in orla/contexts.toml of the XDG config home")
	cmd.Flags().StringVar(&n.data, "data", "", "data `directory` of the node on this machine (default: as orla serve)")
	cmd.ValidArgsFunction = cobra.NoFileCompletions
	return n
}

// find returns a client for the node that is meant.
func (n *nodeFlags) find() (*client.Client, error) {
	cl, err := client.Find(client.Options{
		Admin: n.admin, TokenFile: n.tokenFile, Context: n.context, DataDir: n.data, Getenv: n.c.getenv,
	})
	if errors.Is(err, client.ErrNoNode) || errors.Is(err, client.ErrNoToken) {
		return nil, person{err}
	}
	return cl, err
}

// person is an error of a package as a person should read it: without the
// package's name.
type person struct{ err error }

func (e person) Error() string {
	text := e.err.Error()
	if name, rest, ok := strings.Cut(text, ": "); ok && (name == "client" || name == "cluster" || name == "starter" || name == "dev") {
		return rest
	}
	return text
}
func (e person) Unwrap() error { return e.err }

func (n *nodeFlags) api() (orlav1connect.ControlServiceClient, error) {
	cl, err := n.find()
	if err != nil {
		return nil, err
	}
	return cl.Control(), nil
}

// ask makes cmd one call of the node's API: call returns what --json prints, and show
// prints that for a person.
func ask[T any](n *nodeFlags, cmd *cobra.Command, call func(context.Context, orlav1connect.ControlServiceClient, []string) (T, error), show func(T) error) *cobra.Command {
	var asJSON bool
	jsonFlag(cmd, &asJSON)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		api, err := n.api()
		if err != nil {
			return err
		}
		answer, err := call(cmd.Context(), api, args)
		switch {
		case err != nil:
			return err
		case asJSON:
			return n.c.json(answer)
		}
		return show(answer)
	}
	return cmd
}

// local reports whether the node that is meant should be on this machine.
func (n *nodeFlags) local(cl *client.Client) bool {
	if n.admin != "" || n.context != "" || n.data == "" && n.c.getenv("ORLA_ADMIN") != "" {
		return false
	}
	if cl == nil {
		return true
	}
	u, err := url.Parse(cl.Admin())
	if err != nil {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}

// completeNames completes the first argument with the names of apps and route
// sets. Without a node there are none.
func (n *nodeFlags) completeNames(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return n.names(cmd.Context()), cobra.ShellCompDirectiveNoFileComp
}

// completeFlag completes a flag with the names of apps and route sets.
func (n *nodeFlags) completeFlag(cmd *cobra.Command, flag string) {
	err := cmd.RegisterFlagCompletionFunc(flag, func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return n.names(cmd.Context()), cobra.ShellCompDirectiveNoFileComp
	})
	if err != nil {
		panic("orla: " + err.Error()) // there is no such flag: a programmer's mistake
	}
}

func (n *nodeFlags) names(ctx context.Context) []string {
	ctx, cancel := context.WithTimeout(ctx, completionWait)
	defer cancel()
	api, err := n.api()
	if err != nil {
		return nil
	}
	res, err := api.ListApps(ctx, connect.NewRequest(&orlav1.ListAppsRequest{}))
	if err != nil {
		return nil
	}
	var names []string
	for _, a := range res.Msg.GetApps() {
		names = append(names, a.GetHead().GetName())
	}
	return names
}
