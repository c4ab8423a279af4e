package site

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/orla-edge/orla/modules"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/router"
)

func TestPaths(t *testing.T) {
	files := []string{
		"/index.html", "/about.html", "/docs/index.html", "/docs/setup.html",
		"/team.html", "/team/index.html", // a page and a folder of one name
		"/data", "/data.html", // a file and a page of one name
		"/app.js", "/100% sure?.html", "/a+b,c;d=(e)!.html", "/größe/index.html", "/x%2Fy.html",
	}
	sites := make(map[orlav1.Html]*Site)
	for _, mode := range []orlav1.Html{modeNone, modeAuto, modeForce, modeDrop} {
		sites[mode] = siteOf(t, mode, orlav1.NotFound_NOT_FOUND_UNSPECIFIED, files...)
	}
	for _, tt := range []struct {
		name   string
		html   orlav1.Html
		target string
		want   string // "200 file", "307 location" or "404"
	}{
		{"root", modeAuto, "/", "200 /index.html"},
		{"root's file", modeAuto, "/index.html", "307 /"},
		{"root without extension", modeAuto, "/index", "307 /"},
		{"page", modeAuto, "/about", "200 /about.html"},
		{"page's file", modeAuto, "/about.html", "307 /about"},
		{"page as folder", modeAuto, "/about/", "307 /about"},
		{"page as folder's index", modeAuto, "/about/index.html", "307 /about"},
		{"folder", modeAuto, "/docs/", "200 /docs/index.html"},
		{"folder without slash", modeAuto, "/docs", "307 /docs/"},
		{"folder as page", modeAuto, "/docs.html", "307 /docs/"},
		{"page below folder", modeAuto, "/docs/setup", "200 /docs/setup.html"},
		{"page beside folder", modeAuto, "/team", "200 /team.html"},
		{"folder beside page", modeAuto, "/team/", "200 /team/index.html"},
		{"file beside page", modeAuto, "/data", "200 /data"},
		{"page beside file", modeAuto, "/data.html", "200 /data.html"},
		{"page beside file has no other spelling", modeAuto, "/data/", "404"},
		{"file", modeAuto, "/app.js", "200 /app.js"},
		{"file with slash", modeAuto, "/app.js/", "404"},
		{"query is kept", modeAuto, "/about.html?a=1&b=2", "307 /about?a=1&b=2"},
		{"nothing", modeAuto, "/nothing", "404"},
		{"double slash", modeAuto, "http://h//about", "307 /about"},
		{"double slash before a host", modeAuto, "http://h//evil.example/..", "404"},
		{"encoded slash", modeAuto, "/docs%2Fsetup", "307 /docs/setup"},
		{"encoded slashes at the start", modeAuto, "/%2F%2Fabout.html", "307 /about"},
		{"percent in the name", modeAuto, "/x%252Fy", "200 /x%2Fy.html"},

		{"must be encoded, is", modeAuto, "/100%25%20sure%3F", "200 /100% sure?.html"},
		{"lower-case encoding", modeAuto, "/gr%c3%b6%c3%9fe/", "307 /gr%C3%B6%C3%9Fe/"},
		{"upper-case encoding", modeAuto, "/gr%C3%B6%C3%9Fe/", "200 /größe/index.html"},
		{"need not be encoded, is not", modeAuto, "/a+b,c;d=(e)!", "200 /a+b,c;d=(e)!.html"},
		{"need not be encoded, is", modeAuto, "/a%2Bb%2Cc%3Bd%3D(e)!", "307 /a+b,c;d=(e)!"},
		{"need not be encoded, is as net/url does", modeAuto, "/a+b,c;d=%28e%29%21", "307 /a+b,c;d=(e)!"},
		{"letters encoded", modeAuto, "/%61bout", "307 /about"},
		{"invalid UTF-8", modeAuto, "/%A0%A0", "404"},

		{"force: root", modeForce, "/", "200 /index.html"},
		{"force: page", modeForce, "/about/", "200 /about.html"},
		{"force: page without slash", modeForce, "/about", "307 /about/"},
		{"force: page's file", modeForce, "/about.html", "307 /about/"},
		{"force: folder", modeForce, "/docs", "307 /docs/"},
		{"force: folder beside page", modeForce, "/team", "307 /team/"},
		{"force: folder beside page served", modeForce, "/team/", "200 /team/index.html"},
		{"force: page beside folder", modeForce, "/team.html", "200 /team.html"},
		{"force: file beside page", modeForce, "/data", "200 /data"},
		{"force: page beside file", modeForce, "/data/", "200 /data.html"},

		{"drop: root", modeDrop, "/", "200 /index.html"},
		{"drop: folder", modeDrop, "/docs", "200 /docs/index.html"},
		{"drop: folder with slash", modeDrop, "/docs/", "307 /docs"},
		{"drop: folder's file", modeDrop, "/docs/index.html", "307 /docs"},
		{"drop: page beside folder", modeDrop, "/team", "200 /team.html"},
		{"drop: folder beside page", modeDrop, "/team/", "307 /team"},
		{"drop: folder's file beside page", modeDrop, "/team/index.html", "200 /team/index.html"},

		{"none: file", modeNone, "/about.html", "200 /about.html"},
		{"none: no clean path", modeNone, "/about", "404"},
		{"none: no index", modeNone, "/", "404"},
		{"none: encoded", modeNone, "/%61bout.html", "307 /about.html"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := outcome(get(sites[tt.html], tt.target)); got != tt.want {
				t.Errorf("GET %s = %s, want %s", tt.target, got, tt.want)
			}
		})
	}
}

