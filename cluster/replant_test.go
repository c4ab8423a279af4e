package cluster

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/orla-edge/orla/identity"
)

const grownEnv = "ORLA_TEST_CLUSTER_GROWN"

// grownChild is what a process is told that brings a register along.
type grownChild struct {
	Dir, Listen, Secret string
	Join                []string
	Until               string // the step at which it is killed
}

// bringAlong runs a hub until the step, and has it killed there as by kill -9: nothing
// of the process is closed, stopped or written.
func bringAlong(told string) error {
	var child grownChild
	if err := json.Unmarshal([]byte(told), &child); err != nil {
		return err
	}
	secret, err := identity.Parse(child.Secret)
	if err != nil {
		return err
	}
	c, err := New(Config{
		Dir: child.Dir, Node: "h0", Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
		Topology: Topology{Name: "lab", Secret: secret, Listen: child.Listen, Join: child.Join},
		reached: func(step string) {
			if step == child.Until {
				fmt.Println(step)
				syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {}
			}
		},
	})
	if err != nil {
		return err
	}
	return c.Run(context.Background(), func(context.Context, Update) error { return nil })
}

// killBringing runs such a process on the first hub's directory until it is killed.
func (l *lab) killBringing(step string) {
	l.t.Helper()
	told, err := json.Marshal(grownChild{Dir: l.hub(0).Dir, Listen: l.seeds[0], Join: l.seeds, Secret: l.secret.Reveal(), Until: step})
	must(l.t, err)
	ctx, cancel := context.WithTimeout(l.t.Context(), 60*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), grownEnv+"="+string(told))
	log := &logs{}
	cmd.Stderr = log
	out, err := cmd.StdoutPipe()
	must(l.t, err)
	must(l.t, cmd.Start())
	line := bufio.NewScanner(out)
	line.Scan()
	err = cmd.Wait()
	if line.Text() != step {
		l.t.Fatalf("never reached %q: %v\n%s", step, err, log)
	}
}

// A hub that brings a register along is killed at the points of it in turn, and each
// time started again, while the others stay up: they never use a part, and in the end
// all have all of it.
func TestGrowKilled(t *testing.T) {
	t.Parallel()
	l := grownLab(t, t.TempDir())
	cfg := l.hub(0)
	cfg.Topology = Topology{}
	want, _ := fillAlone(t, cfg)
	grown, err := Grow(t.Context(), cfg.Dir, nil)
	must(t, err)
	for i := 2; i > 0; i-- {
		l.hubs = append([]*node{newNode(t, l.hub(i)).run()}, l.hubs...)
	}
	steps := []string{"amid " + kvStream, "amid " + streamName, "after " + streamName, "noted", "finished", "put aside"}
	for _, step := range steps {
		start := time.Now()
		l.killBringing(step)
		t.Logf("killed at %q after %v", step, time.Since(start).Round(time.Millisecond))
		if step == "finished" || step == "put aside" {
			continue
		}
		for _, n := range l.hubs {
			if n.Applied() > 0 || n.Ready() == nil || n.Lost() != "" {
				t.Errorf("killed at %q: %s is at revision %d, %v, lost %q", step, n.cfg.Node, n.Applied(), n.Ready(), n.Lost())
			}
		}
		if whose, err := storeOwner(cfg.Dir); err != nil || whose != storeCluster {
			t.Fatalf("killed at %q: the store is of %q, %v", step, whose, err)
		}
		if _, err := New(cfg); err == nil {
			t.Errorf("killed at %q: starts alone again", step)
		}
	}
	l.hubs = append([]*node{newNode(t, l.hub(0)).run()}, l.hubs...)
	for _, n := range l.hubs {
		n.ready()
	}
	l.carried(want, grown.Revision)
	if old, err := filepath.Glob(filepath.Join(cfg.Dir, "nats-alone-*", "jetstream", "*", "streams", "*")); err != nil || len(old) < 2 {
		t.Errorf("the old store has the streams %v, %v", old, err)
	}
}

// What says whose a store is may be missing, or have been emptied by a power cut.
func TestAStoreOfNobody(t *testing.T) {
	for name, spoil := range map[string]func(file string) error{
		"missing": os.Remove, "empty": func(file string) error { return os.Truncate(file, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			n := start(t, dir)
			rev := n.must(put("k", "v", 0))
			n.wait(rev)
			must(t, n.stop())
			must(t, spoil(filepath.Join(dir, "nats", markerFile)))
			if err := claimStore(filepath.Join(dir, "nats"), hub); err == nil || !strings.Contains(err.Error(), "orla cluster grow") {
				t.Errorf("claimed by a hub: %v", err)
			}
			n = start(t, dir)
			if e, err := n.Get(t.Context(), "k"); err != nil || e.Revision != rev {
				t.Errorf("k = %+v, %v, want revision %d", e, err, rev)
			}
			fresh := filepath.Join(t.TempDir(), "nats")
			must(t, os.MkdirAll(fresh, 0o700))
			must(t, os.WriteFile(filepath.Join(fresh, markerFile), nil, 0o600))
			must(t, claimStore(fresh, hub))
		})
	}
}
