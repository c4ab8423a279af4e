package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"connectrpc.com/connect"
	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/proto/orla/v1/orlav1connect"
)

func appsCommand(c *console) *cobra.Command {
	return withList(&cobra.Command{
		Use:     "apps",
		Short:   "List, show or remove apps",
		Example: "  orla apps\n  orla apps show shop\n  orla apps remove shop",
	}, appsList(c), appsShow(c), appsRemove(c))
}

func appsList(c *console) *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List what is live", Example: "  orla apps list --json", Args: exact()}
	return ask(c.nodeFlags(cmd), cmd, func(ctx context.Context, api orlav1connect.ControlServiceClient, _ []string) ([]appShape, error) {
		res, err := api.ListApps(ctx, connect.NewRequest(&orlav1.ListAppsRequest{}))
		if err != nil {
			return nil, err
		}
		return shapes(res.Msg.GetApps(), appOf), nil
	}, func(all []appShape) error {
		var rows [][]string
		for _, s := range all {
			rows = append(rows, []string{s.Name, s.Kind, liveOfApp(s), strings.Join(s.Hosts, " "), contents(s.Summary), when(s.Changed), s.ChangedBy})
		}
		return c.table("nothing is deployed yet; try: orla deploy DIR", []string{"NAME", "KIND", "RELEASE", "HOSTS", "CONTENTS", "CHANGED", "BY"}, rows)
	})
}

func appsShow(c *console) *cobra.Command {
	cmd := &cobra.Command{
		Use: "show APP", Short: "Show an app's live release", Args: exact("APP"),
		Example: "  orla apps show shop\n  orla apps show shop --release 3 --json",
	}
	n := c.nodeFlags(cmd)
	cmd.ValidArgsFunction = n.completeNames
	number := cmd.Flags().Uint64("release", 0, "`number` of the release to show (default: the live one)")
	var asJSON bool
	jsonFlag(cmd, &asJSON)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		api, err := n.api()
		if err != nil {
			return err
		}
		res, err := api.GetApp(cmd.Context(), connect.NewRequest(&orlav1.GetAppRequest{Name: args[0], Release: *number}))
		if err != nil {
			return err
		}
		if asJSON {
			s := appOf(res.Msg.GetApp())
			s.Node = res.Msg.GetNode()
			for _, f := range res.Msg.GetFunctions() {
				s.Functions = append(s.Functions, functionOf(f))
			}
			if s.Manifest, err = manifestJSON(res.Msg.GetManifest()); err != nil {
				return err
			}
			return c.json(s)
		}
		return c.showApp(res.Msg, *number)
	}
	return cmd
}

func (c *console) showApp(res *orlav1.GetAppResponse, number uint64) error {
	a, m := appOf(res.GetApp()), res.GetManifest()
	if number != 0 {
		a.Release = number
	}
	state := "not live"
	switch part := percentOf(res.GetApp().GetHead(), a.Release); {
	case part == 100:
		state = "live since " + when(a.Changed) + ", by " + a.ChangedBy
	case part > 0:
		state = fmt.Sprintf("live for %v%% of the clients (%s) since %s, by %s", part, sharesText(res.GetApp().GetHead().GetSplit()), when(a.Changed), a.ChangedBy)
	}
	if err := c.printf("%s: release %d, %s\nhosts: %s\n%s\n", a.Name, a.Release, state, strings.Join(a.Hosts, " "), contents(a.Summary)); err != nil {
		return err
	}
	if len(m.GetFunctions()) > 0 {
		var rows [][]string
		for _, f := range m.GetFunctions() {
			rows = append(rows, []string{f.GetName(), abiName(f.GetAbi()), f.GetSource(), humanize.IBytes(uint64(f.GetModuleSize())), short(f.GetModule()), grants(f)})
		}
		if err := c.section([]string{"FUNCTION", "ABI", "MODULE", "SIZE", "DIGEST", "GRANTS"}, rows); err != nil {
			return err
		}
	}
	if err := c.showStates(res); err != nil || len(m.GetRoutes()) == 0 {
		return err
	}
	var rows [][]string
	for _, r := range m.GetRoutes() {
		s := routeOf(r)
		rows = append(rows, []string{methods(s.Methods), s.Path, s.Match, s.leadsTo(), s.Source})
	}
	return c.section([]string{"METHOD", "PATH", "IF", "TARGET", "WRITTEN AT"}, rows)
}

