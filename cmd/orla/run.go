package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/orla-edge/orla/app/document"
)

// Exit codes.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// run executes the command line and returns the exit code. A first SIGINT or
// SIGTERM ends the command's context; a second one ends the process.
func run(c *console, args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)

	root := newRoot(c)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	return c.report(ctx, cmd, err)
}

// report tells a command's error and returns the exit code.
func (c *console) report(ctx context.Context, cmd *cobra.Command, err error) int {
	if code, ok := errors.AsType[exitCode](err); ok {
		return int(code)
	}
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, new(printed)):
		return exitFailed
	case errors.As(err, new(usageError)):
		c.tell("orla: %s\nSee '%s --help'.\n", lines(err), cmd.CommandPath())
		return exitUsage
	case ctx.Err() != nil:
		c.tell("orla: interrupted\n")
		return exitFailed
	}
	if problems, ok := errors.AsType[document.Problems](err); ok {
		c.tell("%s\norla: %s\n", problems.Error(), plural(uint64(len(problems)), "problem"))
		return exitFailed
	}
	c.tell("orla: %s\n", lines(err))
	return exitFailed
}

// lines indents the further lines of a long error below its first.
func lines(err error) string { return strings.ReplaceAll(err.Error(), "\n", "\n      ") }

func newRoot(c *console) *cobra.Command {
	root := &cobra.Command{
		Use:   "orla",
		Short: "A self-hosted edge: static sites and WebAssembly functions from one binary",
		Long: `Orla serves static sites and WebAssembly functions, and passes requests through
to app servers. What is deployed goes live at once, and goes back at once.`,
		Example: `  orla serve                  # in one terminal: run a node
  orla deploy examples/hello  # in another: deploy an app to it`,
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	group(root,
		newCommand(c), devCommand(c),
		serveCommand(c), checkCommand(c), deployCommand(c), appsCommand(c), releasesCommand(c), rollbackCommand(c), splitCommand(c),
		routesCommand(c), logsCommand(c), auditCommand(c), moduleCommand(c), secretsCommand(c), kvCommand(c), certsCommand(c), tokenCommand(c), clusterCommand(c), nodesCommand(c), upgradeCommand(c), doctorCommand(c), versionCommand(c), completionCommand(c),
		compileCommand(c),
	)
	root.SetIn(c.in)
	root.SetOut(c.out)
	root.SetErr(c.err)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.SetHelpCommand(&cobra.Command{Hidden: true, Use: "no-help"})
	return root
}

// buildVersion returns what the linker set, or what Go knows of a binary made by
// `go install`.
func buildVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "dev"
}

func versionCommand(c *console) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Print the version of this binary",
		Example: "  orla version",
		Args:    exact(),
		RunE: func(*cobra.Command, []string) error {
			v := versionInfo()
			if asJSON {
				return c.json(v)
			}
			return c.printf("orla %s (%s, %s)\n", v.Version, v.Go, v.Platform)
		},
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}

func completionCommand(c *console) *cobra.Command {
	return &cobra.Command{
		Use:   "completion SHELL",
		Short: "Print the completion script of a shell: bash, zsh, fish or powershell",
		Long: `Print the script that completes orla's commands, flags, and the names of apps on
the node.`,
		Example: `  source <(orla completion bash)                                  # this shell
  orla completion bash > /etc/bash_completion.d/orla              # every bash
  orla completion zsh > "${fpath[1]}/_orla"                       # every zsh
  orla completion fish > ~/.config/fish/completions/orla.fish     # every fish`,
		ValidArgs: []string{"bash", "zsh", "fish", "powershell"},
		Args:      exact("SHELL"),
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(c.out, true)
			case "zsh":
				return root.GenZshCompletion(c.out)
			case "fish":
				return root.GenFishCompletion(c.out, true)
			case "powershell":
				return root.GenPowerShellCompletionWithDesc(c.out)
			}
			return usagef("no completion for %q; it can be bash, zsh, fish or powershell", args[0])
		},
	}
}
