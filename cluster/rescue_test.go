package cluster

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/orla-edge/orla/internal/ports"
)

// hubNamed starts one more hub, with a name and a directory of its own.
func (l *lab) hubNamed(name string) *node {
	l.t.Helper()
	l.seeds = append(l.seeds, ports.Address(l.t))
	cfg := l.hub(len(l.seeds) - 1)
	cfg.Node, cfg.Dir = name, l.t.TempDir()
	return newNode(l.t, cfg).run()
}

func TestRescue(t *testing.T) {
	t.Parallel()
	l := newLab(t, 3, 1)
	want := map[string]string{}
	for i := range 50 {
		key := fmt.Sprint("k", i)
		l.hubs[0].must(put(key, "v", 0))
		want[key] = "v"
	}
	l.everywhere("k49", "v")
	left := l.hubs[0]
	if _, err := left.Rescue(t.Context(), 0); !errors.Is(err, ErrHealthy) {
		t.Fatalf("rescue of a cluster that is well = %v, want ErrHealthy", err)
	}
	for _, n := range l.hubs[1:] {
		must(t, n.stop())
	}
	until(t, "a refusal that names the rescue", func() bool {
		_, err := left.Commit(t.Context(), put("x", "v", 0))
		return errors.Is(err, ErrUnavailable) && strings.Contains(err.Error(), "orla cluster rescue")
	})
	cond, err := left.Condition(t.Context())
	if err != nil || !cond.Stuck() || len(cond.Gone()) != 2 {
		t.Fatalf("condition = %+v, %v, want two hubs gone", cond, err)
	}
	start := time.Now()
	out, err := left.Rescue(t.Context(), 0)
	must(t, err)
	t.Logf("rescued in %v", time.Since(start).Round(time.Millisecond))
	if len(out.Removed) != 2 || out.Remade {
		t.Errorf("rescued = %+v, want two hubs removed, and the register as it was", out)
	}
	rev := left.must(put("back", "yes", 0))
	want["back"] = "yes"
	if e, err := left.Get(t.Context(), "k7"); err != nil || string(e.Value) != "v" {
		t.Errorf("k7 = %+v, %v", e, err)
	}
	// Others take the places of those that are gone, and copies grow back.
	l.hubs = []*node{left, l.hubNamed("new1"), l.hubNamed("new2")}
	for _, n := range l.hubs {
		n.ready()
		n.wait(rev)
		got := n.values()
		delete(got, "x") // what was refused may have been made, and said so
		if !maps.Equal(got, want) {
			t.Errorf("%s has %d keys, want %d", n.cfg.Node, len(got), len(want))
		}
	}
	until(t, "three copies", func() bool {
		s, err := left.jetStream().Stream(t.Context(), streamName)
		if err != nil {
			return false
		}
		info, current := s.CachedInfo(), 0
		if info.Cluster != nil {
			for _, r := range info.Cluster.Replicas {
				if r.Current {
					current++
				}
			}
		}
		return info.Config.Replicas == 3 && current == 2
	})
	must(t, left.stop())
	until(t, "a change without the one that was rescued", func() bool {
		_, err := l.hubs[1].Commit(t.Context(), put("later", "yes", 0))
		return err == nil
	})
}

func TestRescueMakesALostRegisterAnew(t *testing.T) {
	t.Parallel()
	l := newLab(t, 3, 1)
	want, last := l.hubs[0].seed()
	l.everywhere("head.app7", "vhead.app7")
	must(t, l.hubs[0].jetStream().DeleteStream(t.Context(), streamName))
	until(t, "the loss is known", func() bool { return l.hubs[1].Lost() != "" })
	const above = 5000
	out, err := l.hubs[1].Rescue(t.Context(), above)
	must(t, err)
	if !out.Remade || out.Revision <= above || len(out.Removed) > 0 {
		t.Errorf("rescued = %+v, want a new register above %d", out, above)
	}
	for _, n := range l.all() {
		n.ready()
		n.wait(out.Revision)
		if got := n.values(); !maps.Equal(got, want) {
			t.Errorf("%s has %v, want %v", n.cfg.Node, got, want)
		}
		n.served(want)
	}
	if rev := l.hubs[2].must(put("next", "v", 0)); rev <= max(above, last) {
		t.Errorf("the next revision is %d, want more than %d", rev, above)
	}
	l.everywhere("next", "v")
}

// What was interrupted half-way is not taken for the register, and can be done again.
func TestRescueInterrupted(t *testing.T) {
	t.Parallel()
	l := newLab(t, 3, 0)
	want, last := l.hubs[0].seed()
	l.everywhere("head.app7", "vhead.app7")
	js := l.hubs[0].jetStream()
	must(t, js.DeleteStream(t.Context(), streamName))
	until(t, "the loss is known", func() bool { return l.hubs[0].Lost() != "" && l.hubs[1].Lost() != "" && l.hubs[2].Lost() != "" })
	cfg := bucketConfig(l.hubs[0].synced.pos.bucket.next(), last+100, 3)
	cfg.Metadata[metaUnfinished] = "1"
	_, err := js.CreateStream(t.Context(), cfg)
	must(t, err)
	until(t, "the half is known", func() bool { return strings.Contains(l.hubs[2].Lost(), "being made anew") })
	for _, n := range l.hubs {
		if got := n.values(); !maps.Equal(got, want) {
			t.Errorf("%s serves %v, want %v", n.cfg.Node, got, want)
		}
	}
	out, err := l.hubs[2].Rescue(t.Context(), 0)
	if err != nil || !out.Remade {
		t.Fatalf("rescued = %+v, %v", out, err)
	}
	for _, n := range l.hubs {
		n.ready()
		n.served(want)
	}
}

func TestForget(t *testing.T) {
	t.Parallel()
	l := newLab(t, 3, 0)
	rev := l.hubs[0].must(put("k", "v", 0))
	l.everywhere("k", "v")
	if err := l.hubs[0].Forget(t.Context(), "h2"); !errors.Is(err, ErrHealthy) {
		t.Errorf("forget a hub that runs = %v, want ErrHealthy", err)
	}
	if err := l.hubs[0].Forget(t.Context(), "nobody"); !errors.Is(err, ErrNoHub) {
		t.Errorf("forget nobody = %v, want ErrNoHub", err)
	}
	must(t, l.hubs[2].stop())
	must(t, l.hubs[0].Forget(t.Context(), "h2"))
	until(t, "two hubs", func() bool {
		cond, err := l.hubs[1].Condition(t.Context())
		return err == nil && len(cond.Hubs) == 2 && !cond.Stuck()
	})
	l.hubs[2] = l.hubNamed("h9")
	l.hubs[2].ready()
	l.hubs[2].wait(rev)
	next := l.hubs[1].must(put("k", "w", rev))
	l.everywhere("k", "w")
	if next <= rev {
		t.Errorf("revision %d after %d", next, rev)
	}
}
