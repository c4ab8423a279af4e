package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/orla-edge/orla/runtime/compile"
)

// compilerName is the command that a node runs this program with to compile a module.
const compilerName = "compile"

// exitCode is the end of a command that has told all there is to tell.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// compileCommand is the child that a node has compile a module. It reads no
// configuration and no environment, and is of no use to a person.
func compileCommand(c *console) *cobra.Command {
	return &cobra.Command{
		Use: compilerName, Short: "Compile a module for a node that started this", Hidden: true,
		Args: cobra.ArbitraryArgs, DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if code := compile.Child(cmd.Context(), args, c.in, c.err); code != exitDone {
				return exitCode(code)
			}
			return nil
		},
	}
}

// compiler returns how to run this program's compile command.
func compiler() ([]string, error) {
	self, err := compile.Self()
	return []string{self, compilerName}, err
}
