package site

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/orla-edge/orla/modules"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

// prose returns n bytes that compress as text does.
func prose(n int, seed uint64) string {
	random := rand.New(rand.NewPCG(seed, 0))
	words := strings.Fields("the edge serves what the node has made of a release and its files before any request came in")
	var b strings.Builder
	for b.Len() < n {
		fmt.Fprintf(&b, "%s %d ", words[random.IntN(len(words))], random.IntN(1000))
	}
	return b.String()[:n]
}

func noise(n int) string {
	b := make([]byte, n)
	random := rand.NewChaCha8([32]byte{1})
	random.Read(b)
	return string(b)
}

func decode(t *testing.T, coding string, b []byte) string {
	t.Helper()
	var r io.Reader
	var err error
	switch coding {
	case "br":
		r = brotli.NewReader(bytes.NewReader(b))
	case "gzip":
		r, err = gzip.NewReader(bytes.NewReader(b))
	case "zstd":
		z, zerr := zstd.NewReader(bytes.NewReader(b), zstd.WithDecoderMaxWindow(zstdWindow), zstd.WithDecoderConcurrency(1))
		if zerr == nil {
			defer z.Close()
		}
		r, err = z, zerr
	}
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("decode %s: %v", coding, err)
	}
	return string(out)
}

func variantsOf(f *orlav1.File) string {
	var names []string
	for _, v := range f.GetVariants() {
		names = append(names, v.GetCoding())
	}
	return strings.Join(names, " ")
}

func TestCompress(t *testing.T) {
	d := openDir(t)
	contents := map[string]string{
		"/index.html":  prose(20_000, 1),
		"/large.js":    strings.Repeat(prose(100_000, 2), 12), // many blocks of each encoder
		"/edge.css":    prose(minCompressible, 3),
		"/tiny.css":    prose(minCompressible-1, 4),
		"/noise.txt":   noise(100_000),
		"/picture.png": prose(20_000, 5),
		"/.env":        prose(20_000, 6),
		"/zeros.txt":   strings.Repeat("\x00", 1<<17),
	}
	want := map[string]string{
		"/index.html": "br zstd gzip", "/large.js": "br zstd gzip", "/edge.css": "br zstd gzip", "/zeros.txt": "br zstd gzip",
	}
	var files []*orlav1.File
	for path, content := range contents {
		f := file(t, d, path, content)
		f.MediaType = MediaType(path, nil)
		f.Variants = []*orlav1.Variant{{Coding: "br", Digest: "a client's claim"}}
		files = append(files, f)
	}
	if err := NewCompressor(d).Compress(t.Context(), files, nil); err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if got := variantsOf(f); got != want[f.GetPath()] {
			t.Errorf("%s has variants %q, want %q", f.GetPath(), got, want[f.GetPath()])
		}
		for _, v := range f.GetVariants() {
			digest, err := modules.ParseDigest(v.GetDigest())
			if err != nil {
				t.Fatal(err)
			}
			b, err := d.Read(digest, 64<<20)
			if err != nil {
				t.Fatal(err)
			}
			if int64(len(b)) != v.GetSize() || v.GetSize()*100 > f.GetSize()*worthPercent {
				t.Errorf("%s in %s: %d bytes, said to be %d, of %d", f.GetPath(), v.GetCoding(), len(b), v.GetSize(), f.GetSize())
			}
			if decode(t, v.GetCoding(), b) != contents[f.GetPath()] {
				t.Errorf("%s in %s decodes to something else", f.GetPath(), v.GetCoding())
			}
		}
	}
	if _, err := New(Config{Site: siteWith(files...), Blobs: d}); err != nil {
		t.Errorf("the site does not take its variants: %v", err)
	}
}

// countedStore counts the contents that are read.
type countedStore struct {
	*modules.Dir
	created atomic.Int64
}

func (c *countedStore) Create() (*modules.Writer, error) {
	c.created.Add(1)
	return c.Dir.Create()
}

func TestContentIsCompressedOnce(t *testing.T) {
	d := openDir(t)
	release := func() []*orlav1.File {
		return []*orlav1.File{
			file(t, d, "/a.txt", prose(5000, 1)),
			file(t, d, "/copy/of/a.txt", prose(5000, 1)),
			file(t, d, "/noise.txt", "text "+strings.ToValidUTF8(noise(5000), "?")),
		}
	}
	store := &countedStore{Dir: d}
	c := NewCompressor(store)
	first := release()
	if err := c.Compress(t.Context(), first, nil); err != nil {
		t.Fatal(err)
	}
	if store.created.Load() != 6 {
		t.Errorf("two contents took %d variants, want 6", store.created.Load())
	}
	if variantsOf(first[0]) == "" || variantsOf(first[0]) != variantsOf(first[1]) {
		t.Errorf("copies have variants %q and %q", variantsOf(first[0]), variantsOf(first[1]))
	}

	store.created.Store(0)
	again := release()
	if err := c.Compress(t.Context(), again, nil); err != nil {
		t.Fatal(err)
	}
	restarted, third := NewCompressor(store), release()
	restarted.Remember(first)
	if err := restarted.Compress(t.Context(), third, nil); err != nil {
		t.Fatal(err)
	}
	if store.created.Load() != 0 {
		t.Errorf("unchanged contents took %d new variants", store.created.Load())
	}
	for i := range first {
		for _, later := range [][]*orlav1.File{again, third} {
			if got, want := variantsOf(later[i]), variantsOf(first[i]); got != want {
				t.Errorf("%s later has %q, want %q", later[i].GetPath(), got, want)
			}
		}
	}
}

