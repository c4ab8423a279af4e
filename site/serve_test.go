package site

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/orla-edge/orla/modules"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/telemetry"
)

const (
	notFoundNone = orlav1.NotFound_NOT_FOUND_UNSPECIFIED
	notFoundPage = orlav1.NotFound_NOT_FOUND_PAGE
	notFoundSPA  = orlav1.NotFound_NOT_FOUND_SPA
)

func TestMethods(t *testing.T) {
	s := siteOf(t, modeAuto, notFoundNone, "/index.html")
	for _, tt := range []struct {
		method string
		status int
	}{
		{http.MethodGet, 200},
		{http.MethodHead, 200},
		{http.MethodOptions, 204},
		{http.MethodPost, 405},
		{http.MethodPut, 405},
		{http.MethodDelete, 405},
		{http.MethodPatch, 405},
		{"PROPFIND", 405},
		{"get", 405},
	} {
		w := do(s, tt.method, "/")
		if w.Code != tt.status {
			t.Errorf("%s / = %d, want %d", tt.method, w.Code, tt.status)
		}
		if allow := w.Header().Get("Allow"); (allow == "GET, HEAD, OPTIONS") != (tt.status != 200) {
			t.Errorf("%s /: Allow %q", tt.method, allow)
		}
	}
}

func TestHeaderFields(t *testing.T) {
	d := openDir(t)
	page := file(t, d, "/index.html", "<!doctype html><p>hello</p>", "gzip", "br")
	script := file(t, d, "/app-5Q3HPGUQ.js", "export default 1 // a script", "br")
	picture := file(t, d, "/a.png", "a picture")
	s := newSite(t, d, &orlav1.Site{Files: []*orlav1.File{page, script, picture}, Html: modeAuto})
	etag := func(digest string) string {
		parsed, err := modules.ParseDigest(digest)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range s.paths {
			for _, rep := range append(e.variants, e.identity) {
				if rep.digest == parsed {
					return rep.etag()
				}
			}
		}
		t.Fatalf("no representation has %s", digest)
		return ""
	}
	common := map[string]string{
		"X-Content-Type-Options": "nosniff",
		"Accept-Ranges":          "bytes",
		"Last-Modified":          "Sun, 01 Mar 2026 12:30:45 GMT",
	}
	with := func(fields map[string]string) map[string]string {
		maps.Copy(fields, common)
		return fields
	}
	const revalidate, immutable = "public, max-age=0, must-revalidate", "public, max-age=31536000, immutable"
	for _, tt := range []struct {
		name, target string
		fields       []string
		status       int
		want         map[string]string
		body         string
	}{
		{
			"page", "/", nil, 200,
			with(map[string]string{
				"Content-Type": "text/html; charset=utf-8", "Content-Length": "27", "Cache-Control": revalidate,
				"Vary": "Accept-Encoding", "Etag": etag(page.GetDigest()),
			}), "<!doctype html><p>hello</p>",
		},
		{
			"page in br", "/",
			[]string{"Accept-Encoding", "gzip, br"},
			200,
			with(map[string]string{
				"Content-Type": "text/html; charset=utf-8", "Content-Length": "24", "Cache-Control": revalidate,
				"Vary": "Accept-Encoding", "Content-Encoding": "br", "Etag": etag(page.GetVariants()[1].GetDigest()),
			}), "br" + "type html><p>hello</p>",
		},
		{
			"fingerprinted", "/app-5Q3HPGUQ.js", nil, 200,
			with(map[string]string{
				"Content-Type": "text/javascript; charset=utf-8", "Content-Length": "28", "Cache-Control": immutable,
				"Vary": "Accept-Encoding", "Etag": etag(script.GetDigest()),
			}), "export default 1 // a script",
		},
		{
			"without variants", "/a.png",
			[]string{"Accept-Encoding", "br"},
			200,
			with(map[string]string{
				"Content-Type": "image/png", "Content-Length": "9", "Cache-Control": revalidate, "Etag": etag(picture.GetDigest()),
			}), "a picture",
		},
		{
			"304 of a variant", "/",
			[]string{"Accept-Encoding", "br", "If-None-Match", etag(page.GetVariants()[1].GetDigest())},
			304,
			map[string]string{
				"Cache-Control": revalidate, "Vary": "Accept-Encoding", "Etag": etag(page.GetVariants()[1].GetDigest()),
			},
			"",
		},
		{
			"304 by date", "/a.png",
			[]string{"If-Modified-Since", "Sun, 01 Mar 2026 12:30:45 GMT"},
			304,
			map[string]string{"Cache-Control": revalidate, "Etag": etag(picture.GetDigest())},
			"",
		},
		{
			"identity's tag says nothing about a variant", "/",
			[]string{"Accept-Encoding", "br", "If-Match", etag(page.GetDigest())},
			412,
			map[string]string{
				"Vary": "Accept-Encoding", "Content-Type": "text/plain; charset=utf-8", "Content-Length": "20",
				"X-Content-Type-Options": "nosniff",
			},
			"precondition failed\n",
		},
		{
			"range of a variant", "/",
			[]string{"Accept-Encoding", "br", "Range", "bytes=0-5"},
			206,
			with(map[string]string{
				"Content-Type": "text/html; charset=utf-8", "Content-Length": "6", "Cache-Control": revalidate,
				"Vary": "Accept-Encoding", "Content-Encoding": "br", "Etag": etag(page.GetVariants()[1].GetDigest()),
				"Content-Range": "bytes 0-5/24",
			}), "brtype",
		},
		{
			"If-Range of another representation", "/",
			[]string{"Range", "bytes=0-5", "If-Range", etag(page.GetVariants()[1].GetDigest())},
			200,
			with(map[string]string{
				"Content-Type": "text/html; charset=utf-8", "Content-Length": "27", "Cache-Control": revalidate,
				"Vary": "Accept-Encoding", "Etag": etag(page.GetDigest()),
			}), "<!doctype html><p>hello</p>",
		},
		{
			"unsatisfiable", "/",
			[]string{"Range", "bytes=27-"},
			416,
			map[string]string{
				"Content-Range": "bytes */27", "Vary": "Accept-Encoding", "Content-Type": "text/plain; charset=utf-8",
				"Content-Length": "22", "X-Content-Type-Options": "nosniff",
			},
			"range not satisfiable\n",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := get(s, tt.target, tt.fields...)
			if w.Code != tt.status || w.Body.String() != tt.body {
				t.Errorf("GET %s %q = %d %q, want %d %q", tt.target, tt.fields, w.Code, w.Body, tt.status, tt.body)
			}
			got := make(map[string]string)
			for name := range w.Header() {
				got[name] = strings.Join(w.Header()[name], " | ")
			}
			if !maps.Equal(got, tt.want) {
				t.Errorf("GET %s %q:\n got %v\nwant %v", tt.target, tt.fields, got, tt.want)
			}
			if tt.status != 200 && tt.status != 304 {
				return
			}
			head := do(s, http.MethodHead, tt.target, tt.fields...)
			if head.Code != w.Code || head.Body.Len() != 0 || !maps.EqualFunc(head.Header(), w.Header(), func(a, b []string) bool { return strings.Join(a, "|") == strings.Join(b, "|") }) {
				t.Errorf("HEAD %s %q = %d %v, GET has %d %v", tt.target, tt.fields, head.Code, head.Header(), w.Code, w.Header())
			}
		})
	}
}

