package dispatch

import (
	"fmt"
	"runtime"
	"testing"
)

// bytesOf is what f allocates, on average.
func bytesOf(times int, f func(i int)) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for i := range times {
		f(i)
	}
	runtime.ReadMemStats(&after)
	return (after.TotalAlloc - before.TotalAlloc) / uint64(times)
}

// To replace a release, to add one and to take one off costs what changes, however many
// others there are.
func TestSwapCostsTheChangeOnly(t *testing.T) {
	const times = 50
	cost := func(others int) map[string]uint64 {
		d := newDispatcher(t)
		put := make([]*Release, others)
		for i := range others {
			put[i] = build(t, d, 1, fmt.Sprint("set", i), fmt.Sprintf("h%d.example", i), respondRoute("/*", "first"))
		}
		swap(t, d, 1, put...)
		another := func(number uint64, name, host string) []Group {
			return groups(build(t, d, number, name, host, respondRoute("/*", "next")))
		}
		replaced, added := make([][]Group, times), make([][]Group, times)
		for i := range times {
			replaced[i] = another(2, fmt.Sprint("set", i), fmt.Sprintf("h%d.example", i))
			added[i] = another(1, fmt.Sprint("new", i), fmt.Sprintf("new%d.example", i))
		}
		must := func(err error) {
			if err != nil {
				t.Error(err)
			}
		}
		return map[string]uint64{
			"to replace a release": bytesOf(times, func(i int) { must(d.Swap(2, replaced[i], nil)) }),
			"to add one":           bytesOf(times, func(i int) { must(d.Swap(3, added[i], nil)) }),
			"to take one off":      bytesOf(times, func(i int) { must(d.Swap(4, nil, []string{fmt.Sprint("new", i)})) }),
		}
	}
	few, many := cost(100), cost(5000)
	for what, bytes := range many {
		// One level more of the hosts' trie, and a map of names that doubles now and then; a
		// copy of any list of all would be 40 KB and more.
		if bytes > few[what]+8<<10 {
			t.Errorf("%s beside 5,000 others allocates %d bytes, beside 100 %d", what, bytes, few[what])
		}
	}
}