func TestCollectedVariantIsMadeAgain(t *testing.T) {
	d := openDir(t)
	c := NewCompressor(d)
	f := file(t, d, "/a.txt", prose(5000, 1))
	missing := file(t, d, "/a.txt", prose(5000, 1))
	missing.Variants = []*orlav1.Variant{{Coding: "br", Digest: modules.Sum([]byte("collected")).String(), Size: 9}}
	c.Remember([]*orlav1.File{missing})
	if err := c.Compress(t.Context(), []*orlav1.File{f}, nil); err != nil {
		t.Fatal(err)
	}
	if got := variantsOf(f); got != "br zstd gzip" {
		t.Errorf("variants %q, want all made anew", got)
	}
}

func TestCompressReportsProgress(t *testing.T) {
	d := openDir(t)
	var files []*orlav1.File
	for i := range 20 {
		files = append(files, file(t, d, fmt.Sprintf("/%d.txt", i), prose(1000, uint64(i/2))))
	}
	var last int64
	seen := make(map[string]bool)
	err := NewCompressor(d).Compress(t.Context(), files, func(done, total int64, path string) {
		if done != last+2 || total != 20 || seen[path] {
			t.Errorf("progress(%d, %d, %q) after %d", done, total, path, last)
		}
		last, seen[path] = done, true
	})
	if err != nil {
		t.Fatal(err)
	}
	if last != 20 {
		t.Errorf("the last progress was %d of 20", last)
	}
}

func TestCompressFails(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*orlav1.File)
		want   error
	}{
		{"content not there", func(f *orlav1.File) { f.Digest = modules.Sum([]byte("other")).String() }, modules.ErrNotFound},
		{"content of another size", func(f *orlav1.File) { f.Size++ }, modules.ErrCorrupt},
		{"digest malformed", func(f *orlav1.File) { f.Digest = "x" }, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := openDir(t)
			files := []*orlav1.File{file(t, d, "/good.txt", prose(1000, 1)), file(t, d, "/bad.txt", prose(2000, 2))}
			tt.change(files[1])
			err := NewCompressor(d).Compress(t.Context(), files, nil)
			if err == nil || !strings.Contains(err.Error(), `"/bad.txt"`) || tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("Compress: %v, want it to name /bad.txt and wrap %v", err, tt.want)
			}
		})
	}
}

func TestCompressStops(t *testing.T) {
	d := openDir(t)
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	var files []*orlav1.File
	for i := range 50 {
		files = append(files, file(t, d, fmt.Sprintf("/%d.txt", i), prose(10_000, uint64(i))))
	}
	calls := 0
	err := NewCompressor(d).Compress(ctx, files, func(int64, int64, string) {
		calls++
		cancel(cause)
	})
	if !errors.Is(err, cause) || calls == len(files) {
		t.Errorf("Compress after %d files: %v, want %v", calls, err, cause)
	}
}

func TestCompressNothing(t *testing.T) {
	if err := NewCompressor(openDir(t)).Compress(t.Context(), nil, nil); err != nil {
		t.Error(err)
	}
}

// A long content is not finished first when the deploy is called off.
func TestCompressStopsWithinAContent(t *testing.T) {
	d := openDir(t)
	f := file(t, d, "/a.txt", prose(1000, 1))
	digest, err := modules.ParseDigest(f.GetDigest())
	if err != nil {
		t.Fatal(err)
	}
	enc, err := newEncoders()
	if err != nil {
		t.Fatal(err)
	}
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	if _, err := NewCompressor(d).variants(ctx, enc, &job{digest: digest, size: f.GetSize(), files: []*orlav1.File{f}}); !errors.Is(err, cause) {
		t.Errorf("variants: %v, want %v", err, cause)
	}
}

// RFC 9659: no decoder of the content coding has to take a larger window.
func TestZstdWindow(t *testing.T) {
	enc, err := newEncoders()
	if err != nil {
		t.Fatal(err)
	}
	const size = zstdWindow + 1<<20
	var out bytes.Buffer
	w := enc.start(codingZstd, &out, size)
	if _, err := w.Write(make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	var header zstd.Header
	if err := header.Decode(out.Bytes()); err != nil {
		t.Fatal(err)
	}
	if header.WindowSize > zstdWindow {
		t.Errorf("the window is %d bytes, want at most %d", header.WindowSize, zstdWindow)
	}
}