func TestHeadIgnoresRange(t *testing.T) {
	s := siteOf(t, modeAuto, notFoundNone, "/a.txt")
	if w := do(s, http.MethodHead, "/a.txt", "Range", "bytes=0-0"); w.Code != 200 || w.Header().Get("Content-Length") != "6" {
		t.Errorf("HEAD with Range = %d, Content-Length %s, want 200 and 6", w.Code, w.Header().Get("Content-Length"))
	}
}

func TestVaryOfOuterHandlersIsKept(t *testing.T) {
	d := openDir(t)
	s := newSite(t, d, siteWith(file(t, d, "/a.txt", "some content", "br")))
	for range 2 {
		w := httptest.NewRecorder()
		outer := make([]string, 1, 4)
		outer[0] = "Origin"
		w.Header()["Vary"] = outer
		s.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/a.txt", nil))
		if got := strings.Join(w.Header()["Vary"], ", "); got != "Origin, Accept-Encoding" {
			t.Errorf("Vary %q", got)
		}
	}
}

// Whoever adds to the fields of a response must not change those of the next.
func TestFieldsCannotBeAppendedTo(t *testing.T) {
	d := openDir(t)
	s := newSite(t, d, siteWith(file(t, d, "/a-1b2c3d4e.txt", "some content", "br")))
	for _, fields := range [][]string{nil, {"Accept-Encoding", "br"}, {"If-None-Match", "*"}} {
		w := get(s, "/a-1b2c3d4e.txt", fields...)
		for name, values := range w.Header() {
			if len(values) != 1 || cap(values) != 1 {
				t.Errorf("%q: %s has %d values, room for %d", fields, name, len(values), cap(values))
			}
		}
	}
}

