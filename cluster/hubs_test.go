package cluster

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/orla-edge/orla/identity"
	"github.com/orla-edge/orla/internal/ports"
)

// lab is a cluster on this machine.
type lab struct {
	t      *testing.T
	dir    string
	secret identity.Secret
	seeds  []string
	hubs   []*node
	edges  []*node
}

func (l *lab) hub(i int) Config {
	return Config{
		Dir: filepath.Join(l.dir, fmt.Sprint("h", i)), Node: fmt.Sprint("h", i),
		Topology: Topology{Name: "lab", Secret: l.secret, Listen: l.seeds[i], Join: []string{l.seeds[0]}},
	}
}

func (l *lab) edge(i int) Config {
	return Config{
		Dir: filepath.Join(l.dir, fmt.Sprint("e", i)), Node: fmt.Sprint("e", i),
		Topology: Topology{Name: "lab", Secret: l.secret.Edge(), Join: []string{l.seeds[i%len(l.seeds)]}},
	}
}

// newLab runs a cluster of so many hubs and edges, and waits until all follow the
// register. One seed is all that they are told.
func newLab(t *testing.T, hubs, edges int) *lab {
	t.Helper()
	return newLabWith(t, hubs, edges, func(*Config) {})
}

// newLabWith is newLab with something else about each node.
func newLabWith(t *testing.T, hubs, edges int, change func(*Config)) *lab {
	t.Helper()
	l := &lab{t: t, dir: t.TempDir(), secret: identity.New()}
	for range hubs {
		l.seeds = append(l.seeds, ports.Address(t))
	}
	for i := range hubs {
		cfg := l.hub(i)
		if hubs == 1 {
			cfg.Topology.Join = nil
		}
		change(&cfg)
		l.hubs = append(l.hubs, newNode(t, cfg).run())
	}
	for i := range edges {
		cfg := l.edge(i)
		change(&cfg)
		l.edges = append(l.edges, newNode(t, cfg).run())
	}
	for _, n := range l.all() {
		n.ready()
	}
	return l
}

func (l *lab) all() []*node { return append(append([]*node(nil), l.hubs...), l.edges...) }

// everywhere waits until every node has the value.
func (l *lab) everywhere(key, value string) {
	l.t.Helper()
	for _, n := range l.all() {
		until(l.t, n.cfg.Node+" has "+key+"="+value, func() bool { return n.values()[key] == value })
	}
}

func TestHubsAndEdgesFollowOneRegister(t *testing.T) {
	for _, hubs := range []int{1, 3} {
		t.Run(fmt.Sprint(hubs), func(t *testing.T) {
			t.Parallel()
			l := newLab(t, hubs, 2)
			var rev uint64
			for i, n := range l.hubs {
				rev = n.must(put("k", fmt.Sprint("from ", i), rev))
				l.everywhere("k", fmt.Sprint("from ", i))
			}
			if _, err := l.edges[0].Commit(t.Context(), put("k", "evil", rev)); !errors.Is(err, ErrReadOnly) || !errors.Is(err, ErrUnavailable) {
				t.Errorf("Commit at an edge = %v, want ErrReadOnly", err)
			}
			for _, n := range l.all() {
				e, err := n.Get(t.Context(), "k")
				if n.kind != edge && (err != nil || e.Revision != rev) {
					t.Errorf("Get at %s = %+v, %v, want revision %d", n.cfg.Node, e, err, rev)
				}
			}
		})
	}
}

