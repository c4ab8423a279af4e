package router

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestHostsLookup(t *testing.T) {
	var hosts Hosts[int]
	for i, pattern := range []string{"example", "shop.example", "*.example", "*.shop.example", "[::1]", "10.0.0.5"} {
		hosts = hosts.With(pattern, i)
	}
	all := hosts.With("*", 9)
	for _, tt := range []struct {
		hosts         Hosts[int]
		host, pattern string
		value         int
	}{
		{hosts, "example", "example", 0},
		{hosts, "shop.example", "shop.example", 1},
		{hosts, "a.example", "*.example", 2},
		{hosts, "b.a.example", "*.example", 2},
		{hosts, "a.shop.example", "*.shop.example", 3},
		{hosts, "b.a.shop.example", "*.shop.example", 3},
		{hosts, "ashop.example", "*.example", 2},
		{hosts, "[::1]", "[::1]", 4},
		{hosts, "10.0.0.5", "10.0.0.5", 5},
		{hosts, "0.0.5", "", 0},
		{hosts, "other", "", 0},
		{hosts, "example.other", "", 0},
		{hosts, "", "", 0},
		{hosts, "*", "", 0},
		{all, "other", "*", 9},
		{all, "a.b.c.other", "*", 9},
		{all, "a.example", "*.example", 2},
		{all, "", "*", 9},
		{Hosts[int]{}, "example", "", 0},
	} {
		v, pattern, ok := tt.hosts.Lookup(tt.host)
		if v != tt.value || pattern != tt.pattern || ok != (tt.pattern != "") {
			t.Errorf("Lookup(%q) = %d, %q, %t, want %d, %q", tt.host, v, pattern, ok, tt.value, tt.pattern)
		}
	}
	if n := testing.AllocsPerRun(100, func() { all.Lookup("a.b.c.shop.example"); all.Lookup("a.b.c.other") }); n != 0 {
		t.Errorf("Lookup allocates %v times", n)
	}
}

func TestHostsVersionsAreIndependent(t *testing.T) {
	var empty Hosts[string]
	one := empty.With("a.example", "old")
	two := one.With("a.example", "new").With("*", "all")
	three := two.Without("a.example").Without("not.there")
	for _, tt := range []struct {
		hosts Hosts[string]
		want  map[string]string
	}{
		{empty, map[string]string{}},
		{empty.Without("a.example"), map[string]string{}},
		{one, map[string]string{"a.example": "old"}},
		{two, map[string]string{"a.example": "new", "*": "all"}},
		{three, map[string]string{"*": "all"}},
		{three.Without("*").With("b.example", "again"), map[string]string{"b.example": "again"}},
	} {
		if got := maps.Collect(tt.hosts.All()); !maps.Equal(got, tt.want) || tt.hosts.Len() != len(tt.want) {
			t.Errorf("hosts = %v with Len %d, want %v", got, tt.hosts.Len(), tt.want)
		}
	}
	if v, ok := two.Get("a.example"); v != "new" || !ok {
		t.Errorf("Get = %q, %t, want new", v, ok)
	}
	if _, ok := two.Get("b.example"); ok {
		t.Error("Get finds by wildcard, want the pattern itself only")
	}
}

func TestHostsAllIsSortedAndStops(t *testing.T) {
	var hosts Hosts[int]
	var want []string
	for i := range 100 {
		pattern := fmt.Sprintf("h%02d.example", i)
		want = append(want, pattern)
		hosts = hosts.With(pattern, i)
	}
	var got []string
	for pattern := range hosts.All() {
		if got = append(got, pattern); len(got) == 50 {
			break
		}
	}
	if !slices.Equal(got, want[:50]) {
		t.Errorf("All = %q", got)
	}
}

// slowLookup looks at every pattern.
func slowLookup(m map[string]int, host string) (v int, pattern string, ok bool) {
	if v, ok = m[host]; ok && host != "*" {
		return v, host, true
	}
	for p := range m {
		if suffix, wild := strings.CutPrefix(p, "*"); wild && strings.HasSuffix(host, suffix) && len(p) > len(pattern) {
			v, pattern, ok = m[p], p, true
		}
	}
	return v, pattern, ok
}

