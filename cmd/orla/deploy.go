package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/orla-edge/orla/app"
	"github.com/orla-edge/orla/client"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

func deployCommand(c *console) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "deploy [DIR|FILE.wasm]",
		Short: "Make an app live",
		Long: `Pack the app in DIR (default: here), or a lone module, upload what the node
lacks, and make it live at once. A node that finds anything wrong changes nothing.
Where certificates are ordered (--tls acme), it waits up to a minute for those of the
app's hosts, and tells what became of them; the app is live by then.`,
		Example: `  orla deploy
  orla deploy examples/hello --message "new colours"
  orla deploy api.wasm --name api --host api.example.com
  orla deploy --dry-run`,
		Args: between(0, "DIR or FILE.wasm"),
	}
	n := c.nodeFlags(cmd)
	name := cmd.Flags().String("name", "", "`name` of the app, in place of the one in orla.toml")
	hosts := cmd.Flags().StringArray("host", nil, "`host` that the app owns, in place of those in orla.toml; may be repeated")
	message := cmd.Flags().StringP("message", "m", "", "`text` for the history")
	dryRun := cmd.Flags().Bool("dry-run", false, "upload and validate all of it, change nothing")
	roll := addRollout(cmd)
	noBuild := cmd.Flags().Bool("no-build", false, "do not run the build command of orla.toml")
	var asJSON bool
	jsonFlag(cmd, &asJSON)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		p := c.progress(asJSON)
		defer p.end()
		pkg, err := app.Pack(cmd.Context(), app.Options{
			Path: argument(args, "."), Name: *name, Hosts: *hosts, Build: !*noBuild, Stdout: c.err, Stderr: c.err,
			Progress: func(done, total int64, path string) { p.show("read", uint64(done), uint64(total), path, true) },
		})
		p.end()
		if err != nil {
			return c.notDeployed(err)
		}
		return c.deploy(cmd.Context(), n, pkg, client.DeployOptions{Message: *message, DryRun: *dryRun, Rollout: roll.message()}, asJSON)
	}
	return cmd
}

func argument(args []string, fallback string) string {
	if len(args) > 0 {
		return args[0]
	}
	return fallback
}

// deploy sends a package and prints what came of it.
func (c *console) deploy(ctx context.Context, n *nodeFlags, pkg *app.Package, o client.DeployOptions, asJSON bool) error {
	cl, err := n.find()
	if err != nil {
		return err
	}
	p := c.progress(asJSON)
	res, err := cl.Deploy(ctx, pkg, o, p.deploy)
	p.end()
	if err != nil {
		return c.notDeployed(err)
	}
	if checked := res.GetChecked(); checked != nil {
		return c.checked(pkg, checked, asJSON)
	}
	hosts, wait := pkg.Manifest.GetHosts(), !o.Rollout.GetNoWait()
	switch {
	case !wait:
		return c.live(res.GetLive(), 0, asJSON)
	case asJSON:
		shape := liveOf(res.GetLive(), 0)
		shape.Certificates, _, _ = c.awaitCerts(ctx, cl.Control(), hosts, true) // without them, it is live all the same
		return errors.Join(c.json(shape), c.proven(res.GetLive(), asJSON))
	}
	err = c.live(res.GetLive(), 0, asJSON)
	return errors.Join(err, c.showCerts(ctx, cl.Control(), hosts))
}

func (c *console) checked(pkg *app.Package, r *orlav1.Checked, asJSON bool) error {
	if asJSON {
		return c.json(struct {
			Name    string       `json:"name"`
			Digest  string       `json:"digest"`
			DryRun  bool         `json:"dryRun"`
			Summary summaryShape `json:"summary"`
		}{pkg.Manifest.GetName(), r.GetDigest(), true, summaryOf(r.GetSummary())})
	}
	return c.printf("%s is valid (%s): %s; nothing was changed\n", pkg.Manifest.GetName(), short(r.GetDigest()), contents(summaryOf(r.GetSummary())))
}

// live prints what is live now; from is the release that was live before a
// rollback.
func (c *console) live(l *orlav1.Live, from uint64, asJSON bool) error {
	if asJSON {
		return errors.Join(c.json(liveOf(l, from)), c.proven(l, asJSON))
	}
	what := fmt.Sprintf("%s is live: release %d", l.GetName(), l.GetRelease())
	switch {
	case l.GetUnchanged() && len(l.GetSplit()) > 0:
		what = fmt.Sprintf("%s is unchanged: it is split %s", l.GetName(), sharesText(l.GetSplit()))
	case len(l.GetSplit()) > 0:
		what = fmt.Sprintf("%s is split %s", l.GetName(), sharesText(l.GetSplit()))
	case l.GetUnchanged():
		what = fmt.Sprintf("%s is unchanged: release %d is live already", l.GetName(), l.GetRelease())
	case from == l.GetRelease(): // it had the largest share of a split
		what = fmt.Sprintf("%s is back: release %d for all clients", l.GetName(), l.GetRelease())
	case from != 0:
		what = fmt.Sprintf("%s is back: release %d, was %d", l.GetName(), l.GetRelease(), from)
	}
	took := fmt.Sprintf("%.0f ms, of them %.1f ms to switch", l.GetTotalMs(), l.GetSwapMs())
	if l.GetUnchanged() {
		took = fmt.Sprintf("%.0f ms", l.GetTotalMs())
	}
	if err := c.printf("%s (%s), revision %d, in %s\n  %s\n", what, short(l.GetDigest()), l.GetRevision(), took, contents(summaryOf(l.GetSummary()))); err != nil {
		return err
	}
	if len(l.GetEnded()) > 0 {
		if err := c.printf("  the split %s has ended\n", sharesText(l.GetEnded())); err != nil {
			return err
		}
	}
	for _, u := range l.GetUrls() {
		if err := c.printf("  %s\n", u); err != nil {
			return err
		}
	}
	return c.proven(l, asJSON)
}

func rollbackCommand(c *console) *cobra.Command {
	cmd := &cobra.Command{
		Use: "rollback APP [RELEASE]", Short: "Make an earlier release live again", Args: between(1, "APP", "RELEASE"),
		Long: `Make an earlier release live again: the one before the live one, or the one with
that number. All of it goes back: files, functions and routes. A split ends; without
a number, its oldest release gets all clients.`,
		Example: "  orla rollback shop\n  orla rollback shop 3",
	}
	return c.goBack(cmd, orlav1.Kind_KIND_APP)
}

// goBack is a command that makes an earlier release of an app or route set live.
func (c *console) goBack(cmd *cobra.Command, kind orlav1.Kind) *cobra.Command {
	n := c.nodeFlags(cmd)
	cmd.ValidArgsFunction = n.completeNames
	roll := addRollout(cmd)
	var asJSON bool
	jsonFlag(cmd, &asJSON)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		req := &orlav1.RollbackRequest{Name: args[0], Kind: kind, Rollout: roll.message()}
		if len(args) > 1 {
			number, err := strconv.ParseUint(args[1], 10, 64)
			if err != nil || number == 0 {
				return usagef("release %q is not a number from 1 up; see: orla releases %s", args[1], args[0])
			}
			req.Release = number
		}
		api, err := n.api()
		if err != nil {
			return err
		}
		res, err := api.Rollback(cmd.Context(), connect.NewRequest(req))
		if err != nil {
			return err
		}
		return c.live(res.Msg.GetLive(), res.Msg.GetFrom(), asJSON)
	}
	return cmd
}