func TestNotFound(t *testing.T) {
	files := []string{"/index.html", "/404.html", "/docs/404.html", "/docs/a.html"}
	navigation := []string{"Sec-Fetch-Mode", "navigate", "Accept", "*/*"}
	wantsHTML := []string{"Accept", "text/html,*/*;q=0.8"}
	const plain = "not found\n"
	for _, tt := range []struct {
		name     string
		notFound orlav1.NotFound
		files    []string
		target   string
		fields   []string
		status   int
		body     string
	}{
		{"none", notFoundNone, files, "/x", wantsHTML, 404, plain},
		{"page", notFoundPage, files, "/x", nil, 404, "/404.html"},
		{"page, root", notFoundPage, files, "/x/y/z", nil, 404, "/404.html"},
		{"page, nearest", notFoundPage, files, "/docs/x", nil, 404, "/docs/404.html"},
		{"page, nearest from deep", notFoundPage, files, "/docs/x/y/z/", nil, 404, "/docs/404.html"},
		{"page, folder itself", notFoundPage, files, "/docs/", nil, 404, "/docs/404.html"},
		{"page, sibling with the same beginning", notFoundPage, files, "/docs2/x", nil, 404, "/404.html"},
		{"page, none up there", notFoundPage, files[2:], "/x", nil, 404, plain},
		{"page, none at all", notFoundPage, files[:1], "/x", nil, 404, plain},
		{"page by its own name", notFoundPage, files, "/404", nil, 200, "/404.html"},
		{"page: preconditions and ranges don't apply", notFoundPage, files, "/x", []string{"If-None-Match", "*", "Range", "bytes=0-1"}, 404, "/404.html"},

		{"spa, navigation", notFoundSPA, files, "/x/y", navigation, 200, "/index.html"},
		{"spa, navigation to a name with a dot", notFoundSPA, files, "/x/v1.2", navigation, 200, "/index.html"},
		{"spa, script's fetch", notFoundSPA, files, "/x", append([]string{"Sec-Fetch-Mode", "cors"}, wantsHTML...), 404, plain},
		{"spa, picture", notFoundSPA, files, "/x.png", []string{"Sec-Fetch-Mode", "no-cors"}, 404, plain},
		{"spa, old browser", notFoundSPA, files, "/x", wantsHTML, 200, "/index.html"},
		{"spa, old browser, file", notFoundSPA, files, "/x.png", wantsHTML, 404, plain},
		{"spa, old browser, dot in a folder", notFoundSPA, files, "/v1.2/x", wantsHTML, 200, "/index.html"},
		{"spa, client for data", notFoundSPA, files, "/x", []string{"Accept", "application/json"}, 404, plain},
		{"spa, client without wishes", notFoundSPA, files, "/x", nil, 404, plain},
		{"spa: files are still files", notFoundSPA, files, "/docs/a", navigation, 200, "/docs/a.html"},
		{"spa without index", notFoundSPA, files[1:], "/x", navigation, 404, plain},
		{"no files", notFoundPage, nil, "/", nil, 404, plain},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := siteOf(t, modeAuto, tt.notFound, tt.files...)
			w := get(s, tt.target, tt.fields...)
			if w.Code != tt.status || w.Body.String() != tt.body {
				t.Errorf("GET %s %q = %d %q, want %d %q", tt.target, tt.fields, w.Code, w.Body, tt.status, tt.body)
			}
			if w.Code == 404 && (w.Header().Get("Etag") != "" || w.Header().Get("Last-Modified") != "" || w.Header().Get("Accept-Ranges") != "") {
				t.Errorf("GET %s: a 404 has validators: %v", tt.target, w.Header())
			}
			if head := do(s, http.MethodHead, tt.target, tt.fields...); head.Code != tt.status || head.Header().Get("Content-Length") != strconv.Itoa(len(tt.body)) {
				t.Errorf("HEAD %s = %d, Content-Length %s", tt.target, head.Code, head.Header().Get("Content-Length"))
			}
		})
	}
}

