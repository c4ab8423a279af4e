package site

import (
	"net/url"
	"strings"
	"testing"

	"github.com/orla-edge/orla/router"
)

// The site's canonical spelling is a fixed point of the ingress's, and says the path
// that it was made of.
func FuzzSpell(f *testing.F) {
	for _, seed := range []string{"/", "/a b", "/[x]", "/größe", "/100%", "/a%2Fb", "/!$&'()*+,;=:@~", "/?#"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, path string) {
		if pathProblem(path) != "" {
			return
		}
		spelled := spell(path)
		if back, err := url.PathUnescape(spelled); err != nil || back != path {
			t.Fatalf("spell(%q) = %q, which says %q: %v", path, spelled, back, err)
		}
		if clean, err := router.CleanPath(spelled); err != nil || clean != spelled {
			t.Errorf("CleanPath(%q) = %q, %v", spelled, clean, err)
		}
		if escaped := (&url.URL{Path: path}).EscapedPath(); spelledAsGo(path) != (escaped == path) || spelledAsGo(path) && spelled != path {
			t.Errorf("net/url writes %q as %q, spell as %q", path, escaped, spelled)
		}
	})
}

func TestCollapse(t *testing.T) {
	for path, want := range map[string]string{"/": "/", "//": "/", "//a///b//": "/a/b/", "/a/b": "/a/b", "": ""} {
		if got := collapse(path); got != want {
			t.Errorf("collapse(%q) = %q, want %q", path, got, want)
		}
		if strings.Contains(collapse(path), "//") {
			t.Errorf("collapse(%q) = %q", path, collapse(path))
		}
	}
}
