package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"connectrpc.com/connect"
	"github.com/rogpeppe/go-internal/diff"
	"github.com/spf13/cobra"

	"github.com/orla-edge/orla/app"
	"github.com/orla-edge/orla/client"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/proto/orla/v1/orlav1connect"
)

func routesCommand(c *console) *cobra.Command {
	history := &cobra.Command{
		Use: "history SET", Short: "Show a route set's history", Args: exact("SET"),
		Example: "  orla routes history edge",
	}
	back := &cobra.Command{
		Use: "rollback SET [REV]", Short: "Make an earlier state of a route set live again", Args: between(1, "SET", "REV"),
		Example: "  orla routes rollback edge\n  orla routes rollback edge 3",
	}
	return withList(&cobra.Command{
		Use:   "routes",
		Short: "List, change and explain routes",
		Long: `Routes of apps come with their releases. A route set is a routes.toml that is
pushed without an app: proxies, redirects, fixed answers.`,
		Example: `  orla routes
  orla routes diff routes.toml
  orla routes push routes.toml
  orla routes explain https://shop.example.com/api/x -X POST`,
	}, routesList(c), routesPush(c), routesDiff(c), routesExport(c), c.history(history), c.goBack(back, orlav1.Kind_KIND_ROUTES), routesExplain(c))
}

func routesList(c *console) *cobra.Command {
	cmd := &cobra.Command{
		Use: "list", Short: "List the live routes in match order", Args: exact(),
		Example: "  orla routes list\n  orla routes list --app shop --json",
	}
	n := c.nodeFlags(cmd)
	name := cmd.Flags().String("app", "", "only those of this `app` or route set")
	n.completeFlag(cmd, "app")
	return ask(n, cmd, func(ctx context.Context, api orlav1connect.ControlServiceClient, _ []string) ([]routeShape, error) {
		res, err := api.ListRoutes(ctx, connect.NewRequest(&orlav1.ListRoutesRequest{Name: *name}))
		if err != nil {
			return nil, err
		}
		return shapes(res.Msg.GetRoutes(), routeLineOf), nil
	}, func(all []routeShape) error {
		var rows [][]string
		for _, s := range all {
			rows = append(rows, []string{s.Host, methods(s.Methods), s.Path, s.Match, s.leadsTo(), s.Name, s.Source})
		}
		return c.table("no routes; try: orla deploy DIR, or orla routes push FILE", []string{"HOST", "METHOD", "PATH", "IF", "TARGET", "OF", "WRITTEN AT"}, rows)
	})
}

func routesPush(c *console) *cobra.Command {
	cmd := &cobra.Command{
		Use: "push FILE", Short: "Make the routes in a file live", Args: exact("FILE"),
		Long:    "Make the routes in a file live, all at once, in place of the set's earlier ones.",
		Example: "  orla routes push routes.toml\n  orla routes push routes.toml --dry-run",
	}
	n := c.nodeFlags(cmd)
	message := cmd.Flags().StringP("message", "m", "", "`text` for the history")
	dryRun := cmd.Flags().Bool("dry-run", false, "validate all of it, change nothing")
	roll := addRollout(cmd)
	var asJSON bool
	jsonFlag(cmd, &asJSON)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		pkg, err := app.Routes(args[0])
		if err != nil {
			return c.notDeployed(err)
		}
		return c.deploy(cmd.Context(), n, pkg, client.DeployOptions{Message: *message, DryRun: *dryRun, Rollout: roll.message()}, asJSON)
	}
	return cmd
}

func routesDiff(c *console) *cobra.Command {
	cmd := &cobra.Command{
		Use: "diff FILE", Short: "Show what a push of a file would change", Args: exact("FILE"),
		Example: "  orla routes diff routes.toml",
	}
	n := c.nodeFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		pkg, err := app.Routes(args[0])
		if err != nil {
			return c.notDeployed(err)
		}
		want, err := app.Format(pkg.Manifest)
		if err != nil {
			return err
		}
		name := pkg.Manifest.GetName()
		live, err := n.liveRoutes(cmd.Context(), name)
		if err != nil && !errors.Is(err, errNotLive) {
			return err
		}
		text := diff.Diff("live/"+name, live, args[0], want)
		if len(text) == 0 {
			return c.printf("no difference: %s is live as in %s\n", name, args[0])
		}
		_, rest, _ := strings.Cut(string(text), "\n") // the line "diff a b"
		return c.printf("%s", c.paintDiff(rest))
	}
	return cmd
}

func (c *console) paintDiff(text string) string {
	lines := strings.SplitAfter(text, "\n")
	for i, l := range lines {
		body := strings.TrimSuffix(l, "\n")
		switch {
		case strings.HasPrefix(l, "+"):
			lines[i] = c.paint(green, body) + "\n"
		case strings.HasPrefix(l, "-"):
			lines[i] = c.paint(red, body) + "\n"
		}
	}
	return strings.Join(lines, "")
}

