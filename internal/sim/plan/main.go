// Command plan is `make sim`: it measures this machine, compares a real run with a
// simulated one, and prints what happens at thousands of nodes, as Markdown.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"time"

	"github.com/orla-edge/orla/internal/sim"
	"github.com/orla-edge/orla/internal/sim/measure"
)

// child is the argument that makes this program a server that is measured.
const child = "server"

func main() {
	if len(os.Args) == 2 && os.Args[1] == child {
		exit(measure.Serve(os.Stdin, os.Stdout))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	exit(run(ctx))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "sim:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func run(ctx context.Context) error {
	seed := flag.Uint64("seed", 1, "of the simulation: the same seed and costs print the same figures")
	changes := flag.Int("changes", 100, "to play in each scenario")
	edges := flag.Int("edges", 100, "to connect for real")
	costs := flag.String("costs", "", "file to write the measured costs to; if it exists, they are read from it and nothing is measured")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q; see -help", flag.Arg(0))
	}
	p, err := obtain(ctx, *costs, *edges)
	if err != nil {
		return err
	}
	printCosts(p)
	debug.SetGCPercent(800) // short lives, and little at a time
	return plan{p: p, seed: *seed, changes: *changes}.print()
}

// obtain reads the costs, or measures and writes them.
func obtain(ctx context.Context, file string, edges int) (p sim.Params, err error) {
	if file != "" {
		b, err := os.ReadFile(file) //nolint:gosec // named by whoever runs this
		if err == nil {
			return p, json.Unmarshal(b, &p)
		}
		if !errors.Is(err, os.ErrNotExist) {
			return p, err
		}
	}
	report := func(step string) { fmt.Fprintln(os.Stderr, "measuring:", step) }
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute) // a child that hangs is killed
	defer cancel()
	p, checks, err := measure.Run(ctx, measure.Config{Args: []string{child}, Edges: edges, Report: report})
	if err != nil {
		return p, err
	}
	printChecks(checks)
	if file == "" {
		return p, nil
	}
	b, err := json.Marshal(p)
	if err != nil {
		return p, err
	}
	return p, os.WriteFile(file, b, 0o600)
}
