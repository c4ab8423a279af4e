package benchcluster

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/orla-edge/orla/cluster"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
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

// BenchmarkScale fills a register, and then a table of route sets, and at each size
// changes one key after the other: what that takes must not grow. The nodes' folders are
// in memory, so that it is not the disk that is measured.
func BenchmarkScale(b *testing.B) {
	b.Run("keys", scaleKeys)
	b.Run("routes", scaleRoutes)
}

func scaleKeys(b *testing.B) {
	t := &table{head: []string{"keys", "one change applied at a hub and an edge", "processor", "memory a key and node", "an edge loads all from the stream", "from its disk", "load"}}
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

// fill commits what make returns for the numbers from one to another.
func fill(b *testing.B, c *cluster.Cluster, from, to int, make func(i int) []cluster.Change) {
	b.Helper()
	var changes []cluster.Change
	for i := from; i < to; i++ {
		changes = append(changes, make(i)...)
		if len(changes) >= cluster.MaxChanges-10 || i == to-1 {
			rev, err := c.Commit(b.Context(), changes...)
			must(b, err)
			must(b, c.Wait(b.Context(), rev))
			changes = nil
		}
	}
}

func scaleRoutes(b *testing.B) {
	t := &table{head: []string{"route sets", "one change of a set, applied", "processor", "memory a set", "loaded from disk", "load"}}
	for range b.N {
		r := prepare(b, 1, nil)
		before := heap()
		dir := filepath.Join(r.memory, "hub")
		hub := r.add(dir)
		r.await()
		have := 0
		for _, n := range counts(b, 100_000) {
			fill(b, hub.register, have, n, func(i int) []cluster.Change { return set(b, hub, i, "first", 0) })
			have = n
			held := heap() - before
			var one samples
			for i := range oneByOne {
				e, err := hub.register.Get(b.Context(), setKey(i))
				must(b, err)
				change := set(b, hub, i, fmt.Sprint("at ", n), e.Revision)[0]
				one.time(func() {
					rev, err := hub.register.Commit(b.Context(), change)
					must(b, err)
					must(b, hub.register.Wait(b.Context(), rev))
				})
			}
			must(b, hub.stop())
			r.nodes = nil
			hub = r.add(dir)
			<-hub.first
			took := time.Since(hub.started)
			if live := len(hub.table.Live()); live != n {
				b.Fatalf("%d sets are live, want %d", live, n)
			}
			r.await()
			t.add(n, &one, short(one.each()), fmt.Sprintf("%.1f KiB", float64(held)/1024/float64(n)), short(took), load())
		}
	}
	t.print(b)
}

func setKey(i int) string { return fmt.Sprint("head.set", i) }

// set is the change that makes a route set live, and at revision 0 the claim of its host.
func set(b *testing.B, n *node, i int, body string, revision uint64) []cluster.Change {
	b.Helper()
	name, host := strings.TrimPrefix(setKey(i), "head."), fmt.Sprintf("h%d.example", i)
	m, err := proto.MarshalOptions{Deterministic: true}.Marshal(answering(name, host, body))
	must(b, err)
	digest, err := n.blobs.Put(m)
	must(b, err)
	number := revision + 1
	head, err := proto.Marshal(&orlav1.Head{
		Name: name, Kind: orlav1.Kind_KIND_ROUTES, Live: number, Changed: timestamppb.Now(),
		Releases: []*orlav1.Release{{Number: number, Digest: digest.String(), Created: timestamppb.Now()}},
	})
	must(b, err)
	changes := []cluster.Change{{Key: setKey(i), Value: head, Expect: revision}}
	if revision == 0 {
		changes = append(changes, cluster.Change{Key: "host." + host, Value: []byte(name)})
	}
	return changes
}
