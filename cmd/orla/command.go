package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// usageError is a command line that cannot be meant: exit code 2.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// exact wants these arguments and no others; the names are for the message.
func exact(names ...string) cobra.PositionalArgs { return between(len(names), names...) }

// between wants at least the first least of the named arguments.
func between(least int, names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < least {
			return usagef("%s needs %s", cmd.CommandPath(), strings.Join(names[len(args):least], " and "))
		}
		if len(args) <= len(names) {
			return nil
		}
		extra := args[len(names)]
		if len(names) > 0 || !cmd.HasSubCommands() {
			return usagef("%s does not take the argument %q", cmd.CommandPath(), extra)
		}
		if near := cmd.SuggestionsFor(extra); len(near) > 0 {
			return usagef("unknown command %q for %q; did you mean %q?", extra, cmd.CommandPath(), near[0])
		}
		return usagef("unknown command %q for %q", extra, cmd.CommandPath())
	}
}

// group is a command that only holds others: alone it prints its help.
func group(cmd *cobra.Command, commands ...*cobra.Command) *cobra.Command {
	cmd.Args = exact()
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	cmd.SuggestionsMinimumDistance = 2
	cmd.AddCommand(commands...)
	return cmd
}

// withList makes list what the group does without a further word.
func withList(cmd, list *cobra.Command, commands ...*cobra.Command) *cobra.Command {
	group(cmd, append([]*cobra.Command{list}, commands...)...)
	cmd.RunE = list.RunE
	cmd.Flags().AddFlagSet(list.Flags())
	return cmd
}

// printed is an error that the command has told already.
type printed struct{ err error }

func (e printed) Error() string { return e.err.Error() }
func (e printed) Unwrap() error { return e.err }

func jsonFlag(cmd *cobra.Command, v *bool) {
	cmd.Flags().BoolVar(v, "json", false, "print JSON for programs")
}

// completeValues lets the shell complete a flag from a list.
func completeValues(cmd *cobra.Command, flag string, values []string) {
	err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
	if err != nil {
		panic("orla: " + err.Error()) // there is no such flag: a programmer's mistake
	}
}
