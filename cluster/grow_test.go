package cluster

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/orla-edge/orla/identity"
	"github.com/orla-edge/orla/internal/ports"
)

// fillAlone runs a node alone in dir, or as an only hub, with a thousand keys of which
// some are gone, and values of guests; it returns what is in it.
func fillAlone(t *testing.T, cfg Config) (entries map[string]Entry, last uint64) {
	t.Helper()
	n := newNode(t, cfg).run()
	n.ready()
	for page := range 10 {
		var changes []Change
		for i := range 100 {
			changes = append(changes, put(fmt.Sprintf("k%d", page*100+i), fmt.Sprint("v", i), 0))
		}
		last = n.must(changes...)
	}
	n.wait(last)
	for i := range 20 {
		n.mu.Lock()
		e := n.entries[fmt.Sprint("k", i*7)]
		n.mu.Unlock()
		last = n.must(Change{Key: e.Key, Expect: e.Revision})
		n.wait(last)
	}
	kv := NewKV(n.Cluster, KVConfig{})
	for i := range 50 {
		_, err := kv.Put(t.Context(), "app", "store", fmt.Sprint("key ", i), []byte(fmt.Sprint("value ", i)), KVPut{})
		must(t, err)
	}
	must(t, n.stop())
	n.mu.Lock()
	defer n.mu.Unlock()
	return maps.Clone(n.entries), last
}

func grownLab(t *testing.T, dir string) *lab {
	t.Helper()
	l := &lab{t: t, dir: dir, secret: identity.New()}
	for range 3 {
		l.seeds = append(l.seeds, ports.Address(t))
	}
	return l
}

// The fresh hubs start first, and must not make a register of their own.
func TestGrow(t *testing.T) {
	for _, kind := range []string{"alone", "only hub"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			l := grownLab(t, t.TempDir())
			cfg := l.hub(0)
			cfg.Topology.Join = nil
			if kind == "alone" {
				cfg.Topology = Topology{}
			}
			want, last := fillAlone(t, cfg)
			if _, err := New(l.hub(0)); !errors.Is(err, ErrStore) {
				t.Fatalf("a hub on the store of one alone: %v, want ErrStore", err)
			}
			got, err := Grow(t.Context(), cfg.Dir, nil)
			must(t, err)
			if got.Revision < last || got.Again {
				t.Errorf("Grow = %+v, want revision %d or more", got, last)
			}
			if _, err := New(cfg); !errors.Is(err, ErrStore) {
				t.Errorf("alone again: %v, want ErrStore", err)
			}
			for i := range []int{2, 1, 0} {
				l.hubs = append([]*node{newNode(t, l.hub(2-i)).run()}, l.hubs...)
			}
			for _, n := range l.hubs {
				n.ready()
			}
			l.carried(want, got.Revision)
		})
	}
}

// carried checks that all hubs have what the node that was alone had, with its
// revisions, and that changes go on from there.
func (l *lab) carried(want map[string]Entry, last uint64) {
	l.t.Helper()
	for _, n := range l.hubs {
		n.wait(last)
		n.mu.Lock()
		got := maps.Clone(n.entries)
		n.mu.Unlock()
		for key, e := range want {
			if g := got[key]; g.Revision != e.Revision || string(g.Value) != string(e.Value) {
				l.t.Fatalf("%s at %s is %q at %d, was %q at %d", key, n.cfg.Node, g.Value, g.Revision, e.Value, e.Revision)
			}
		}
		if len(got) != len(want) {
			l.t.Errorf("%s has %d keys, want %d", n.cfg.Node, len(got), len(want))
		}
		if has(n.log.String(), "was lost", "made anew", "in doubt") {
			l.t.Errorf("%s raised an alarm", n.cfg.Node)
		}
	}
	info, err := l.hubs[1].jetStream().Stream(l.t.Context(), streamName)
	must(l.t, err)
	if r := info.CachedInfo().Config.Replicas; r != 3 {
		l.t.Errorf("%d replicas, want 3", r)
	}
	kv := NewKV(l.hubs[2].Cluster, KVConfig{})
	until(l.t, "a guest has its value", func() bool { // a hub that led them may just have been killed
		v, _, err := kv.Get(l.t.Context(), "app", "store", "key 7")
		if err != nil && !errors.Is(err, ErrUnavailable) || err == nil && string(v) != "value 7" {
			l.t.Fatalf("a guest's value = %q, %v", v, err)
		}
		return err == nil
	})
	before := l.hubs[1].must(put("k1", "new", want["k1"].Revision))
	if before <= last {
		l.t.Errorf("the next change has revision %d, the last had %d", before, last)
	}
	for _, n := range l.hubs {
		n.wait(before)
	}
}

