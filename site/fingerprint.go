package site

import (
	"slices"
	"strings"
)

// Cache-Control of a site's files. What may change is revalidated each time, which
// an ETag makes a 304 without a body; what never changes under its name is not even
// asked for again (RFC 8246).
var (
	cacheRevalidate = one("public, max-age=0, must-revalidate")
	cacheImmutable  = one("public, max-age=31536000, immutable")
)

// cacheControl returns the field value for a file. Pages are always revalidated:
// they are what points to the fingerprinted files.
func cacheControl(path, mediaType string) []string {
	if !strings.HasPrefix(mediaType, "text/html") && fingerprinted(path) {
		return cacheImmutable
	}
	return cacheRevalidate
}

// immutableFolders are folders of frameworks that promise that a name in them never
// changes its content: SvelteKit, Next.js, Astro.
var immutableFolders = [...]string{"/_app/immutable/", "/_next/static/", "/_astro/"}

// fingerprinted reports whether a file's name has a hash of its content, as bundlers
// write them: "main.3b5d1e2f.js", "app-5Q3HPGUQ.css", "index-BX3f_Zt9.js.map".
//
// A name wrongly taken for one would be kept by browsers for a year, one missed
// costs a 304; so what could be a word, a date, a version or a number is no hash.
func fingerprinted(path string) bool {
	for _, folder := range immutableFolders {
		if strings.Contains(path, folder) {
			return true
		}
	}
	name := path[strings.LastIndexByte(path, '/')+1:]
	stem, rest, ok := strings.Cut(name, ".")
	if !ok || isUUID(stem) {
		return false
	}
	if len(stem) >= 16 && isHexHash(stem) || endsWithHash(stem) {
		return true
	}
	// Fields between dots: all but the last, which is the extension.
	for {
		field, more, ok := strings.Cut(rest, ".")
		if !ok {
			return false
		}
		if isHash(field) || endsWithHash(field) {
			return true
		}
		rest = more
	}
}

// endsWithHash reports whether s is "name-HASH".
func endsWithHash(s string) bool {
	// Of base64url, whose digits include the hyphen, eight are usual.
	if i := len(s) - shortHash - 1; i > 0 && s[i] == '-' && isShortHash(s[i+1:]) {
		return true
	}
	i := strings.LastIndexByte(s, '-')
	return i > 0 && isHexHash(s[i+1:])
}

func isHash(s string) bool { return isHexHash(s) || isShortHash(s) }

// hexLengths are the lengths, in digits, to which bundlers cut or leave hashes.
var hexLengths = [...]int{8, 10, 12, 16, 20, 24, 32, 40, 56, 64, 96, 128}

// isHexHash reports whether s is a hexadecimal hash, in one case; not a number, nor
// a word, nor one beside the other.
func isHexHash(s string) bool {
	if !slices.Contains(hexLengths[:], len(s)) || datelike(s) {
		return false
	}
	var kinds [4]int // of characters
	runs, last := 0, -1
	for i := range len(s) {
		k := charKind(s[i])
		if letter := s[i] | 0x20; k != kindDigit && (letter < 'a' || letter > 'f') {
			return false
		}
		kinds[k]++
		if k != last {
			runs++
		}
		last = k
	}
	return runs >= 3 && (kinds[kindLower] > 0) != (kinds[kindUpper] > 0)
}

// datelike reports whether s is a date whose month happens to be hexadecimal:
// "12dec2023", "2024feb1".
func datelike(s string) bool {
	s = strings.ToLower(s)
	for _, month := range [...]string{"dec", "feb"} {
		before, after, ok := strings.Cut(s, month)
		if ok && isDigits(before) && isDigits(after) {
			return true
		}
	}
	return false
}

func isDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// shortHash is the length of the hashes that esbuild (base32) and Rollup, and with
// it Vite (base64url), put into names.
const shortHash = 8

// isShortHash reports whether s is such a hash beyond reasonable doubt: it falls
// into many runs of capitals, small letters and digits, as words, camel case and
// "name2" do not. About two thirds of all hashes are recognised.
func isShortHash(s string) bool {
	if len(s) != shortHash {
		return false
	}
	var kinds [4]int // of characters
	runs, last := 0, -1
	for i := range len(s) {
		k := charKind(s[i])
		if k < 0 {
			return false
		}
		kinds[k]++
		// A capital with small letters after it is one run: a word.
		if k != last && (last != kindUpper || k != kindLower || i >= 2 && charKind(s[i-2]) == kindUpper) {
			runs++
		}
		last = k
	}
	switch {
	case kinds[kindOther] == 0 && kinds[kindLower] == 0:
		return runs >= 3 && kinds[kindDigit] > 0 && isBase32(s)
	case kinds[kindUpper] == 0 || kinds[kindLower] == 0:
		return false
	case kinds[kindDigit] > 0:
		return runs >= 4
	default:
		return runs >= 5 && kinds[kindOther] == 0
	}
}

const (
	kindLower = iota
	kindUpper
	kindDigit
	kindOther
)

// charKind returns the kind of a base64url digit, or -1.
func charKind(c byte) int {
	switch {
	case 'a' <= c && c <= 'z':
		return kindLower
	case 'A' <= c && c <= 'Z':
		return kindUpper
	case '0' <= c && c <= '9':
		return kindDigit
	case c == '-' || c == '_':
		return kindOther
	}
	return -1
}

// isBase32 reports whether s has no digit that RFC 4648 §6 lacks.
func isBase32(s string) bool { return !strings.ContainsAny(s, "0189") }

// isUUID reports whether s has the form of a UUID (RFC 9562), which names a thing,
// not a content.
func isUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		hyphen := i == 8 || i == 13 || i == 18 || i == 23
		if (s[i] == '-') != hyphen {
			return false
		}
	}
	return true
}