// What a single-page application answers at one path depends on fields that shared
// caches must know.
func TestSinglePageVary(t *testing.T) {
	d := openDir(t)
	for _, tt := range []struct {
		name     string
		variants []string
		fields   []string
		want     string
	}{
		{"shell", nil, []string{"Sec-Fetch-Mode", "navigate"}, "Sec-Fetch-Mode, Accept"},
		{"shell with variants", []string{"br"}, []string{"Sec-Fetch-Mode", "navigate"}, "Accept-Encoding, Sec-Fetch-Mode, Accept"},
		{"not found", []string{"br"}, []string{"Sec-Fetch-Mode", "cors"}, "Sec-Fetch-Mode, Accept"},
	} {
		shell := file(t, d, "/index.html", "<!doctype html>", tt.variants...)
		s := newSite(t, d, &orlav1.Site{Files: []*orlav1.File{shell}, Html: modeAuto, NotFound: notFoundSPA})
		if got := get(s, "/x", tt.fields...).Header().Get("Vary"); got != tt.want {
			t.Errorf("%s: Vary %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestRecordsTarget(t *testing.T) {
	s := siteOf(t, modeAuto, notFoundNone, "/a.txt")
	for _, target := range []string{"/a.txt", "/nothing"} {
		if _, rec := record(s, http.MethodGet, target); rec.Target != "site" || rec.Err != nil {
			t.Errorf("GET %s leaves %+v", target, rec)
		}
	}
}

// A query may hold octets that no header field may.
func TestRedirectQueryIsSafe(t *testing.T) {
	s := siteOf(t, modeAuto, notFoundNone, "/a.html")
	r := httptest.NewRequest(http.MethodGet, "/a.html", nil)
	r.URL.RawQuery = "q=é\r\nX: y"
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	if got, want := w.Header().Get("Location"), "/a?q=%C3%A9%0D%0AX:%20y"; got != want {
		t.Errorf("Location %q, want %q", got, want)
	}
}

func TestMissingBlobIs500(t *testing.T) {
	d := openDir(t)
	small, large := file(t, d, "/small.txt", "gone"), file(t, d, "/large.txt", strings.Repeat("x", maxCachedBytes+1))
	page := file(t, d, "/404.html", "gone as well")
	for _, f := range []*orlav1.File{small, large, page} {
		f.Digest = modules.Sum([]byte(f.GetPath() + " is not in the store")).String()
	}
	s := newSite(t, d, &orlav1.Site{Files: []*orlav1.File{small, large, page}, NotFound: notFoundPage})
	for _, target := range []string{"/small.txt", "/large.txt", "/nothing"} {
		for _, fields := range [][]string{nil, {"Range", "bytes=0-1"}} {
			w, rec := record(s, http.MethodGet, target, fields...)
			if w.Code != 500 || w.Body.String() != "internal server error\n" || w.Header().Get("Etag") != "" || w.Header().Get("Cache-Control") != "" {
				t.Errorf("GET %s %q = %d %q %v", target, fields, w.Code, w.Body, w.Header())
			}
			if !errors.Is(rec.Err, modules.ErrNotFound) {
				t.Errorf("GET %s %q leaves %v, want %v", target, fields, rec.Err, modules.ErrNotFound)
			}
		}
		if w := do(s, http.MethodHead, target); w.Code == 500 {
			t.Errorf("HEAD %s = 500, though no content is asked for", target)
		}
	}
}

// A content that is shorter than the release says must not look complete.
func TestShortBlob(t *testing.T) {
	d := openDir(t)
	small, large := file(t, d, "/small.txt", "short"), file(t, d, "/large.txt", strings.Repeat("x", maxCachedBytes+1))
	small.Size++
	large.Size++
	s := newSite(t, d, siteWith(small, large))
	if w, rec := record(s, http.MethodGet, "/small.txt"); w.Code != 500 || rec.Err == nil {
		t.Errorf("GET /small.txt = %d, %v", w.Code, rec.Err)
	}

	recs := make(chan *telemetry.Request, 1)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := new(telemetry.Request)
		defer func() { recs <- rec }()
		s.ServeHTTP(w, r.WithContext(telemetry.WithRequest(r.Context(), rec)))
	}))
	srv.EnableHTTP2 = true // where only a reset tells the end from an abort
	srv.StartTLS()
	defer srv.Close()
	resp, err := srv.Client().Get(srv.URL + "/large.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.ProtoMajor != 2 {
		t.Fatalf("the test speaks %s, want HTTP/2", resp.Proto)
	}
	if _, err := io.ReadAll(resp.Body); err == nil || !strings.Contains(err.Error(), "INTERNAL_ERROR") {
		t.Errorf("reading /large.txt ends with %v, want the stream reset", err)
	}
	if rec := <-recs; !errors.Is(rec.Err, io.EOF) {
		t.Errorf("GET /large.txt leaves %v, want %v", rec.Err, io.EOF)
	}
}

