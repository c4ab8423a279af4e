package site

import (
	"math/rand/v2"
	"testing"
)

func TestFingerprinted(t *testing.T) {
	for path, want := range map[string]bool{
		// webpack, Parcel, Create React App, Angular
		"/main.3b5d1e2f.js": true, "/static/css/main.073c9b0a.css": true, "/static/js/787.0b1f6e4a.chunk.js": true,
		"/runtime~main.a1b2c3d4e5f6a7b8c9d0.js": true, "/main.8f3d3a1e3c9f2a1b.js": true, "/a.3B5D1E2F.js": true,
		"/main.073c9b0a.js.map": true, "/main.073c9b0a.js.LICENSE.txt": true,
		// Next.js, Gatsby
		"/chunks/255-ebd51be49873d76c.js": true, "/component---src-pages-index-js-7ab3fc1e1f4fd52c7f19.js": true,
		// Rollup and Vite: base64url
		"/assets/index-BX3f_Zt9.js": true, "/assets/index-DkQ4a-7x.css": true, "/assets/index-BKFqT3y4.js.map": true,
		"/assets/logo-CvB9K2sd.svg": true, "/entry/start.BV4J6zSX.js": true,
		// esbuild: base32
		"/app-5Q3HPGUQ.js": true, "/chunk-Z3K7WQ2A.js": true,
		// Hugo, Sprockets, Django
		"/css/style.min.6a2f41a3c54f29e8f3a8be2f9a0b7c6d5e4f3a2b1c0d9e8f7a6b5c4d3e2f1a0b.css": true,
		"/application-908e25f4bf641868d8683022a5b62f54.js":                                    true, "/base.27e20196a850.css": true,
		// Names that are a hash, and folders that promise it
		"/img/d41d8cd98f00b204e9800998ecf8427e.png": true,
		"/_app/immutable/chunks/x.js":               true, "/docs/_next/static/abc/_buildManifest.js": true, "/_astro/page.css": true,

		// Words, in every case
		"/index.html": false, "/app.js": false, "/user-settings.css": false, "/app-calendar.js": false, "/a.settings.js": false,
		"/README-FEATURES.md": false, "/view-UserList.js": false, "/view-MyBigCat.js": false, "/x-JSONView.js": false,
		"/x-camelCas.js": false, "/effaced-defaced8.js": false, "/x.deadbeef.js": false, "/x-facadede.css": false,
		// Words with numbers
		"/app-es2015.js": false, "/book-Chapter1.css": false, "/bundle-utf8Data.js": false, "/pic-Picture1.png": false,
		"/pic-IMG20241.jpg": false, "/app-h264Main.js": false, "/app-win32x64.zip": false, "/x-WINDOWS7.js": false,
		"/font-Roboto400.woff2": false, "/icon-512x5120.png": false,
		// Dates and times
		"/report-20240131.pdf": false, "/log.20240131.txt": false, "/backup-1700000000.json": false, "/a-202401311200.js": false,
		"/report-2024dec1.pdf": false, "/report-31dec202.pdf": false, "/menu-3FEB2025.pdf": false, "/post-2024-01-31.json": false,
		// Versions
		"/jquery-3.7.1.min.js": false, "/lib.1.2.3.js": false, "/lib-1.10.12345678.js": false, "/app-v2.0.0-rc1.js": false,
		// Names of things
		"/550e8400-e29b-41d4-a716-44665544000a.png": false,
		// Too short, without an extension, hidden in a folder, not alone
		"/a.1b2c3d4.js": false, "/main-3b5d1e2f": false, "/assets-3b5d1e2f/main.js": false, "/3b5d1e2f.js": false,
		"/main_3b5d1e2f.js": false, "/-3b5d1e2f.js": false, "/img.3b5D1e2f3b5D1e2f.js": false, "/.3b5d1e2f": false, "/": false,
	} {
		if got := fingerprinted(path); got != want {
			t.Errorf("fingerprinted(%q) = %t, want %t", path, got, want)
		}
	}
}

// The share of real hashes that is recognised; the rest costs a revalidation.
func TestFingerprintsRecognised(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, tt := range []struct {
		name, digits string
		length       int
		atLeast      float64
	}{
		{"webpack, 8 of 16", "0123456789abcdef", 8, 0.9},
		{"webpack, 20 of 16", "0123456789abcdef", 20, 0.99},
		{"esbuild, 8 of 32", "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 8, 0.6},
		{"Rollup, 8 of 64", "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", 8, 0.6},
	} {
		const tries = 20_000
		hits := 0
		for range tries {
			hash := make([]byte, tt.length)
			for i := range hash {
				hash[i] = tt.digits[random.IntN(len(tt.digits))]
			}
			if fingerprinted("/assets/index-" + string(hash) + ".js") {
				hits++
			}
		}
		share := float64(hits) / tries
		t.Logf("%s: %.1f %% recognised", tt.name, 100*share)
		if share < tt.atLeast {
			t.Errorf("%s: %.3f recognised, want %.3f", tt.name, share, tt.atLeast)
		}
	}
}

func TestPagesAreNeverImmutable(t *testing.T) {
	if got := cacheControl("/a-3b5d1e2f.html", "text/html; charset=utf-8")[0]; got != "public, max-age=0, must-revalidate" {
		t.Errorf("Cache-Control of a page is %q", got)
	}
}
