package benchcluster

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/orla-edge/orla/cluster"
)

// arrivals tells when the last node has applied a change of a key, whose values count up.
type arrivals struct {
	mu   sync.Mutex // guards what follows
	at   []int      // the last value that each node has applied
	goal int
	left int           // nodes that have not reached goal
	done chan struct{} // closed when left is 0
}

const changedKey = "bench"

func newArrivals(nodes int) *arrivals { return &arrivals{at: make([]int, nodes)} }

func (a *arrivals) hear(node int, u cluster.Update) {
	for _, e := range u.Entries {
		if e.Key != changedKey {
			continue
		}
		v, _ := strconv.Atoi(strings.TrimSpace(string(e.Value))) // written below
		a.mu.Lock()
		if a.at[node] < a.goal && v >= a.goal {
			if a.left--; a.left == 0 {
				close(a.done)
			}
		}
		a.at[node] = max(a.at[node], v)
		a.mu.Unlock()
	}
}

// expect returns a channel that is closed when all nodes have applied a value.
func (a *arrivals) expect(value int) <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.goal, a.done, a.left = value, make(chan struct{}), 0
	for _, at := range a.at {
		if at < value {
			a.left++
		}
	}
	if a.left == 0 {
		close(a.done)
	}
	return a.done
}

const (
	// valueBytes is the size of a change.
	valueBytes = 1 << 10
	// budget ends the measuring of one cluster, however slow the machine is.
	budget = 30 * time.Second
)

// changer commits a key at a node, again and again.
type changer struct {
	c        *cluster.Cluster
	revision uint64
	value    int
}

func (c *changer) commit(ctx context.Context) error {
	c.value++
	var err error
	c.revision, err = c.c.Commit(ctx, cluster.Change{Key: changedKey, Value: fmt.Appendf(nil, "%-*d", valueBytes, c.value), Expect: c.revision})
	return err
}

// sizes are the clusters that are measured.
func sizes(b *testing.B) []int {
	b.Helper()
	var out []int
	for s := range strings.FieldsSeq(orDefault(os.Getenv("NODES"), "3 10 50 100 300")) {
		n, err := strconv.Atoi(s)
		must(b, err)
		out = append(out, n)
	}
	return out
}

func orDefault(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// BenchmarkPush is the way of a change to all nodes: of a key from the call of Commit
// until apply has returned on the last one; of a route set from the call of the API until
// it answers that all nodes have staged, acknowledged and swapped. Beside them are one
// message from a hub to another and back, and one write to the hubs' disk.
func BenchmarkPush(b *testing.B) {
	t := &table{head: []string{
		"nodes", "pushes", "round trip", "disk", "key → all applied: p50, p99, max", "processor", "routes → all proven", "of it until all are ready", "until all have swapped", "processor", "p50 over (round trip + disk)", "load",
	}}
	for _, n := range sizes(b) {
		b.Run(fmt.Sprint("nodes=", n), func(b *testing.B) { push(b, n, t) })
	}
	t.print(b)
}

func push(b *testing.B, nodes int, t *table) {
	heard := newArrivals(nodes)
	r := newRig(b, nodes, heard.hear)
	first, second := r.nodes[0], r.nodes[1]
	stop := second.register.Listen(cluster.Hubs, "bench.echo", func(m cluster.Message) { _ = m.Reply(m.Data) })
	defer stop()
	until(b, "the hubs hear each other", func() bool {
		_, err := first.register.Ask(b.Context(), cluster.Hubs, "bench.echo", nil)
		return err == nil
	})
	disk, api, keys := newSyncer(b, r.disk), first.client(), &changer{c: first.register}
	var trip, sync, key, routes, ready, swapped samples
	round := 0
	step := func() {
		round++
		trip.time(func() {
			_, err := first.register.Ask(b.Context(), cluster.Hubs, "bench.echo", make([]byte, 64))
			must(b, err)
		})
		sync.time(func() { disk.sync(b) })
		key.time(func() {
			all := heard.expect(keys.value + 1)
			must(b, keys.commit(b.Context()))
			wait(b, all)
		})
		routes.time(func() {
			p := deploy(b, api, answering("edge", "bench.example", fmt.Sprint(round)))
			if len(p.GetNodes()) != nodes {
				b.Fatalf("%d nodes have it, want %d", len(p.GetNodes()), nodes)
			}
			ready.took, swapped.took = append(ready.took, p.ready), append(swapped.took, p.swapped)
		})
	}
	for range 10 { // connections, caches, the first of everything
		step()
	}
	trip, sync, key, routes, ready, swapped = samples{}, samples{}, samples{}, samples{}, samples{}, samples{}
	for start := time.Now(); b.Loop(); {
		if time.Since(start) < budget {
			step()
		}
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(key.quantile(0.5).Seconds()*1e3, "key-p50-ms")
	b.ReportMetric(routes.quantile(0.5).Seconds()*1e3, "routes-p50-ms")
	b.ReportMetric(routes.quantile(0.99).Seconds()*1e3, "routes-p99-ms")
	floor := trip.quantile(0.5) + sync.quantile(0.5)
	t.add(nodes, len(routes.took), &trip, &sync, &key, short(key.each()), &routes, &ready, &swapped, short(routes.each()),
		fmt.Sprintf("%.1f×, %.1f×", ratio(key.quantile(0.5), floor), ratio(routes.quantile(0.5), floor)), load())
}

func ratio(a, b time.Duration) float64 { return float64(a) / float64(b) }

func wait(b *testing.B, done <-chan struct{}) {
	b.Helper()
	select {
	case <-done:
	case <-time.After(patience):
		b.Fatal("a change has not arrived everywhere")
	}
}
