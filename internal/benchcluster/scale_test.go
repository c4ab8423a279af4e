package benchcluster

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/orla-edge/orla/cluster"
)

// heap is what the process holds after a collection, in bytes.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// counts are the sizes of BenchmarkScale, of which the variable leaves out the larger.
func counts(b *testing.B, most int) []int {
	b.Helper()
	limit, err := strconv.Atoi(orDefault(os.Getenv("MOST"), strconv.Itoa(most)))
	must(b, err)
	var out []int
	for n := 1000; n <= min(limit, most); n *= 10 {
		out = append(out, n)
	}
	return out
}

// oneByOne is how many changes are made at each size.
const oneByOne = 200

// BenchmarkScale fills a register, then a hub with route sets, then the table of routes
// alone, and at each size changes one after the other: what that takes must not grow. The
// nodes' folders are in memory, so that it is not the disk that is measured.
func BenchmarkScale(b *testing.B) {
	b.Run("keys", scaleKeys)
	b.Run("routes", scaleRoutes)
	b.Run("table", scaleTable)
}

func scaleKeys(b *testing.B) {
	t := &table{head: []string{"keys", "one change applied at a hub and an edge", "processor", "memory a key and node", "an edge loads all from the hub", "from its disk", "load"}}
	for range b.N {
		heard := newArrivals(3)
		r := prepare(b, 1, heard.hear)
		before := heap()
		hub := r.add(filepath.Join(r.memory, "hub"))
		r.await()
		r.add(filepath.Join(r.memory, "edge"))
		r.await()
		keys, have := &changer{c: hub.register}, 0
		heard.at[2] = 1 << 30 // the third is not there all the time
		for _, n := range counts(b, 1_000_000) {
			fill(b, hub.register, have, n, func(i int) []cluster.Change {
				return []cluster.Change{{Key: fmt.Sprint("fill.k", i), Value: make([]byte, 200)}}
			})
			have = n
			await(b, r)
			held := heap() - before
			var one samples
			for range oneByOne {
				one.time(func() {
					all := heard.expect(keys.value + 1)
					must(b, keys.commit(b.Context()))
					wait(b, all)
				})
			}
			dir := filepath.Join(r.memory, fmt.Sprint("late", n))
			stream := r.late(dir)
			disk := r.late(dir)
			t.add(n, &one, short(one.each()), fmt.Sprintf("%d B", held/int64(2*n)), short(stream), short(disk), load())
		}
	}
	t.print(b)
}

// late starts an edge, returns when it has taken over all that it has or is told of, and
// stops it.
func (r *rig) late(dir string) time.Duration {
	r.tb.Helper()
	n := r.add(dir)
	<-n.first
	took := time.Since(n.started)
	r.nodes = r.nodes[:len(r.nodes)-1]
	until(r.tb, "the late node has all", func() bool { return n.register.Applied() >= r.nodes[0].register.Applied() })
	must(r.tb, n.stop())
	return took
}

// await waits until all nodes have applied what the first has.
func await(b *testing.B, r *rig) {
	b.Helper()
	rev := r.nodes[0].register.Applied()
	for _, n := range r.nodes {
		ctx, cancel := context.WithTimeout(b.Context(), patience)
		must(b, n.register.Wait(ctx, rev))
		cancel()
	}
}

// fill commits what make returns for the numbers from one to another, as many changes at
// a time as there may be, while the next are made; it returns when all are applied.
func fill(b *testing.B, c *cluster.Cluster, from, to int, make func(i int) []cluster.Change) {
	b.Helper()
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	batches := batched(ctx, from, to, make)
	var last uint64
	for changes := range batches {
		rev, err := c.Commit(b.Context(), changes...)
		must(b, err)
		last = rev
	}
	must(b, c.Wait(b.Context(), last))
}

// batched makes changes until ctx ends, one batch ahead of who takes them.
func batched(ctx context.Context, from, to int, one func(i int) []cluster.Change) <-chan []cluster.Change {
	batches := make(chan []cluster.Change, 1)
	go func() {
		defer close(batches)
		var changes []cluster.Change
		for i := from; i < to; i++ {
			changes = append(changes, one(i)...)
			if len(changes) < cluster.MaxChanges-1 && i < to-1 { // of which one may be two
				continue
			}
			select {
			case batches <- changes:
			case <-ctx.Done():
				return
			}
			changes = nil
		}
	}()
	return batches
}
