package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/orla-edge/orla/client"
	"github.com/orla-edge/orla/node"
	"github.com/orla-edge/orla/node/handover"
)

func upgradeCommand(c *console) *cobra.Command {
	var data, binary string
	var timeout time.Duration
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "upgrade",
		Short: "Replace the node on this machine by another binary, without losing a request",
		Long: `Replace the node that runs on this machine by this very binary, or the one that
--binary names. The new process takes over the sockets and the data; the old one
finishes its requests and ends. If the new one does not serve in time, it
is ended, the old one goes on as if nothing had happened, and the exit code is 1.

The new process is started with the arguments and the environment of the old one.`,
		Example: `  ./orla-1.5 upgrade
  orla upgrade --binary /usr/local/bin/orla --data /var/lib/orla`,
		Args: exact(),
	}
	cmd.Flags().StringVar(&binary, "binary", "", "`file` to run (default: this program)")
	cmd.Flags().DurationVar(&timeout, "timeout", time.Minute, "how `long` the new process may take until it serves")
	cmd.Flags().StringVar(&data, "data", "", "data `directory` of the node (default: as orla serve)")
	jsonFlag(cmd, &asJSON)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if timeout <= 0 || timeout > node.MaxUpgradeTimeout {
			return usagef("--timeout %v: want more than 0 and at most %v", timeout, node.MaxUpgradeTimeout)
		}
		path, err := program(binary)
		if err != nil {
			return err
		}
		dir := cmp.Or(data, c.getenv("ORLA_DATA"), client.DefaultDataDir(c.getenv))
		out, err := node.AskUpgrade(cmd.Context(), dir, path, timeout, signalUpgrade)
		if errors.Is(err, node.ErrNotRunning) {
			return fmt.Errorf("%w; start one with 'orla serve', or pass --data", err)
		}
		if err != nil {
			return err
		}
		return c.tellUpgrade(out, asJSON)
	}
	return cmd
}

// tellUpgrade prints how an upgrade went.
func (c *console) tellUpgrade(out node.Outcome, asJSON bool) error {
	var failed error
	if out.Error != "" {
		failed = fmt.Errorf("the node was not upgraded and serves on: %s", out.Error)
	}
	if asJSON {
		if err := c.json(out); err != nil || failed == nil {
			return err
		}
		return printed{failed}
	}
	if failed != nil {
		return failed
	}
	return c.printf("upgraded from %s to %s in %d ms, process %d\n", out.From, out.To, out.Took.Milliseconds(), out.Pid)
}

// program returns the absolute path of an executable, or of this program's own.
func program(path string) (string, error) {
	if path == "" {
		self, err := os.Executable()
		if err != nil {
			return "", fmt.Errorf("find this program's file (pass --binary): %w", err)
		}
		return self, nil
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("find %s: %w", path, err)
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return "", fmt.Errorf("--binary: %w", err)
	case info.IsDir() || info.Mode()&0o111 == 0:
		return "", fmt.Errorf("--binary %s: not an executable file", path)
	}
	return path, nil
}

// upgradeable returns how this process is replaced, and what it was started with.
func upgradeable(c *console) (node.Upgrade, error) {
	inherited, err := handover.Inherit()
	if err != nil {
		return node.Upgrade{}, err
	}
	manager, err := handover.FindManager(c.getenv, os.Getpid())
	if err != nil {
		return node.Upgrade{}, err
	}
	// Now, for the file may have another name later.
	self, err := program("")
	if err != nil {
		return node.Upgrade{}, err
	}
	return node.Upgrade{
		Command: handover.Command{Path: self, Args: os.Args[1:]}, Signal: upgradeSignal(),
		Inherited: inherited, Manager: manager,
	}, nil
}