// What an edge's key can do to the hubs is what their servers let it, not what its
// own code leaves out.
func TestAnEdgeCannotWrite(t *testing.T) {
	l := newLab(t, 1, 1)
	rev := l.hubs[0].must(put("k", "v", 0))
	l.everywhere("k", "v")
	nc := l.edges[0].bus.conn()
	for _, subject := range []string{subjectPrefix + "k", "$KV.orla.k", republished + "k", toAll + "x"} {
		must(t, nc.Publish(subject, []byte("evil")))
	}
	for _, ask := range []string{"STREAM.DELETE.KV_orla", "STREAM.PURGE.KV_orla", "STREAM.UPDATE.KV_orla", "STREAM.CREATE.x"} {
		if m, err := nc.Request("$JS.hub.API."+ask, []byte("{}"), 300*time.Millisecond); err == nil {
			t.Errorf("%s was answered: %s", ask, m.Data)
		}
	}
	heard := make(chan Message, 1)
	stop := l.hubs[0].Listen(All, "x", func(m Message) { heard <- m })
	defer stop()
	next := l.hubs[0].must(put("k", "w", rev))
	l.everywhere("k", "w")
	e, err := l.hubs[0].Get(t.Context(), "k")
	if err != nil || e.Revision != next || string(e.Value) != "w" {
		t.Errorf("k = %+v, %v", e, err)
	}
	select {
	case m := <-heard:
		t.Errorf("an edge spoke to all: %s", m.Data)
	default:
	}
}

func TestStrangersStayOutside(t *testing.T) {
	l := newLab(t, 1, 0)
	cfg := l.edge(0)
	cfg.Topology.Secret = identity.New().Edge()
	n := newNode(t, cfg).run()
	until(t, "refused", func() bool { return strings.Contains(n.log.String(), "level=ERROR") || n.Ready() != nil })
	if _, err := n.Get(t.Context(), "k"); !errors.Is(err, ErrUnavailable) {
		t.Errorf("Get = %v, want ErrUnavailable", err)
	}
}

func TestMessagesBetweenNodes(t *testing.T) {
	t.Parallel()
	l := newLab(t, 3, 1)
	got := make(chan string, 10)
	for _, n := range l.all() {
		stop := n.Listen(All, "hello", func(m Message) { got <- n.cfg.Node + string(m.Data) })
		defer stop()
		if n.kind != edge {
			stop := n.Listen(Hubs, "ask", func(m Message) {
				if n == l.hubs[1] {
					must(t, m.Reply([]byte("answer")))
				}
			})
			defer stop()
		}
	}
	// An edge's interest takes a moment to reach the hubs.
	until(t, "the edge hears", func() bool {
		must(t, l.hubs[2].Send(All, "hello", nil))
		for {
			select {
			case name := <-got:
				if name == "e0" {
					return true
				}
			case <-time.After(20 * time.Millisecond):
				return false
			}
		}
	})
	answer, err := l.edges[0].Ask(t.Context(), Hubs, "ask", []byte("?"))
	if err != nil || string(answer) != "answer" {
		t.Errorf("Ask = %q, %v", answer, err)
	}
}

func TestHubsRestart(t *testing.T) {
	t.Parallel()
	l := newLab(t, 3, 1)
	rev := l.hubs[0].must(put("k", "1", 0))
	l.everywhere("k", "1")
	for i := range l.hubs {
		must(t, l.hubs[i].stop())
		other := l.hubs[(i+1)%3]
		until(t, "a change with one hub away", func() bool {
			next, err := other.Commit(t.Context(), put("k", fmt.Sprint("without ", i), rev))
			if err == nil {
				rev = next
			}
			return err == nil
		})
		l.hubs[i] = newNode(t, l.hub(i)).run()
		l.hubs[i].ready()
		l.everywhere("k", fmt.Sprint("without ", i))
	}
	for _, n := range l.hubs { // all at once
		must(t, n.stop())
	}
	for i := range l.hubs {
		l.hubs[i] = newNode(t, l.hub(i)).run()
	}
	for _, n := range l.hubs {
		n.ready()
	}
	l.hubs[0].must(put("k", "again", rev))
	l.everywhere("k", "again")
}

// However long a node has heard nothing, also since always, it asks again soon.
func TestSilenceHasItsLimits(t *testing.T) {
	for _, silence := range []time.Duration{-1, 0, 1, time.Second, time.Hour, 1<<62 + 1, 1<<63 - 1} {
		if wait := askAfter(silence); wait < checkEvery || wait > checkEvery+longestBackoff {
			t.Errorf("askAfter(%v) = %v", silence, wait)
		}
	}
	if _, age := newNode(t, Config{Dir: t.TempDir(), Topology: Topology{NATS: &NATS{URL: "nats://127.0.0.1:1"}}}).Beat(); age > time.Minute {
		t.Errorf("a node that starts has heard nothing for %v", age)
	}
}
