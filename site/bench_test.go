package site

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/telemetry"
)

// discard is a ResponseWriter that keeps nothing and allocates nothing.
type discard struct {
	header http.Header
	status int
	n      int
}

func (d *discard) Header() http.Header { return d.header }
func (d *discard) WriteHeader(s int)   { d.status = s }
func (d *discard) Write(p []byte) (int, error) {
	d.n += len(p)
	return len(p), nil
}

func (d *discard) reset() {
	clear(d.header)
	d.status, d.n = 0, 0
}

func newDiscard() *discard { return &discard{header: make(http.Header, 16)} }

// browserRequest is a GET with what a browser sends.
func browserRequest(target string, fields ...string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, target, nil)
	r.Header.Set("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")
	r.Header.Set("Accept-Encoding", "gzip, deflate, br, zstd")
	r.Header.Set("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")
	for i := 0; i < len(fields); i += 2 {
		r.Header.Set(fields[i], fields[i+1])
	}
	return r.WithContext(telemetry.WithRequest(r.Context(), new(telemetry.Request)))
}

func TestHotPathDoesNotAllocate(t *testing.T) {
	d := openDir(t)
	s := newSite(t, d, &orlav1.Site{Html: modeAuto, Files: []*orlav1.File{
		file(t, d, "/docs/index.html", strings.Repeat("x", 1024), "br", "zstd", "gzip"),
		file(t, d, "/docs/a(b).txt", "some content", "br"), // which net/url would spell otherwise
	}})
	etag := s.paths["/docs/"].variants[0].etag()
	for _, tt := range []struct {
		name   string
		r      *http.Request
		status int
	}{
		{"GET", browserRequest("/docs/"), 200},
		{"GET of a path to be spelled", browserRequest("/docs/a(b).txt"), 200},
		{"304 by tag", browserRequest("/docs/", "If-None-Match", etag), 304},
		{"304 by date", browserRequest("/docs/", "If-Modified-Since", released.Format(http.TimeFormat)), 304},
	} {
		w := newDiscard()
		s.ServeHTTP(w, tt.r) // fills the cache
		got := testing.AllocsPerRun(1000, func() {
			w.reset()
			s.ServeHTTP(w, tt.r)
		})
		if w.status != tt.status || got != 0 {
			t.Errorf("%s: %d with %v allocations, want %d with none", tt.name, w.status, got, tt.status)
		}
	}
}

// contenders are this package and net/http, serving one content of size bytes.
func contenders(b *testing.B, size int) map[string]http.Handler {
	content := strings.Repeat("x", size)
	d := openDir(b)
	s := newSite(b, d, siteWith(file(b, d, "/a.txt", content)))
	dir := b.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.txt"), []byte(content), 0o600); err != nil {
		b.Fatal(err)
	}
	return map[string]http.Handler{
		"site":       s,
		"FileServer": http.FileServer(http.Dir(dir)),
		"ServeContent": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Etag", `"x"`)
			w.Header().Set("Cache-Control", "public, max-age=0, must-revalidate")
			http.ServeContent(w, r, "a.txt", released, strings.NewReader(content))
		}),
	}
}

// BenchmarkHandler is the handler alone.
func BenchmarkHandler(b *testing.B) {
	for _, size := range []int{1 << 10, 100 << 10} {
		for name, h := range contenders(b, size) {
			b.Run(fmt.Sprintf("%dKiB/%s", size>>10, name), func(b *testing.B) {
				r, w := browserRequest("/a.txt"), newDiscard()
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					w.reset()
					h.ServeHTTP(w, r)
				}
				if w.n != size {
					b.Fatalf("%d bytes, want %d", w.n, size)
				}
			})
		}
	}
}

// BenchmarkNotModified is a revalidation, the handler alone.
func BenchmarkNotModified(b *testing.B) {
	for name, h := range contenders(b, 1<<10) {
		b.Run(name, func(b *testing.B) {
			r, w := browserRequest("/a.txt"), newDiscard()
			h.ServeHTTP(w, r)
			if etag := w.header.Get("Etag"); etag != "" {
				r.Header.Set("If-None-Match", etag)
			} else {
				r.Header.Set("If-Modified-Since", w.header.Get("Last-Modified"))
			}
			b.ReportAllocs()
			for b.Loop() {
				w.reset()
				h.ServeHTTP(w, r)
			}
			if w.status != http.StatusNotModified {
				b.Fatalf("status %d, want 304", w.status)
			}
		})
	}
}

// BenchmarkGet is a request over one TCP connection, with a client that only counts
// bytes. Contents up to maxCachedBytes come from memory.
func BenchmarkGet(b *testing.B) {
	for _, size := range []int{1 << 10, 100 << 10, 1 << 20} {
		for name, h := range contenders(b, size) {
			b.Run(fmt.Sprintf("%dKiB/%s", size>>10, name), func(b *testing.B) {
				srv := httptest.NewServer(h)
				defer srv.Close()
				conn, err := (&net.Dialer{}).DialContext(b.Context(), "tcp", srv.Listener.Addr().String())
				if err != nil {
					b.Fatal(err)
				}
				defer conn.Close()
				in := bufio.NewReaderSize(conn, 64<<10)
				request := []byte("GET /a.txt HTTP/1.1\r\nHost: a.test\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n\r\n")
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					if _, err := conn.Write(request); err != nil {
						b.Fatal(err)
					}
					for { // the head
						line, err := in.ReadSlice('\n')
						if err != nil {
							b.Fatal(err)
						}
						if len(line) <= 2 {
							break
						}
					}
					if _, err := io.CopyN(io.Discard, in, int64(size)); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkNew builds a site of 200,000 files, each with three variants.
func BenchmarkNew(b *testing.B) {
	const count = 200_000
	d := openDir(b)
	f := file(b, d, "/x.html", prose(1000, 1), "br", "zstd", "gzip")
	m := &orlav1.Site{Html: modeAuto, NotFound: notFoundPage}
	for i := range count {
		m.Files = append(m.Files, &orlav1.File{
			Path: fmt.Sprintf("/section%03d/page%06d.html", i/1000, i), Digest: f.GetDigest(), Size: f.GetSize(),
			MediaType: f.GetMediaType(), Variants: f.GetVariants(),
		})
	}
	var before, after runtime.MemStats
	for b.Loop() {
		runtime.GC()
		runtime.ReadMemStats(&before)
		s, err := New(Config{Site: m, Modified: released, Blobs: d})
		if err != nil {
			b.Fatal(err)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		runtime.KeepAlive(s)
	}
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/count, "B/path")
}

// BenchmarkCompress compresses a site of 1,000 pages of 60 KiB, all new.
func BenchmarkCompress(b *testing.B) {
	const count, size = 1000, 60 << 10
	contents := make([]string, count)
	for i := range contents {
		contents[i] = prose(size, uint64(i))
	}
	b.SetBytes(count * size)
	for b.Loop() {
		b.StopTimer()
		d := openDir(b)
		var files []*orlav1.File
		for i, content := range contents {
			files = append(files, file(b, d, fmt.Sprintf("/%d.html", i), content))
		}
		b.StartTimer()
		if err := NewCompressor(d).Compress(b.Context(), files, nil); err != nil {
			b.Fatal(err)
		}
	}
}
