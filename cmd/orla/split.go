package main

import (
	"fmt"
	"strconv"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

// perPercent is the weight of one percent of the clients.
const perPercent = 100

func splitCommand(c *console) *cobra.Command {
	cmd := &cobra.Command{
		Use: "split APP RELEASE=PERCENT...", Short: "Divide an app's clients among some of its releases",
		Long: `Divide an app's clients among some of its releases, which serve the same hosts.
The percentages add up to 100 and may have two decimals. A client stays with its
release, by a cookie, on every node.

100 percent for one release end the split; a deploy and a rollback end it, too.`,
		Example: "  orla split shop 4=90 5=10   # try release 5 on some\n  orla split shop 4=50 5=50   # on more\n  orla split shop 5=100       # on all",
		Args:    splitArgs,
	}
	n := c.nodeFlags(cmd)
	cmd.ValidArgsFunction = n.completeNames
	roll := addWaiting(cmd)
	var asJSON bool
	jsonFlag(cmd, &asJSON)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		shares, err := parseShares(args[1:])
		if err != nil {
			return err
		}
		api, err := n.api()
		if err != nil {
			return err
		}
		res, err := api.SetSplit(cmd.Context(), connect.NewRequest(&orlav1.SetSplitRequest{Name: args[0], Shares: shares, Rollout: roll.message()}))
		if err != nil {
			return err
		}
		return c.live(res.Msg.GetLive(), 0, asJSON)
	}
	return cmd
}

func splitArgs(cmd *cobra.Command, args []string) error {
	if len(args) < 2 {
		return between(2, "APP", "RELEASE=PERCENT")(cmd, args)
	}
	_, err := parseShares(args[1:])
	return err
}

// parseShares reads "4=90", "5=9.5" and "6=0.5%".
func parseShares(args []string) ([]*orlav1.Share, error) {
	var shares []*orlav1.Share
	total := uint64(0)
	for _, arg := range args {
		release, part, ok := strings.Cut(arg, "=")
		number, err := strconv.ParseUint(release, 10, 64)
		if !ok || err != nil || number == 0 {
			return nil, usagef("%q is no share; write the number of a release and a percentage: 4=90", arg)
		}
		weight, err := parsePercent(part)
		if err != nil {
			return nil, usagef("%q is no share: %w", arg, err)
		}
		shares = append(shares, &orlav1.Share{Release: number, Weight: weight})
		total += uint64(weight)
	}
	if total != 100*perPercent {
		return nil, usagef("the shares add up to %s%%, not to 100%%", percent(total))
	}
	return shares, nil
}

// parsePercent returns a percentage above 0 and up to 100 in 1/10,000.
func parsePercent(text string) (uint32, error) {
	text = strings.TrimSuffix(text, "%")
	whole, fraction, _ := strings.Cut(text, ".")
	if len(fraction) > 2 {
		return 0, fmt.Errorf("%s%% has more than two decimals", text)
	}
	n, err := strconv.ParseUint(whole+(fraction + "00")[:2], 10, 32)
	if err != nil || whole == "" || n == 0 || n > 100*perPercent {
		return 0, fmt.Errorf("%q is no percentage from 0.01 to 100", text)
	}
	return uint32(n), nil
}

// percent returns a weight as people write it: "10", "0.5".
func percent(weight uint64) string {
	return strconv.FormatFloat(float64(weight)/perPercent, 'f', -1, 64)
}

// shareShape is a release's part of an app's clients.
type shareShape struct {
	Release uint64  `json:"release"`
	Percent float64 `json:"percent"`
}

func shareOf(s *orlav1.Share) shareShape {
	return shareShape{s.GetRelease(), float64(s.GetWeight()) / perPercent}
}

// sharesText returns shares as they are typed: "4=90 5=10".
func sharesText(shares []*orlav1.Share) string {
	var out []string
	for _, s := range shares {
		out = append(out, fmt.Sprintf("%d=%s", s.GetRelease(), percent(uint64(s.GetWeight()))))
	}
	return strings.Join(out, " ")
}