// The last step of growing may be any of them: doing it again, or taking it back, works.
func TestGrowInterrupted(t *testing.T) {
	halt := errors.New("halt")
	for _, step := range []string{"write plan", "rename snapshots", "put the store aside", "claim", ""} {
		t.Run("before "+step, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			n := start(t, dir)
			rev := n.must(put("k", "v", 0))
			n.wait(rev)
			must(t, n.stop())
			g := &growth{dir: dir, stop: func(before string) error {
				if before == step {
					return halt
				}
				return nil
			}}
			if _, err := g.run(t.Context()); step != "" && !errors.Is(err, halt) {
				t.Fatalf("grow = %v, was to be stopped before %q", err, step)
			}
			again := t.TempDir()
			must(t, os.CopyFS(again, os.DirFS(dir)))
			got, err := Grow(t.Context(), again, nil)
			must(t, err)
			if got.Revision < rev {
				t.Errorf("grown again = %+v, want revision %d", got, rev)
			}
			if p, ok, err := readPlan(again); !ok || err != nil || p.bucket() == "" {
				t.Errorf("plan = %+v, %v, %v", p, ok, err)
			}
			early := step == "write plan" || step == "rename snapshots" // nothing to take back
			if err := Ungrow(dir); err != nil && (!early || !errors.Is(err, ErrNotAlone)) {
				t.Errorf("taken back: %v", err)
			}
			n = start(t, dir)
			if e, err := n.Get(t.Context(), "k"); err != nil || e.Revision != rev {
				t.Errorf("alone again: k = %+v, %v, want revision %d", e, err, rev)
			}
			if has(n.log.String(), "was lost") {
				t.Error("the register was lost")
			}
		})
	}
}

func TestGrowRefuses(t *testing.T) {
	running := start(t, t.TempDir())
	if _, err := Grow(t.Context(), running.cfg.Dir, nil); !errors.Is(err, ErrInUse) {
		t.Errorf("while a node runs: %v, want ErrInUse", err)
	}
	hubDir := t.TempDir()
	must(t, claimStore(filepath.Join(hubDir, "nats"), hub))
	for name, dir := range map[string]string{"a hub": hubDir, "an empty directory": t.TempDir(), "no directory": filepath.Join(hubDir, "x")} {
		if _, err := Grow(t.Context(), dir, nil); !errors.Is(err, ErrNotAlone) {
			t.Errorf("%s: %v, want ErrNotAlone", name, err)
		}
	}
	if err := Ungrow(hubDir); !errors.Is(err, ErrNotAlone) {
		t.Errorf("undo of nothing: %v, want ErrNotAlone", err)
	}
	used := t.TempDir()
	n := start(t, used)
	n.must(put("k", "v", 0))
	must(t, n.stop())
	_, err := Grow(t.Context(), used, nil)
	must(t, err)
	must(t, os.Mkdir(filepath.Join(used, "nats", "jetstream"), 0o700))
	if err := Ungrow(used); !errors.Is(err, ErrNotAlone) {
		t.Errorf("undo after a start as a hub: %v, want ErrNotAlone", err)
	}
}

// has reports whether any of the words is in text.
func has(text string, words ...string) bool {
	return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(text, w) })
}