// grants returns what a function may use: "kv sessions, STRIPE_KEY v2".
func grants(f *orlav1.Function) string {
	var all []string
	for _, store := range f.GetKv() {
		all = append(all, "kv "+store)
	}
	for _, s := range f.GetSecrets() {
		all = append(all, s.GetName()+" v"+strconv.FormatUint(s.GetVersion(), 10))
	}
	return strings.Join(all, ", ")
}

// section is a table below another text.
func (c *console) section(header []string, rows [][]string) error {
	if err := c.printf("\n"); err != nil {
		return err
	}
	return c.table("", header, rows)
}

func appsRemove(c *console) *cobra.Command {
	cmd := &cobra.Command{
		Use: "remove APP", Short: "Take an app or route set off the node, with its history", Args: exact("APP"),
		Long:    "Take an app or route set off the node, with its history. Its hosts become free for others.",
		Example: "  orla apps remove shop",
	}
	n := c.nodeFlags(cmd)
	cmd.ValidArgsFunction = n.completeNames
	return ask(n, cmd, func(ctx context.Context, api orlav1connect.ControlServiceClient, args []string) (removedShape, error) {
		res, err := api.RemoveApp(ctx, connect.NewRequest(&orlav1.RemoveAppRequest{Name: args[0]}))
		if err != nil {
			return removedShape{}, err
		}
		return removedShape{args[0], res.Msg.GetRevision()}, nil
	}, func(s removedShape) error {
		return c.printf("%s is removed, revision %d\n", s.Name, s.Revision)
	})
}

func releasesCommand(c *console) *cobra.Command {
	cmd := &cobra.Command{
		Use: "releases APP", Short: "Show an app's history", Args: exact("APP"),
		Example: "  orla releases shop",
	}
	return c.history(cmd)
}

// history is a command that shows the releases of an app or route set, newest
// first.
func (c *console) history(cmd *cobra.Command) *cobra.Command {
	n := c.nodeFlags(cmd)
	cmd.ValidArgsFunction = n.completeNames
	return ask(n, cmd, func(ctx context.Context, api orlav1connect.ControlServiceClient, args []string) ([]releaseShape, error) {
		res, err := api.GetApp(ctx, connect.NewRequest(&orlav1.GetAppRequest{Name: args[0], Consistent: true}))
		if connect.CodeOf(err) == connect.CodeUnavailable { // an edge, or the hubs are away
			known, knownErr := api.GetApp(ctx, connect.NewRequest(&orlav1.GetAppRequest{Name: args[0]}))
			if knownErr != nil {
				return nil, err
			}
			c.tell("as this node knows it, for what is latest cannot be had: %v\n", err)
			res, err = known, nil
		}
		if err != nil {
			return nil, err
		}
		return releasesOf(res.Msg.GetApp().GetHead()), nil
	}, func(all []releaseShape) error {
		var rows [][]string
		for _, s := range all {
			rows = append(rows, []string{strconv.FormatUint(s.Number, 10), liveMark(s.Percent), short(s.Digest), when(s.Created), s.Who, s.Message})
		}
		return c.table("no releases", []string{"RELEASE", "STATE", "DIGEST", "CREATED", "BY", "MESSAGE"}, rows)
	})
}

// liveOfApp tells what is live: "4", or of a split "4=90 5=10".
func liveOfApp(a appShape) string {
	if len(a.Split) == 0 {
		return strconv.FormatUint(a.Release, 10)
	}
	var out []string
	for _, s := range a.Split {
		out = append(out, fmt.Sprintf("%d=%v", s.Release, s.Percent))
	}
	return strings.Join(out, " ")
}

func liveMark(percent float64) string {
	switch percent {
	case 0:
		return "-"
	case 100:
		return "live"
	}
	return fmt.Sprintf("live %v%%", percent)
}

func methods(list []string) string {
	if len(list) == 0 {
		return "*"
	}
	return strings.Join(list, ",")
}

func abiName(a orlav1.Abi) string {
	switch a {
	case orlav1.Abi_ABI_CGI:
		return "cgi"
	case orlav1.Abi_ABI_HTTP_WASM:
		return "http-wasm"
	default:
		return "-"
	}
}

// contents returns "2 files (12 KiB), 1 function, 3 routes".
func contents(s summaryShape) string {
	var parts []string
	if s.Files > 0 {
		parts = append(parts, plural(s.Files, "file")+" ("+humanize.IBytes(s.Bytes)+")")
	}
	if s.Functions > 0 {
		parts = append(parts, plural(s.Functions, "function"))
	}
	return strings.Join(append(parts, plural(s.Routes, "route")), ", ")
}
