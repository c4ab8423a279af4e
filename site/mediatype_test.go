package site

import (
	"mime"
	"strings"
	"testing"
)

func TestMediaType(t *testing.T) {
	for _, tt := range []struct{ path, head, want string }{
		{"/index.html", "<!doctype html>", "text/html; charset=utf-8"},
		{"/INDEX.HTM", "", "text/html; charset=utf-8"},
		{"/a.css", "", "text/css; charset=utf-8"},
		{"/a.js", "", "text/javascript; charset=utf-8"},
		{"/a.mjs", "", "text/javascript; charset=utf-8"},
		{"/a.min.js.map", "", "application/json"},
		{"/a.json", "", "application/json"},
		{"/a.svg", "", "image/svg+xml; charset=utf-8"},
		{"/feed.xml", "", "application/xml; charset=utf-8"},
		{"/a.wasm", "\x00asm", "application/wasm"},
		{"/a.woff2", "", "font/woff2"},
		{"/site.webmanifest", "", "application/manifest+json"},
		{"/a.ico", "", "image/vnd.microsoft.icon"},
		{"/a.txt", "", "text/plain; charset=utf-8"},
		{"/video.mp4", "", "video/mp4"},
		{"/a.tar.gz", "", "application/gzip"},

		// The extension decides, not the content.
		{"/a.txt", "<!doctype html><script>", "text/plain; charset=utf-8"},
		{"/a.png", "<html>", "image/png"},

		// Text that is no UTF-8 keeps its own idea of the charset.
		{"/latin1.html", "<meta charset=iso-8859-1><p>Gr\xf6\xdfe", "text/html"},
		{"/utf16.txt", "\xff\xfea\x00", "text/plain"},
		{"/cut.html", "Gr\xc3\xb6\xc3", "text/html; charset=utf-8"},
		{"/cut.html", "\xe2\x82", "text/html; charset=utf-8"},
		{"/replacement.html", "\uFFFD", "text/html; charset=utf-8"},

		// Without a known extension, the content decides.
		{"/LICENSE", "MIT License", "text/plain; charset=utf-8"},
		{"/page", "<!DOCTYPE html>", "text/html; charset=utf-8"},
		{"/picture", "\x89PNG\r\n\x1a\n", "image/png"},
		{"/latin1", "Gr\xf6\xdfe", "text/plain"},
		{"/utf16", "\xff\xfea\x00", "text/plain; charset=utf-16le"},
		{"/binary", "\x00\x01\x02", "application/octet-stream"},
		{"/a.unknown", "\x00\x01\x02", "application/octet-stream"},
		{"/unread", "", "application/octet-stream"},
		{"/v1.2/unread", "", "application/octet-stream"},
		{"/.well-known/js", "", "application/octet-stream"},
	} {
		if got := MediaType(tt.path, []byte(tt.head)); got != tt.want {
			t.Errorf("MediaType(%q, %q) = %q, want %q", tt.path, tt.head, got, tt.want)
		}
	}
}

func TestMediaTypesAreWellFormed(t *testing.T) {
	for ext, want := range mediaTypes {
		got, params, err := mime.ParseMediaType(want)
		if err != nil || got != want || len(params) != 0 || !strings.Contains(want, "/") {
			t.Errorf("%s: %q reads as %q %v: %v", ext, want, got, params, err)
		}
		if ext != strings.ToLower(ext) || strings.HasPrefix(ext, ".") {
			t.Errorf("extension %q is never found", ext)
		}
	}
}

func TestCompressible(t *testing.T) {
	const enough = 1000
	for _, tt := range []struct {
		mediaType string
		size      int64
		want      bool
	}{
		{"text/html; charset=utf-8", enough, true},
		{"text/html", enough, true},
		{"TEXT/CSS", enough, true},
		{"application/json", enough, true},
		{"application/manifest+json", enough, true},
		{"application/rss+xml; charset=utf-8", enough, true},
		{"image/svg+xml; charset=utf-8", enough, true},
		{"application/wasm", enough, true},
		{"font/ttf", enough, true},
		{"font/woff2", enough, false},
		{"image/png", enough, false},
		{"video/mp4", enough, false},
		{"application/zip", enough, false},
		{"application/octet-stream", enough, false},
		{"", enough, false},
		{"text", enough, false},
		{"text/html; charset=", enough, false},
		{"text/html", minCompressible - 1, false},
		{"text/html", minCompressible, true},
		{"text/html", maxCompressible, true},
		{"text/html", maxCompressible + 1, false},
	} {
		if got := Compressible(tt.mediaType, tt.size); got != tt.want {
			t.Errorf("Compressible(%q, %d) = %t, want %t", tt.mediaType, tt.size, got, tt.want)
		}
	}
}

func FuzzMediaType(f *testing.F) {
	f.Add("/a.html", []byte("<p>"))
	f.Add("/a", []byte("\xff\xfe"))
	f.Fuzz(func(t *testing.T, path string, head []byte) {
		if got := MediaType(path, head); !validFieldValue(got) {
			t.Errorf("MediaType(%q, %q) = %q, which cannot be sent", path, head, got)
		}
	})
}
