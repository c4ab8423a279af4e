package router

import (
	"fmt"
	"testing"
)

func benchTree(b *testing.B, routes int) *Tree {
	b.Helper()
	all := make([]Route, 0, routes)
	for i := 0; len(all) < routes; i++ {
		all = append(all,
			on(b, fmt.Sprintf("/team%d/project%d/page%d", i%97, i%1009, i)),
			on(b, fmt.Sprintf("/api%d/v%d/users/{id}/posts/{post}", i, i%7)),
			on(b, fmt.Sprintf("/files%d/*", i)),
			on(b, fmt.Sprintf("POST /form%d", i), header("X-Beta", "1"), query("v", "2")))
	}
	return newTree(b, all...)
}

func BenchmarkMatch(b *testing.B) {
	for _, routes := range []int{1_000, 100_000} {
		tree := benchTree(b, routes)
		n := routes / 8
		for _, bb := range []struct {
			name    string
			request *Request
			found   bool
		}{
			{"literal", request(fmt.Sprintf("/team%d/project%d/page%d", n%97, n%1009, n)), true},
			{"params", request(fmt.Sprintf("/api%d/v%d/users/4711/posts/12", n, n%7)), true},
			{"prefix", request(fmt.Sprintf("/files%d/css/site.css", n)), true},
			{"conditions", request(fmt.Sprintf("POST /form%d?a=1&v=2", n), "X-Beta", "1"), true},
			{"none", request("/nowhere/at/all"), false},
		} {
			b.Run(fmt.Sprintf("%d/%s", routes, bb.name), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if m := tree.Match(bb.request); (m.Index >= 0) != bb.found {
						b.Fatalf("Match = %d", m.Index)
					}
				}
			})
		}
	}
}

func BenchmarkNewTree(b *testing.B) {
	routes := make([]Route, 0, 1000)
	for i := range cap(routes) {
		routes = append(routes, on(b, fmt.Sprintf("/a%d/{id}/b%d", i%50, i)))
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := NewTree(routes); err != nil {
			b.Fatal(err)
		}
	}
}

func benchHosts(n int) Hosts[int] {
	var hosts Hosts[int]
	for i := range n {
		hosts = hosts.With(fmt.Sprintf("shop%d.example", i), i)
	}
	return hosts
}

func BenchmarkHosts(b *testing.B) {
	for _, n := range []int{1_000, 10_000, 100_000, 1_000_000} {
		hosts := benchHosts(n).With("*.wild.example", -1)
		fresh := make([]string, 1024)
		for i := range fresh {
			fresh[i] = fmt.Sprintf("new%d.example", i)
		}
		known, wild := fmt.Sprintf("shop%d.example", n/2), "a.b.wild.example"
		b.Run(fmt.Sprintf("With/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				hosts.With(fresh[i%len(fresh)], i)
			}
		})
		b.Run(fmt.Sprintf("Lookup/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				hosts.Lookup(known)
			}
		})
		b.Run(fmt.Sprintf("LookupWildcard/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				hosts.Lookup(wild)
			}
		})
	}
}

func BenchmarkCleanPath(b *testing.B) {
	for _, path := range []string{"/assets/app.3f9c1b.js", "/caf%C3%A9/a%2Fb/x", "/a/./b/%61/../c"} {
		b.Run(path, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := CleanPath(path); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkCleanHost(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		CleanHost("shop.example:8080")
	}
}
