package main

import (
	"cmp"
	"context"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

// maxAudit is the most audit records that can be asked for.
const maxAudit = 10_000

func auditCommand(c *console) *cobra.Command {
	cmd := &cobra.Command{
		Use: "audit", Short: "Show who changed what", Args: exact(),
		Long: `Show who changed what, from where, when, and what came of it: every change that was
made through the API of any node, and those that were refused, oldest first. The
hubs keep it for 400 days, or 256 MiB; nobody can take a record back. Each hub also
has the changes that it made itself in DATA/audit.log.`,
		Example: "  orla audit\n  orla audit --app shop --since 30d\n  orla audit -f --json",
	}
	n := c.nodeFlags(cmd)
	app := cmd.Flags().String("app", "", "only changes of this `app` or route set")
	n.completeFlag(cmd, "app")
	since := cmd.Flags().String("since", "24h", "how far back: a `duration` such as 90m, 24h or 30d, or all")
	limit := cmd.Flags().Uint32("limit", 1000, "the newest so many `records`")
	follow := cmd.Flags().BoolP("follow", "f", false, "go on with new records until Ctrl-C")
	var asJSON bool
	jsonFlag(cmd, &asJSON)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *limit == 0 || *limit > maxAudit {
			return usagef("--limit %d: want 1 to %d", *limit, maxAudit)
		}
		req := &orlav1.ListAuditRequest{App: *app, Limit: *limit, Follow: *follow}
		if *since != "all" {
			d, err := ago(*since)
			if err != nil {
				return err
			}
			req.Since = timestamppb.New(time.Now().Add(-d))
		}
		return c.audit(cmd.Context(), n, req, asJSON)
	}
	return cmd
}

// ago reads a duration, which may be in days.
func ago(text string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			return time.Duration(n) * 24 * time.Hour, nil //nolint:gosec // 16 bits
		}
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, usagef("--since %q: want a duration such as 90m, 24h or 30d, or all", text)
	}
	return d, nil
}

func (c *console) audit(ctx context.Context, n *nodeFlags, req *orlav1.ListAuditRequest, asJSON bool) error {
	api, err := n.api()
	if err != nil {
		return err
	}
	stream, err := api.ListAudit(ctx, connect.NewRequest(req))
	if err != nil {
		return err
	}
	defer stream.Close() //nolint:errcheck // nothing is lost: what was received is printed
	count := 0
	for stream.Receive() {
		r := stream.Msg().GetRecord()
		if r == nil {
			continue // tells only that what there was has been sent
		}
		count++
		if err := c.auditLine(auditOf(r), asJSON); err != nil {
			return err
		}
	}
	if req.GetFollow() && ctx.Err() != nil {
		return nil // Ctrl-C is how following ends
	}
	if err := stream.Err(); err != nil {
		return err
	}
	if count == 0 && !asJSON {
		c.tell("nothing was changed in that time; --since all looks further back\n")
	}
	return nil
}

// auditLine prints a record: when, who from where, at which node, what, and what came
// of it.
func (c *console) auditLine(s auditShape, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(c.out).Encode(s) // one record a line
	}
	who := cmp.Or(s.Token, "somebody without a token")
	if s.TokenID != "" {
		who += " (" + s.TokenID + ")"
	}
	from := s.Address
	if s.Via != "" {
		from += " via " + s.Via
	}
	what := strings.Join(strings.Fields(s.Action+" "+s.App+" "+s.Target), " ")
	if s.Detail != "" {
		what += ": " + s.Detail
	}
	colour := ""
	outcome := s.Outcome
	if outcome != "ok" {
		colour = red
	}
	if s.Error != "" {
		outcome += ": " + s.Error
	}
	if s.LeftOut > 0 {
		outcome += " (and " + plural(s.LeftOut, "refusal") + " before it)"
	}
	outcome = strings.ReplaceAll(outcome, "\n", "; ")
	return c.printf("%s  %s  %s  %s  %s  %s\n", c.paint(grey, s.Time.Local().Format("2006-01-02 15:04:05")), plain(who), plain(from), plain(s.Node), plain(what), c.paint(colour, plain(outcome)))
}
