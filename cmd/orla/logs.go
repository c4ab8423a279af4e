package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

// maxLines is the most recent records that can be asked for; a node keeps no
// more of an app.
const maxLines = 10_000

func logsCommand(c *console) *cobra.Command {
	cmd := &cobra.Command{
		Use: "logs APP", Short: "Show an app's log: requests, and what its functions print", Args: exact("APP"),
		Long: `Show an app's log, of all nodes, in the order of time: recent records, then, with
-f, new ones as they come. A node sends at most 500 records a second, and says how
many it has left out.`,
		Example: "  orla logs shop\n  orla logs shop -f\n  orla logs shop --node fra1\n  orla logs shop -n 500 --json",
	}
	n := c.nodeFlags(cmd)
	cmd.ValidArgsFunction = n.completeNames
	follow := cmd.Flags().BoolP("follow", "f", false, "go on with new records until Ctrl-C")
	count := cmd.Flags().Uint32P("lines", "n", 100, "recent `records` to begin with")
	node := cmd.Flags().String("node", "", "only the log of this `node`")
	var asJSON bool
	jsonFlag(cmd, &asJSON)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *count > maxLines {
			return usagef("--lines %d: the most is %d", *count, maxLines)
		}
		return c.tail(cmd.Context(), n, &orlav1.TailLogsRequest{Name: args[0], Follow: *follow, Lines: *count, Node: *node}, asJSON)
	}
	return cmd
}

func (c *console) tail(ctx context.Context, n *nodeFlags, req *orlav1.TailLogsRequest, asJSON bool) error {
	api, err := n.api()
	if err != nil {
		return err
	}
	stream, err := api.TailLogs(ctx, connect.NewRequest(req))
	if err != nil {
		return err
	}
	defer stream.Close() //nolint:errcheck // nothing is lost: what was received is printed
	for stream.Receive() {
		r := stream.Msg()
		if r.GetTime() == nil {
			continue // tells only that the node listens
		}
		if err := c.logLine(r, asJSON); err != nil {
			return err
		}
	}
	if req.GetFollow() && ctx.Err() != nil {
		return nil // Ctrl-C is how following ends
	}
	if err := stream.Err(); err != nil {
		return err
	}
	return nil
}

func (c *console) logLine(r *orlav1.TailLogsResponse, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(c.out).Encode(logOf(r)) // one record a line
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %s %s", c.paint(grey, r.GetTime().AsTime().Local().Format("15:04:05.000")), c.paint(grey, plain(r.GetNode())), c.level(r.GetLevel()), plain(r.GetMessage()))
	for _, a := range r.GetAttributes() {
		fmt.Fprintf(&b, " %s%s", c.paint(grey, plain(a.GetName())+"="), quoted(a.GetValue()))
	}
	return c.printf("%s\n", b.String())
}

func (c *console) level(level string) string {
	text := fmt.Sprintf("%-5s", plain(level))
	switch level {
	case "ERROR":
		return c.paint(red, text)
	case "WARN":
		return c.paint(yellow, text)
	}
	return text
}

// quoted puts a value in quotes where it would not be read as one.
func quoted(v string) string {
	if v == "" || strings.ContainsAny(v, " \"=") || plain(v) != v {
		return strconv.Quote(v)
	}
	return v
}
