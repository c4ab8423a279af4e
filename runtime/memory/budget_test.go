package memory

import "testing"

// TestNoAppTakesAll: however many apps take what they can get, one that has nothing gets
// something.
func TestNoAppTakesAll(t *testing.T) {
	const all = 1000
	for greedy := range 5 {
		b := &Budget{Max: all}
		shares := make([]*Share, greedy)
		for i := range shares {
			shares[i] = NewShare(b)
		}
		for range all {
			for _, s := range shares {
				s.Take(1)
			}
		}
		if want := int64(all / (portion*greedy + 1)); b.Max-b.Used() < want {
			t.Errorf("%d greedy apps leave %d of %d, want %d", greedy, b.Max-b.Used(), all, want)
		}
		if !NewShare(b).Take(all/(portion*int64(greedy)+1) - 1) {
			t.Errorf("beside %d greedy apps one that has nothing gets nothing", greedy)
		}
		for _, s := range shares {
			s.Give(s.held.Load())
		}
	}
	one := NewShare(&Budget{Max: 1})
	if !one.Take(1) || one.Take(1) {
		t.Error("the only piece goes to who has none, once")
	}
	one.Give(1)
	if one.budget.Used() != 0 {
		t.Error("what was given back is gone")
	}
	free := NewShare(new(Budget))
	for range 2 {
		if !free.Take(1 << 40) {
			t.Error("a budget without a bound is bounded")
		}
	}
}