func outcome(w *httptest.ResponseRecorder) string {
	switch w.Code {
	case http.StatusOK:
		return "200 " + w.Body.String()
	case http.StatusTemporaryRedirect:
		return "307 " + w.Header().Get("Location")
	case http.StatusNotFound:
		return "404"
	}
	return http.StatusText(w.Code)
}

// A route that rewrites the path hides the site's own paths: no redirect may tell
// the client about them.
func TestRewrittenPathIsServedWithoutRedirect(t *testing.T) {
	s := siteOf(t, modeAuto, 0, "/hidden/about.html")
	r := httptest.NewRequest(http.MethodGet, "/public", nil)
	r.URL.Path = "/hidden/about.html"
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	if got, want := outcome(w), "200 /hidden/about.html"; got != want {
		t.Errorf("rewritten GET = %s, want %s", got, want)
	}
}

// An ingress that spells paths in its own way must not turn the redirect to the
// canonical spelling into a loop.
func TestRedirectNeverLeadsToTheSameTarget(t *testing.T) {
	s := siteOf(t, modeAuto, 0, "/[x].html")
	r := httptest.NewRequest(http.MethodGet, "/%5Bx%5D", nil)
	r.URL = &url.URL{Path: "/[x]", RawPath: "/[x]"}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	if got, want := outcome(w), "200 /[x].html"; got != want {
		t.Errorf("GET = %s, want %s", got, want)
	}
}

// A redirect leads to a page at once, never elsewhere; each file has exactly one
// path; and the canonical spelling is the one that the router's ingress makes.
func TestPathsAreConsistent(t *testing.T) {
	d := openDir(t)
	name := rapid.StringMatching(`/(a|b|index|a\.html|b\.html|index\.html|a\.html\.html|é \?)(/(a|b|index|a\.html|index\.html|index\.html\.html)){0,2}`)
	rapid.Check(t, func(t *rapid.T) {
		paths := rapid.SliceOfNDistinct(name, 1, 8, rapid.ID[string]).Draw(t, "files")
		html := orlav1.Html(rapid.Int32Range(0, 3).Draw(t, "mode"))
		asked := append(paths, rapid.SliceOfN(name, 1, 8).Draw(t, "asked")...)
		checkConsistent(t, d, paths, html, asked)
	})
}

func checkConsistent(t *rapid.T, d *modules.Dir, paths []string, html orlav1.Html, asked []string) {
	var files []*orlav1.File
	for _, p := range paths {
		digest, err := d.Put([]byte(p))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, &orlav1.File{Path: p, Digest: digest.String(), Size: int64(len(p))})
	}
	s, err := New(Config{Site: &orlav1.Site{Files: files, Html: html}, Blobs: d})
	if err != nil {
		t.Fatal(err)
	}
	servedAt := make(map[string]string)
	for i, p := range asked {
		for _, suffix := range []string{"", "/", ".html", "/index", "/index.html"} {
			target := spell(p + suffix)
			w := get(s, target)
			if w.Code == http.StatusTemporaryRedirect {
				location := w.Header().Get("Location")
				if clean, err := router.CleanPath(location); err != nil || clean != location || strings.HasPrefix(location, "//") {
					t.Fatalf("GET %s leads to %s, which is not canonical: %v", target, location, err)
				}
				target, w = location, get(s, location)
				if w.Code != http.StatusOK {
					t.Fatalf("%v: GET %s leads to %s: %d, want 200", html, spell(p+suffix), location, w.Code)
				}
			}
			if i < len(paths) && suffix == "" && w.Code != http.StatusOK {
				t.Fatalf("%v: file %s cannot be reached: %d", html, p, w.Code)
			}
			if i < len(paths) && suffix == "" && w.Body.String() != p {
				t.Fatalf("%v: GET %s = %s", html, p, w.Body)
			}
			if w.Code != http.StatusOK {
				continue
			}
			if other, ok := servedAt[w.Body.String()]; ok && other != target {
				t.Fatalf("%v: %s answers at %s and at %s", html, w.Body, other, target)
			}
			servedAt[w.Body.String()] = target
		}
	}
}

func TestServed(t *testing.T) {
	for path, want := range map[string]bool{
		"/index.html": true, "/a.b/c.d": true, "/.well-known/acme-challenge/x": true, "/...": false,
		"/.env": false, "/.git/config": false, "/a/.htaccess": false, "/a/.git/config": false,
		"/.well-known/.git": false, "/.well-knownx/y": false, "/.well-known": false, "/a/.well-known/x": false,
		"/_headers": false, "/_redirects": false, "/_worker.js": false, "/orla.toml": false,
		"/docs/_headers": true, "/docs/orla.toml": true, "/_headers.html": true,
	} {
		if got := Served(path); got != want {
			t.Errorf("Served(%q) = %t, want %t", path, got, want)
		}
	}
}

func TestUnservedFilesAreNotFound(t *testing.T) {
	s := siteOf(t, modeAuto, orlav1.NotFound_NOT_FOUND_PAGE,
		"/.env", "/.git/index.html", "/_headers", "/orla.toml", "/.well-known/security.txt", "/.hidden/404.html")
	for target, want := range map[string]string{
		"/.env": "404", "/%2Eenv": "404", "/.git/": "404", "/_headers": "404", "/%5Fheaders": "404", "/orla.toml": "404",
		"/.well-known/security.txt": "200 /.well-known/security.txt", "/.hidden/x": "404",
	} {
		w := get(s, target)
		if got := outcome(w); got != want {
			t.Errorf("GET %s = %s, want %s", target, got, want)
		}
		if w.Code == http.StatusNotFound && w.Body.String() != "not found\n" {
			t.Errorf("GET %s: body %q, want the plain one", target, w.Body)
		}
	}
}