// A variant that saves nothing is not used, nor makes the answer vary.
func TestLargerVariantIsIgnored(t *testing.T) {
	d := openDir(t)
	f := file(t, d, "/a.txt", "some content", "br")
	f.Variants[0].Size = f.GetSize()
	w := get(newSite(t, d, siteWith(f)), "/a.txt", "Accept-Encoding", "br")
	if w.Body.String() != "some content" || w.Header().Get("Content-Encoding") != "" || w.Header().Get("Vary") != "" {
		t.Errorf("GET = %q %v", w.Body, w.Header())
	}
}

// countedBlobs counts what is asked of the store.
type countedBlobs struct {
	Blobs
	reads, opens int
}

func (c *countedBlobs) Read(d modules.Digest, limit int64) ([]byte, error) {
	c.reads++
	return c.Blobs.Read(d, limit)
}

func (c *countedBlobs) Open(d modules.Digest) (*os.File, error) {
	c.opens++
	return c.Blobs.Open(d)
}

func TestCacheIsSharedAndHoldsSmallContents(t *testing.T) {
	d := openDir(t)
	small := file(t, d, "/small.txt", strings.Repeat("x", maxCachedBytes))
	large := file(t, d, "/large.txt", strings.Repeat("x", maxCachedBytes+1))
	blobs, cache := &countedBlobs{Blobs: d}, NewCache(8<<20)
	for range 2 { // releases
		s, err := New(Config{Site: siteWith(large, small), Blobs: blobs, Cache: cache})
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if w := get(s, "/small.txt"); w.Body.Len() != maxCachedBytes {
				t.Fatalf("/small.txt has %d bytes", w.Body.Len())
			}
			if w := get(s, "/large.txt"); w.Body.Len() != maxCachedBytes+1 {
				t.Fatalf("/large.txt has %d bytes", w.Body.Len())
			}
		}
	}
	if blobs.reads != 1 || blobs.opens != 6 {
		t.Errorf("%d reads and %d opens, want 1 and 6", blobs.reads, blobs.opens)
	}
}

func TestCacheIsBounded(t *testing.T) {
	const limit = 1 << 20
	c := NewCache(limit)
	blob := make([]byte, 10_000)
	for i := range 1000 {
		c.put(modules.Sum([]byte{byte(i), byte(i >> 8)}), blob)
	}
	c.blobs.CleanUp()
	if got := c.blobs.WeightedSize(); got > limit {
		t.Errorf("the cache holds %d bytes, want at most %d", got, limit)
	}
}

func TestNewRefuses(t *testing.T) {
	d := openDir(t)
	good := func() *orlav1.File { return file(t, d, "/a.txt", "some content", "br") }
	change := func(f func(*orlav1.File)) *orlav1.Site {
		bad := good()
		f(bad)
		return siteWith(bad)
	}
	for _, tt := range []struct {
		name string
		site *orlav1.Site
		want string // part of the error
	}{
		{"no leading slash", change(func(f *orlav1.File) { f.Path = "a.txt" }), `"a.txt": the path has no leading slash`},
		{"empty path", change(func(f *orlav1.File) { f.Path = "" }), `"": the path has no leading slash`},
		{"folder", change(func(f *orlav1.File) { f.Path = "/a/" }), `"/a/": the path ends with a slash`},
		{"empty segment", change(func(f *orlav1.File) { f.Path = "//host/x" }), `the path has an empty segment`},
		{"dot segment", change(func(f *orlav1.File) { f.Path = "/a/../b" }), `the path has a dot segment`},
		{"not UTF-8", change(func(f *orlav1.File) { f.Path = "/\xff" }), `the path is not UTF-8`},
		{"NUL", change(func(f *orlav1.File) { f.Path = "/a\x00" }), `control character`},
		{"backslash", change(func(f *orlav1.File) { f.Path = `/a\b` }), `backslash`},
		{"twice", siteWith(good(), good()), `"/a.txt" is there twice`},
		{"digest", change(func(f *orlav1.File) { f.Digest = "sha256:x" }), `"/a.txt": modules: "sha256:x" is not a digest`},
		{"size", change(func(f *orlav1.File) { f.Size = -1 }), `"/a.txt": size is negative`},
		{"media type", change(func(f *orlav1.File) { f.MediaType = "text/html\r\nX: y" }), `cannot be sent`},
		{"coding", change(func(f *orlav1.File) { f.Variants[0].Coding = "lzma" }), `unknown coding "lzma"`},
		{"identity as a variant", change(func(f *orlav1.File) { f.Variants[0].Coding = "identity" }), `unknown coding "identity"`},
		{"variant's digest", change(func(f *orlav1.File) { f.Variants[0].Digest = "" }), `variant br: `},
		{"variant twice", change(func(f *orlav1.File) { f.Variants = append(f.Variants, f.Variants[0]) }), `variant br is there twice`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := New(Config{Site: tt.site, Blobs: d})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("New: %v, want it to say %s", err, tt.want)
			}
		})
	}
	if _, err := New(Config{Site: siteWith()}); err == nil {
		t.Error("New without Blobs is no error")
	}
	two := siteWith(good(), good())
	two.Files[0].Path, two.Files[1].Path = "x", "y"
	if _, err := New(Config{Site: two, Blobs: d}); err == nil || !strings.Contains(err.Error(), `"x"`) || !strings.Contains(err.Error(), `"y"`) {
		t.Errorf("New names not every culprit: %v", err)
	}
}