func TestHostsAreAsAMap(t *testing.T) {
	label := rapid.SampledFrom([]string{"a", "b", "c"})
	name := rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(label, 1, 4).Draw(t, "labels"), ".")
	})
	pattern := rapid.Custom(func(t *rapid.T) string {
		switch rapid.IntRange(0, 9).Draw(t, "kind") {
		case 0:
			return "*"
		case 1, 2, 3:
			return "*." + name.Draw(t, "name")
		}
		return name.Draw(t, "name")
	})
	rapid.Check(t, func(t *rapid.T) {
		var hosts Hosts[int]
		model := map[string]int{}
		type version struct {
			hosts Hosts[int]
			model map[string]int
		}
		var versions []version
		t.Repeat(map[string]func(*rapid.T){
			"with": func(t *rapid.T) {
				p, v := pattern.Draw(t, "pattern"), rapid.IntRange(1, 1000).Draw(t, "value")
				hosts = hosts.With(p, v)
				model[p] = v
			},
			"without": func(t *rapid.T) {
				p := pattern.Draw(t, "pattern")
				hosts = hosts.Without(p)
				delete(model, p)
			},
			"lookup": func(t *rapid.T) {
				host := name.Draw(t, "host")
				v, p, ok := hosts.Lookup(host)
				wantV, wantP, wantOK := slowLookup(model, host)
				if v != wantV || p != wantP || ok != wantOK {
					t.Fatalf("Lookup(%q) = %d, %q, %t, want %d, %q, %t", host, v, p, ok, wantV, wantP, wantOK)
				}
			},
			"keep": func(*rapid.T) { versions = append(versions, version{hosts, maps.Clone(model)}) },
			"": func(t *rapid.T) {
				if hosts.Len() != len(model) {
					t.Fatalf("Len = %d, want %d", hosts.Len(), len(model))
				}
			},
		})
		for _, v := range append(versions, version{hosts, model}) {
			if got := maps.Collect(v.hosts.All()); !maps.Equal(got, v.model) {
				t.Fatalf("All = %v, want %v", got, v.model)
			}
		}
	})
}

// TestTrieWithPoorHashes has keys share slots, branches and whole hashes.
func TestTrieWithPoorHashes(t *testing.T) {
	for _, tt := range []struct {
		name string
		hash func(key uint64) uint64
	}{
		{"all the same", func(uint64) uint64 { return 42 }},
		{"three", func(k uint64) uint64 { return k % 3 }},
		{"differ in the last level only", func(k uint64) uint64 { return k << 60 }},
		{"differ in the middle", func(k uint64) uint64 { return k % 7 << 30 }},
		{"good", func(k uint64) uint64 { return k * 0x9E3779B97F4A7C15 }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				var tr trie[uint64]
				model := map[string]uint64{}
				for range rapid.IntRange(0, 60).Draw(t, "steps") {
					k := rapid.Uint64Range(0, 20).Draw(t, "key")
					key, hash := fmt.Sprint(k), tt.hash(k)
					if rapid.Bool().Draw(t, "with") {
						v := rapid.Uint64().Draw(t, "value")
						tr = tr.with(&leaf[uint64]{hash: hash, key: key, value: v})
						model[key] = v
					} else {
						tr = tr.without(hash, key)
						delete(model, key)
					}
					checkTrie(t, tr, model, tt.hash)
				}
			})
		})
	}
}

func checkTrie(t *rapid.T, tr trie[uint64], model map[string]uint64, hash func(uint64) uint64) {
	got := map[string]uint64{}
	tr.root.each(func(l *leaf[uint64]) { got[l.key] = l.value })
	if !maps.Equal(got, model) || tr.size != len(model) || (tr.root == nil) != (len(model) == 0) {
		t.Fatalf("trie = %v of size %d, want %v", got, tr.size, model)
	}
	for k := range uint64(21) {
		l := tr.get(hash(k), fmt.Sprint(k))
		want, ok := model[fmt.Sprint(k)]
		if (l != nil) != ok || ok && l.value != want {
			t.Fatalf("get(%d) = %v, want %d, %t", k, l, want, ok)
		}
	}
}

// branches returns those of a version.
func (b *branch[T]) branches(into map[*branch[T]]bool) map[*branch[T]]bool {
	if b != nil {
		into[b] = true
		for _, s := range b.slots {
			s.branch.branches(into)
		}
	}
	return into
}

// A change makes the branches on the way to its leaf anew, and no others: a handful among
// a hundred thousand patterns as among ten.
func TestAChangeCopiesTheWayToItsLeaf(t *testing.T) {
	const most = 12 // 64 bits of hash, five at a time, and no way is ever so long
	for _, size := range []int{10, 1000, 100_000} {
		var hosts Hosts[int]
		for i := range size {
			hosts = hosts.With(fmt.Sprintf("h%d.example", i), i)
		}
		before := hosts.trie.root.branches(map[*branch[int]]bool{})
		for what, next := range map[string]Hosts[int]{
			"a new pattern":    hosts.With("new.example", 1),
			"another value":    hosts.With("h5.example", 99),
			"one pattern less": hosts.Without("h7.example"),
		} {
			made := 0
			for b := range next.trie.root.branches(map[*branch[int]]bool{}) {
				if !before[b] {
					made++
				}
			}
			if made == 0 || made > most {
				t.Errorf("%s beside %d: %d branches of %d were made anew, want 1 to %d", what, size, made, len(before), most)
			}
		}
	}
}
