package router

import (
	"net/url"
	"strings"
	"testing"
)

func TestTemplate(t *testing.T) {
	for _, tt := range []struct{ pattern, template, path, want string }{
		{"/old", "/new", "/old", "/new"},
		{"/old/*", "/new/:splat", "/old/a/b", "/new/a/b"},
		{"/old/*", "/new/:splat", "/old", "/new/"},
		{"/old/*", "/new:splat", "/old/a", "/newa"},
		{"/u/{id}/{rest}", "/:rest/:id", "/u/1/x", "/x/1"},
		{"/u/{id}", "/:id:id-:id", "/u/1", "/11-1"},
		{"/*", "https://new.example/:splat", "/a/b", "https://new.example/a/b"},
		{"/*", "https://new.example:8443/:splat", "/a", "https://new.example:8443/a"},
		{"/*", "http://[::1]:8080/x", "/a", "http://[::1]:8080/x"},
		{"/*", "https://new.example", "/a", "https://new.example"},
		{"/*", "HTTPS://new.example?from=:splat", "/a", "HTTPS://new.example?from=a"},
		{"/*", "/at/12:30:45", "/a", "/at/12:30:45"},
		{"/*", "/x:", "/a", "/x:"},
		{"/*", "/x/*", "/a", "/x/*"},
		{"/*", "/x%3Asplat", "/a", "/x%3Asplat"},
		{"/*", "/café", "/a", "/caf%C3%A9"},
		{"/*", "/x#part-:splat", "/a", "/x#part-a"},
		{"/q/{a}", "/x?a=:a&b=:a#:a", "/q/1&2=3+4;5%26", "/x?a=1%262%3D3%2B4%3B5%26&b=1%262%3D3%2B4%3B5%26#1%262%3D3%2B4%3B5%26"},
		{"/q/{a}", "/:a", "/q/1&2=3+4", "/1&2=3+4"},
		{"/q/{a}", "/:a", "/q/a%2Fb", "/a%2Fb"},

		// A request must not be able to name a host.
		{"/*", "/:splat", "//evil.example/x", "/evil.example/x"},
		{"/*", "/:splat", "///evil.example", "/evil.example"},
		{"/a/*", "/:splat/evil.example", "/a", "/evil.example"},
		{"/a/*", "/:splat/evil.example", "/a//", "/evil.example"},
		{"/*", "https://new.example/:splat", "//evil.example", "https://new.example//evil.example"},
	} {
		p := mustPattern(t, tt.pattern)
		template, err := ParseTemplate(tt.template, p.Names())
		if err != nil {
			t.Errorf("ParseTemplate(%q): %v", tt.template, err)
			continue
		}
		m := newTree(t, Route{Path: p}).Match(&Request{Method: "GET", Path: tt.path})
		if m.Index != 0 {
			t.Fatalf("%q does not match %q", tt.pattern, tt.path)
		}
		if got := template.Expand(&m); got != tt.want {
			t.Errorf("%q from %s %q = %q, want %q", tt.template, tt.pattern, tt.path, got, tt.want)
		}
		if template.String() != tt.template {
			t.Errorf("String() = %q, want %q", template, tt.template)
		}
	}
}

func TestParseTemplateSaysWhatToDo(t *testing.T) {
	for _, tt := range []struct {
		in    string
		names []string
		want  string
	}{
		{"", nil, `begin it with "/"`},
		{"new", nil, `begin it with "/"`},
		{":splat", []string{"splat"}, `begin it with "/"`},
		{"javascript:alert(1)", nil, `begin it with "/"`},
		{"ftp://new.example/", nil, `begin it with "/"`},
		{"//new.example/", nil, "write the scheme too"},
		{"/:splat", nil, "captures nothing: capture with /{splat}"},
		{"/:page", []string{"id", "splat"}, "only :id, :splat"},
		{"/:ids", []string{"id"}, "only :id"},
		{"/a:b", nil, "write %3Ab"},
		{"https://:splat", []string{"splat"}, "a capture cannot stand there"},
		{"https://:lang.example/", []string{"lang"}, "a capture cannot stand there"},
		{"https://new.example:splat", []string{"splat"}, "a capture cannot stand there"},
		{"https://a:b@new.example/", nil, "has a user name"},
		{"https://new.example@evil.example/", nil, "has a user name"},
		{"https:///x", nil, "no valid host"},
		{"https://[::1/x", nil, "no valid host"},
		{"https://bücher.example/", nil, "no valid host"},
		{"/a b", nil, "write %20"},
		{"/a\r\nSet-Cookie: x", nil, "percent-encode it"},
		{`/\evil.example`, nil, "write a slash"},
		{`https://new.example\@evil.example`, nil, "has a user name"},
		{"/100%", nil, "write %25"},
		{"/{id}", []string{"id"}, "a capture is written :name"},
		{"/\xff", nil, "UTF-8"},
		{"/" + strings.Repeat("a", 1<<20), nil, "shorten it"},
	} {
		got, err := ParseTemplate(tt.in, tt.names)
		if err == nil {
			t.Errorf("ParseTemplate(%.40q) = %q, want an error", tt.in, got)
		} else if !strings.Contains(err.Error(), tt.want) || len(err.Error()) > 600 {
			t.Errorf("ParseTemplate(%.40q): %.600v, want it to say %q", tt.in, err, tt.want)
		}
	}
}

// FuzzTemplate has a stranger choose the template and another the path.
func FuzzTemplate(f *testing.F) {
	for _, s := range []string{"/new/:splat", "https://new.example/:splat?x=:a", "/:a:splat", "/:8080", "https://[::1]:80", "/%41", "/a?b#c"} {
		f.Add(s, "/x//evil.example")
	}
	p := mustPattern(f, "/{a}/*")
	tree := newTree(f, Route{Path: p})
	f.Fuzz(func(t *testing.T, s, path string) {
		template, err := ParseTemplate(s, p.Names())
		path, pathErr := CleanPath(path)
		if err != nil || pathErr != nil {
			return
		}
		m := tree.Match(&Request{Method: "GET", Path: path})
		if m.Index < 0 {
			return
		}
		out := template.Expand(&m)
		u, err := url.Parse(out)
		if err != nil {
			t.Fatalf("%q with %q makes %q: %v", s, path, out, err)
		}
		want, _ := url.Parse(s)
		if want == nil || u.Host != want.Host || u.Scheme != want.Scheme || u.User != nil {
			t.Errorf("%q with %q makes %q, which has another host", s, path, out)
		}
		if strings.HasPrefix(s, "/") && (!strings.HasPrefix(out, "/") || strings.HasPrefix(out, "//")) {
			t.Errorf("%q with %q makes %q, which is no path", s, path, out)
		}
		if strings.ContainsFunc(out, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '\\' }) {
			t.Errorf("%q with %q makes %q, which is no URL", s, path, out)
		}
	})
}
