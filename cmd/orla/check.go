package main

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/orla-edge/orla/app"
	"github.com/orla-edge/orla/cmd/orla/settings"
)

func checkCommand(c *console) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check [DIR|FILE]",
		Short: "Find every problem in what a person writes: orla.toml, routes.toml, orla-node.toml",
		Long: `Find every problem in the app in DIR (default: here), an orla.toml, a routes.toml,
an orla-node.toml or a lone module, each with file and line. No node is asked.`,
		Example: `  orla check
  orla check routes.toml
  orla check --schema > orla.schema.json
  orla check --schema routes.toml`,
		Args: between(0, "DIR or FILE"),
	}
	schema := cmd.Flags().Bool("schema", false, "print the JSON schema of orla.toml, or of routes.toml if that is FILE's name")
	var asJSON bool
	jsonFlag(cmd, &asJSON)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		path := argument(args, ".")
		if *schema {
			return c.schema(path)
		}
		err := check(cmd.Context(), path)
		if problems, ok := errors.AsType[app.Problems](err); ok || err == nil {
			return c.problems(path, problems, asJSON)
		}
		return err
	}
	return cmd
}

func check(ctx context.Context, path string) error {
	if filepath.Base(path) == settings.FileName {
		return settings.CheckFile(path)
	}
	return app.Check(ctx, path)
}

func (c *console) schema(path string) error {
	text := app.Schema
	if filepath.Base(path) == app.RoutesFile {
		text = app.RoutesSchema
	}
	b, err := text()
	if err != nil {
		return err
	}
	_, err = c.out.Write(b)
	return err
}

// problemShape is one line of `orla check --json`.
type problemShape struct {
	File    string `json:"file"`
	Line    int    `json:"line"`   // 0 if it is about the whole file
	Column  int    `json:"column"` // 0 if it is about the whole line
	Field   string `json:"field"`
	Message string `json:"message"`
}

// problems prints what `orla check` found, on stdout: it is the result.
func (c *console) problems(path string, problems app.Problems, asJSON bool) error {
	if asJSON {
		all := []problemShape{}
		for _, p := range problems {
			all = append(all, problemShape(p))
		}
		if err := c.json(all); err != nil {
			return err
		}
	}
	if len(problems) == 0 {
		if asJSON {
			return nil
		}
		return c.printf("%s: no problems\n", path)
	}
	if !asJSON {
		if err := c.printf("%s\n", problems.Error()); err != nil {
			return err
		}
		c.tell("orla: %s\n", plural(uint64(len(problems)), "problem"))
	}
	return printed{problems}
}

// notDeployed tells problems one a line, and that nothing came of them.
func (c *console) notDeployed(err error) error {
	problems, ok := errors.AsType[app.Problems](err)
	if !ok {
		return err
	}
	c.tell("%s\norla: %s; nothing was changed\n", problems.Error(), plural(uint64(len(problems)), "problem"))
	return printed{err}
}
