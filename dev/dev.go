// Package dev runs an app on this machine while somebody works on it: nodes as
// processes of this binary, and a build and a deploy after every change of the app's
// folder. What is served stays as it is until a change is good. It does not know how
// a node works: it starts them by their flags, and deploys by their API.
package dev

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/orla-edge/orla/app"
)

// DefaultPort is the port of the first node.
const DefaultPort = 3000

// maxNodes is how many nodes one machine is asked to run.
const maxNodes = 32

// ErrNodes is returned for a number of nodes that makes no cluster.
var ErrNodes = errors.New("dev: not a number of nodes")

// Config is what a person decides.
type Config struct {
	// Dir is the app's folder. Empty means the current one. What the nodes keep goes
	// into its folder .orla.
	Dir string
	// Nodes is how many run: 1, or 3 to 32. Zero means 1.
	Nodes int
	// Port is that of the first node on localhost, the others count up from it. Zero
	// means any that are free.
	Port int
	// Command is how to run orla: this program's own path. It is needed.
	Command []string
	// Out takes what happens, for a person. Nil discards it.
	Out io.Writer
	// Colour allows colours on Out.
	Colour bool
	// Verbose shows all that the nodes log.
	Verbose bool
}

// Check returns an error that wraps [ErrNodes] if so many nodes cannot be run.
func Check(nodes int) error {
	switch {
	case nodes == 2:
		return fmt.Errorf("%w: two servers make no cluster: each change needs more than half of them, so that neither may fail; take 1 or 3", ErrNodes)
	case nodes < 0 || nodes > maxNodes:
		return fmt.Errorf("%w: %d; take 1, or 3 to %d", ErrNodes, nodes, maxNodes)
	}
	return nil
}

// Run serves the app until ctx ends, then stops the nodes and returns nil. It fails
// if the nodes cannot be started, or all have ended.
func Run(ctx context.Context, cfg Config) error {
	cfg.Dir, cfg.Nodes = filepath.Clean(cmp.Or(cfg.Dir, ".")), cmp.Or(cfg.Nodes, 1)
	if cfg.Out == nil {
		cfg.Out = io.Discard
	}
	if err := Check(cfg.Nodes); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(cfg.Dir, app.AppFile)); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s has no %s: name an app's folder, or make one with: orla new", cfg.Dir, app.AppFile)
	}
	home, err := makeHome(cfg.Dir)
	if err != nil {
		return err
	}
	out := newPrinter(cfg)
	plan, err := newPlan(ctx, cfg, home)
	if err != nil {
		return err
	}
	// Nodes outlive ctx: a deploy that runs when it ends is not cut off by them.
	life, stop := context.WithCancel(context.WithoutCancel(ctx))
	var parts sync.WaitGroup
	defer parts.Wait()
	defer stop()
	out.hold()
	nodes, err := start(ctx, life, &parts, plan, cfg, out)
	out.release(err != nil && ctx.Err() == nil)
	if err == nil {
		err = newSession(cfg, out, nodes).run(ctx)
	}
	if ctx.Err() != nil {
		out.say("stopping")
		return nil
	}
	return err
}

// homeName is the folder in the app's folder that nodes keep their data in. Its dot
// keeps it out of releases.
const homeName = ".orla"

// makeHome makes that folder, and has git take no notice of it.
func makeHome(dir string) (string, error) {
	home, err := filepath.Abs(filepath.Join(dir, homeName))
	if err != nil {
		return "", fmt.Errorf("find folder: %w", err)
	}
	if err := os.MkdirAll(home, 0o700); err != nil {
		return "", fmt.Errorf("create a folder for the nodes' data: %w", err)
	}
	ignore := filepath.Join(home, ".gitignore")
	if err := os.WriteFile(ignore, []byte("*\n"), 0o600); err != nil {
		return "", fmt.Errorf("create a folder for the nodes' data: %w", err)
	}
	return home, nil
}
