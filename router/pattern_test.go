package router

import (
	"slices"
	"strings"
	"testing"
)

func mustPattern(tb testing.TB, s string) Pattern {
	tb.Helper()
	p, err := ParsePattern(s)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

func TestParsePattern(t *testing.T) {
	for _, tt := range []struct {
		in, text, prefix string
		names            []string
	}{
		{"/", "/", "/", nil},
		{"/*", "/*", "", []string{"splat"}},
		{"/about", "/about", "/about", nil},
		{"/docs/", "/docs/", "/docs/", nil},
		{"/api/*", "/api/*", "/api", []string{"splat"}},
		{"/hooks/{id}", "/hooks/{id}", "/hooks", []string{"id"}},
		{"/{lang}/a/{page_2}/*", "/{lang}/a/{page_2}/*", "", []string{"lang", "page_2", "splat"}},
		{"/a//b", "/a//b", "/a//b", nil},
		{"/{splat}", "/{splat}", "", []string{"splat"}},
		{"/caf%c3%a9", "/caf%C3%A9", "/caf%C3%A9", nil},
		{"/café/*", "/caf%C3%A9/*", "/caf%C3%A9", []string{"splat"}},
		{"/a%2fb", "/a%2Fb", "/a%2Fb", nil},
		{"/%2a", "/%2A", "/*", nil},
		{"/%7Bid%7D", "/%7Bid%7D", "/%7Bid%7D", nil},
		{"/a b", "/a%20b", "/a%20b", nil},
		{"/...", "/...", "/...", nil},
	} {
		p, err := ParsePattern(tt.in)
		if err != nil {
			t.Errorf("ParsePattern(%q): %v", tt.in, err)
			continue
		}
		if p.String() != tt.text || p.LiteralPrefix() != tt.prefix || !slices.Equal(p.Names(), tt.names) {
			t.Errorf("ParsePattern(%q) = %q with prefix %q and names %q, want %q, %q, %q",
				tt.in, p, p.LiteralPrefix(), p.Names(), tt.text, tt.prefix, tt.names)
		}
	}
	var zero Pattern
	if zero.String() != "/*" || zero.LiteralPrefix() != "" || !slices.Equal(zero.Names(), []string{"splat"}) || !zero.matches("/x") {
		t.Errorf("the zero Pattern is %q, want /*", zero)
	}
}

func TestParsePatternSaysWhatToDo(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"", `write "/*"`},
		{"about", `write "/about"`},
		{"*", `write "/*"`},
		{"/api*", "only /folder/* matches all below"},
		{"/*/api", "only /folder/* matches all below"},
		{"/a/**", "only /folder/* matches all below"},
		{"/users/{id}.json", "a parameter is a whole segment"},
		{"/users/x{id}", "a parameter is a whole segment"},
		{"/users/{}", "a parameter is a whole segment"},
		{"/users/{1d}", "a parameter is a whole segment"},
		{"/users/{id...}", "a parameter is a whole segment"},
		{"/users/{id", "a parameter is a whole segment"},
		{"/{a}/{a}", `captures "a" twice`},
		{"/{splat}/*", `captures "splat" twice`},
		{"/a/../b", "write the path that it leads to"},
		{"/./b", "write the path that it leads to"},
		{"/a/%2e", "write the path that it leads to"},
		{"/a/%2e%2e", "can match no request"},
		{"/a%00", "can match no request"},
		{`/a\b`, "can match no request"},
		{"/a%", "can match no request"},
		{"/a?v=1", "match a query with"},
		{"/a#top", "match a query with"},
		{"/" + strings.Repeat("a", 1<<20), "shorten it"},
	} {
		p, err := ParsePattern(tt.in)
		if err == nil {
			t.Errorf("ParsePattern(%.40q) = %q, want an error", tt.in, p)
		} else if !strings.Contains(err.Error(), tt.want) || len(err.Error()) > 600 {
			t.Errorf("ParsePattern(%.40q): %.600v, want it to say %q", tt.in, err, tt.want)
		}
	}
}

func FuzzParsePattern(f *testing.F) {
	for _, s := range []string{"/", "/*", "/users/{id}", "/a/{b}/*", "/%2a", "/caf%c3%a9", "/a//", "/{a}{b}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePattern(s)
		if err != nil {
			return
		}
		again, err := ParsePattern(p.String())
		if err != nil || again.String() != p.String() {
			t.Errorf("ParsePattern(%q) = %q, which parses as %q, %v", s, p, again, err)
		}
		// The pattern with its captures filled in is a clean path, and matches.
		var path strings.Builder
		for _, seg := range p.segments {
			if path.WriteByte('/'); seg.param {
				path.WriteString("x")
			} else {
				path.WriteString(seg.text)
			}
		}
		if !p.exact {
			path.WriteString("/y/z")
		}
		if clean, err := CleanPath(path.String()); clean != path.String() || err != nil {
			t.Errorf("ParsePattern(%q) = %q matches %q, which no request has: %v", s, p, path.String(), err)
		}
		tree, err := NewTree([]Route{{Path: p}})
		if err != nil {
			t.Fatal(err)
		}
		if m := tree.Match(&Request{Method: "GET", Path: path.String()}); m.Index != 0 {
			t.Errorf("%q does not match %q", p, path.String())
		}
	})
}
