package site

import (
	"cmp"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/orla-edge/orla/modules"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	modeNone  = orlav1.Html_HTML_UNSPECIFIED
	modeAuto  = orlav1.Html_HTML_AUTO
	modeForce = orlav1.Html_HTML_FORCE_SLASH
	modeDrop  = orlav1.Html_HTML_DROP_SLASH
)

// released is the Last-Modified of the sites in tests.
var released = time.Date(2026, 3, 1, 12, 30, 45, 678, time.UTC)

func openDir(t testing.TB) *modules.Dir {
	t.Helper()
	d, err := modules.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func put(t testing.TB, d *modules.Dir, content string) string {
	t.Helper()
	digest, err := d.Put([]byte(content))
	if err != nil {
		t.Fatal(err)
	}
	return digest.String()
}

// file stores content and returns it as a file of a manifest. Each of variants is
// a coding and stands for a content that says so; nothing is really compressed.
func file(t testing.TB, d *modules.Dir, path, content string, variants ...string) *orlav1.File {
	t.Helper()
	f := &orlav1.File{
		Path: path, Digest: put(t, d, content), Size: int64(len(content)),
		MediaType: MediaType(path, []byte(content)),
	}
	for _, coding := range variants {
		encoded := fakeEncoded(content, coding)
		f.Variants = append(f.Variants, &orlav1.Variant{
			Coding: coding, Digest: put(t, d, encoded), Size: int64(len(encoded)),
		})
	}
	return f
}

// fakeEncoded is shorter than content by a length that depends on the coding: br is
// the shortest.
func fakeEncoded(content, coding string) string {
	less := map[string]int{"br": 3, "zstd": 2, "gzip": 1}[coding]
	return coding + content[len(coding)+less:]
}

// siteOf returns a site of files whose content is their path.
func siteOf(t testing.TB, html orlav1.Html, notFound orlav1.NotFound, paths ...string) *Site {
	t.Helper()
	d := openDir(t)
	var files []*orlav1.File
	for _, p := range paths {
		files = append(files, file(t, d, p, p))
	}
	return newSite(t, d, &orlav1.Site{Files: files, Html: html, NotFound: notFound})
}

func newSite(t testing.TB, d *modules.Dir, m *orlav1.Site) *Site {
	t.Helper()
	slices.SortFunc(m.GetFiles(), func(a, b *orlav1.File) int { return cmp.Compare(a.GetPath(), b.GetPath()) })
	s, err := New(Config{Site: m, Modified: released, Blobs: d, Cache: NewCache(0), Logger: nil})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// get asks h for target; fields are names and values in turn.
func get(h http.Handler, target string, fields ...string) *httptest.ResponseRecorder {
	return do(h, http.MethodGet, target, fields...)
}

func do(h http.Handler, method, target string, fields ...string) *httptest.ResponseRecorder {
	w, _ := record(h, method, target, fields...)
	return w
}

func record(h http.Handler, method, target string, fields ...string) (*httptest.ResponseRecorder, *telemetry.Request) {
	r := httptest.NewRequest(method, target, nil)
	for i := 0; i < len(fields); i += 2 {
		r.Header.Add(fields[i], fields[i+1])
	}
	rec := new(telemetry.Request)
	r = r.WithContext(telemetry.WithRequest(r.Context(), rec))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w, rec
}
