package benchcluster

import (
	"testing"
	"time"
)

// rowNodes and rowChanges are what BenchmarkRow is of.
const (
	rowNodes   = 100
	rowChanges = 1000
)

// BenchmarkRow makes a thousand changes, each as soon as the one before is acknowledged,
// and tells how far the last node is behind after the last of them.
func BenchmarkRow(b *testing.B) {
	heard := newArrivals(rowNodes)
	r := newRig(b, rowNodes, heard.hear)
	keys := &changer{c: r.nodes[0].register}
	t := &table{head: []string{"nodes", "changes", "all acknowledged", "the last node is behind by", "processor, a change", "load"}}
	for b.Loop() {
		all := heard.expect(keys.value + rowChanges)
		cpu, start := processorTime(), time.Now()
		for range rowChanges {
			must(b, keys.commit(b.Context()))
		}
		acknowledged := time.Now()
		wait(b, all)
		t.add(rowNodes, rowChanges, short(acknowledged.Sub(start)), short(time.Since(acknowledged)), short((processorTime()-cpu)/rowChanges), load())
	}
	t.print(b)
}