var errNotLive = errors.New("nothing of that name is live")

// liveRoutes returns a route set's live routes as a file. A set that is not
// there is errNotLive.
func (n *nodeFlags) liveRoutes(ctx context.Context, name string) ([]byte, error) {
	api, err := n.api()
	if err != nil {
		return nil, err
	}
	res, err := api.GetApp(ctx, connect.NewRequest(&orlav1.GetAppRequest{Name: name}))
	if connect.CodeOf(err) == connect.CodeNotFound {
		return nil, fmt.Errorf("%w: %w", errNotLive, err)
	}
	if err != nil {
		return nil, err
	}
	return app.Format(res.Msg.GetManifest())
}

func routesExport(c *console) *cobra.Command {
	cmd := &cobra.Command{
		Use: "export SET", Short: "Print a live route set as a routes.toml", Args: exact("SET"),
		Example: "  orla routes export edge > routes.toml",
	}
	n := c.nodeFlags(cmd)
	cmd.ValidArgsFunction = n.completeNames
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		text, err := n.liveRoutes(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		_, err = c.out.Write(text)
		return err
	}
	return cmd
}

func routesExplain(c *console) *cobra.Command {
	cmd := &cobra.Command{
		Use: "explain URL", Short: "Tell which route a request takes, and why not the others", Args: exact("URL"),
		Example: `  orla routes explain https://shop.example.com/api/x
  orla routes explain https://shop.example.com/legacy/x -X POST -H 'X-Beta: 1'
  orla routes explain https://shop.example.com/partners --client-cert alice.example.com`,
	}
	n := c.nodeFlags(cmd)
	method := cmd.Flags().StringP("request", "X", http.MethodGet, "`method` of the request")
	headers := cmd.Flags().StringArrayP("header", "H", nil, "header `'K: V'` of the request; may be repeated")
	cert := cmd.Flags().String("client-cert", "", "the client shows a certificate for this `name` that the release trusts; \"*\": for another one than routes ask for")
	completeValues(cmd, "request", []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
	var asJSON bool
	jsonFlag(cmd, &asJSON)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		req := &orlav1.ExplainRouteRequest{Url: args[0], Method: *method, ClientCert: *cert}
		for _, h := range *headers {
			k, v, ok := strings.Cut(h, ":")
			if !ok || strings.TrimSpace(k) == "" {
				return usagef("--header %q: want 'Name: value'", h)
			}
			req.Headers = append(req.Headers, &orlav1.Field{Name: strings.TrimSpace(k), Value: strings.TrimSpace(v)})
		}
		api, err := n.api()
		if err != nil {
			return err
		}
		res, err := api.ExplainRoute(cmd.Context(), connect.NewRequest(req))
		if err != nil {
			return err
		}
		if asJSON {
			return c.json(explainOf(res.Msg))
		}
		return c.explain(*method, explainOf(res.Msg))
	}
	return cmd
}

func (c *console) explain(method string, e explainShape) error {
	owner := fmt.Sprintf("owned by %s (%s), release %d", e.Name, e.HostPattern, e.Release)
	if e.HostPattern == "" {
		owner = "nobody owns it"
	}
	if err := c.printf("host   %s: %s\npath   %s\n", plain(e.Host), owner, plain(e.Path)); err != nil {
		return err
	}
	outcome := "no route: the node answers " + statusText(e.Status)
	if e.Route != nil {
		outcome = e.Route.leadsTo()
		if e.Route.Source != "" {
			outcome += "  (" + e.Route.Source + ")"
		}
		if e.Status != 0 && e.Route.Target != "redirect" && e.Route.Target != "respond" { // those show it
			outcome += ", answers " + statusText(e.Status)
		}
	}
	if e.HTTPS != "" {
		if err := c.printf("http   redirect 308 %s, before any route; over HTTPS:\n", plain(e.HTTPS)); err != nil {
			return err
		}
	}
	if err := c.printf("answer %s\n", plain(outcome)); err != nil {
		return err
	}
	for _, name := range sortedKeys(e.Captures) {
		if err := c.printf("       %s = %s\n", plain(name), plain(e.Captures[name])); err != nil {
			return err
		}
	}
	if len(e.Steps) == 0 {
		return nil
	}
	var rows [][]string
	for i, s := range e.Steps {
		why := s.Reason
		if s.Matched {
			why = "matches " + method
		}
		rows = append(rows, []string{strconv.Itoa(i + 1), methods(s.Route.Methods), s.Route.Path, s.Route.Match, s.Route.leadsTo(), why})
	}
	return c.section([]string{"#", "METHOD", "PATH", "IF", "TARGET", "WHY"}, rows)
}

func statusText(status uint32) string {
	return strings.TrimSpace(strconv.FormatUint(uint64(status), 10) + " " + http.StatusText(int(status)))
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