func TestNewLeavesTheManifestAlone(t *testing.T) {
	d := openDir(t)
	m := siteWith(file(t, d, "/b.txt", "b"), file(t, d, "/.env", "secret"), file(t, d, "/a.txt", "a"))
	if _, err := New(Config{Site: m, Blobs: d}); err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"/b.txt", "/.env", "/a.txt"} {
		if got := m.GetFiles()[i].GetPath(); got != want {
			t.Errorf("file %d is %s, was %s", i, got, want)
		}
	}
}

func TestUnmodifiedSiteHasNoDate(t *testing.T) {
	d := openDir(t)
	s, err := New(Config{Site: siteWith(file(t, d, "/a.txt", "a")), Blobs: d})
	if err != nil {
		t.Fatal(err)
	}
	w := get(s, "/a.txt", "If-Modified-Since", "Fri, 01 Jan 2100 00:00:00 GMT")
	if _, ok := w.Header()["Last-Modified"]; ok || w.Code != 200 {
		t.Errorf("GET = %d, Last-Modified %v", w.Code, ok)
	}
}

// Over a real connection, where the kernel copies large contents.
func TestOverTCP(t *testing.T) {
	d := openDir(t)
	contents := map[string]string{
		"/empty.txt": "",
		"/small.txt": strings.Repeat("small", 100),
		"/edge.txt":  strings.Repeat("e", maxCachedBytes),
		"/large.txt": strings.Repeat("0123456789abcdef", 1<<16),
	}
	m := new(orlav1.Site)
	for path, content := range contents {
		m.Files = append(m.Files, file(t, d, path, content))
	}
	srv := httptest.NewServer(newSite(t, d, m))
	defer srv.Close()
	for path, content := range contents {
		for _, field := range []string{"", "bytes=10-", "bytes=0-4,500000-500009"} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			if field != "" {
				req.Header.Set("Range", field)
			}
			resp, err := srv.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil {
				t.Fatalf("GET %s %s: %v", path, field, err)
			}
			if resp.ContentLength != int64(len(body)) {
				t.Errorf("GET %s %s: Content-Length %d, %d bytes", path, field, resp.ContentLength, len(body))
			}
			if resp.StatusCode == 200 && string(body) != content {
				t.Errorf("GET %s %s: %d bytes that are not the content", path, field, len(body))
			}
			if field == "bytes=10-" && resp.StatusCode == 206 && string(body) != content[10:] {
				t.Errorf("GET %s %s: not the content's end", path, field)
			}
		}
	}
}

// brokenBlobs is a store that cannot open anything.
type brokenBlobs struct{ Blobs }

func (brokenBlobs) Open(modules.Digest) (*os.File, error) { return nil, fs.ErrPermission }

func TestUnopenableBlobIs500(t *testing.T) {
	d := openDir(t)
	s, err := New(Config{Site: siteWith(file(t, d, "/a.txt", strings.Repeat("x", maxCachedBytes+1))), Blobs: brokenBlobs{d}})
	if err != nil {
		t.Fatal(err)
	}
	if w, rec := record(s, http.MethodGet, "/a.txt"); w.Code != 500 || !errors.Is(rec.Err, fs.ErrPermission) {
		t.Errorf("GET = %d, %v", w.Code, rec.Err)
	}
}
