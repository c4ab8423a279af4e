package benchcluster

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/orla-edge/orla/cluster"
	"github.com/orla-edge/orla/dispatch"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

// mostSets is how many route sets BenchmarkScale makes at most: each is a file, two keys
// and a head in the register, and what serves it. A million would be two million files of
// a page each in memory, twice as much heap, and several minutes.
const mostSets = 100_000

// scaleRoutes fills a hub with route sets, changes some, and starts it again.
func scaleRoutes(b *testing.B) {
	t := &table{head: []string{"route sets", "made, a second", "one change of a set, applied", "processor", "memory a set", "loaded from disk", "load"}}
	for range b.N {
		r := prepare(b, 1, nil)
		before := heap()
		dir := filepath.Join(r.memory, "hub")
		hub := r.add(dir)
		r.await()
		have := 0
		for _, n := range counts(b, mostSets) {
			start := time.Now()
			fill(b, hub.register, have, n, func(i int) []cluster.Change { return set(b, hub, i, "first", 0) })
			made := float64(n-have) / time.Since(start).Seconds()
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
			t.add(n, fmt.Sprintf("%.0f", made), &one, short(one.each()), kibi(held, n), short(took), load())
		}
	}
	t.print(b)
}

func kibi(bytes int64, n int) string { return fmt.Sprintf("%.1f KiB", float64(bytes)/1024/float64(n)) }

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

// atOnce is how many releases scaleTable swaps in at a time.
const atOnce = 500

// scaleTable is the table of routes alone, without register, files and catalog.
func scaleTable(b *testing.B) {
	t := &table{head: []string{"route sets", "built and swapped in", "one change of a set: built and swapped", "processor", "memory a set", "load"}}
	for range b.N {
		before := heap()
		d := dispatch.New(dispatch.Config{Node: "bench"})
		have := 0
		for _, n := range counts(b, 1_000_000) {
			var filled samples
			filled.time(func() {
				for have < n {
					var put []dispatch.Group
					for range min(atOnce, n-have) {
						put = append(put, dispatch.Alone(release(b, d, have, 1, "first")))
						have++
					}
					must(b, d.Swap(1, put, nil))
				}
			})
			held := heap() - before
			var one samples
			for i := range oneByOne {
				one.time(func() {
					must(b, d.Swap(2, []dispatch.Group{dispatch.Alone(release(b, d, i, uint64(n), "changed"))}, nil))
				})
			}
			t.add(n, &filled, &one, short(one.each()), kibi(held, n), load())
		}
		d.Close()
		runtime.KeepAlive(d)
	}
	t.print(b)
}

func release(b *testing.B, d *dispatch.Dispatcher, i int, number uint64, body string) *dispatch.Release {
	b.Helper()
	m := answering(fmt.Sprint("set", i), fmt.Sprintf("h%d.example", i), body)
	r, err := d.Build(context.WithoutCancel(b.Context()), dispatch.Spec{Number: number, Manifest: m})
	must(b, err)
	return r
}
