package release

import (
	"fmt"
	"mime"
	"slices"
	"strings"

	"github.com/orla-edge/orla/modules"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

const (
	maxFilePath  = 2048    // bytes
	maxFileSize  = 1 << 40 // bytes; what a node stores may be less
	maxMediaType = 256     // bytes
)

func (v *validator) site() {
	s := v.manifest.GetSite()
	if s == nil {
		return
	}
	if _, ok := orlav1.NotFound_name[int32(s.GetNotFound())]; !ok {
		v.reject("site.not_found", "%d is not a way to answer a path that is not there; update the node if a newer one knows it", s.GetNotFound())
	}
	if _, ok := orlav1.Html_name[int32(s.GetHtml())]; !ok {
		v.reject("site.html", "%d is not a way to spell paths of pages; update the node if a newer one knows it", s.GetHtml())
	}
	v.files("site.files", s.GetFiles(), true)
}

// files checks a list of files; media says whether each needs a media type.
func (v *validator) files(list string, files []*orlav1.File, media bool) {
	paths := make(map[string]bool, len(files))
	for i, f := range files {
		field := fileField(list, i, f.GetPath())
		if !v.path(field, f.GetPath()) {
			continue
		}
		switch {
		case paths[f.GetPath()]:
			v.reject(field, "the file is there twice; remove one")
		case i > 0 && f.GetPath() < files[i-1].GetPath():
			v.reject(field, "the files are not sorted by path; sort them byte by byte")
		}
		paths[f.GetPath()] = true
		v.blob(field, f.GetDigest(), f.GetSize())
		if media || f.GetMediaType() != "" {
			v.mediaType(field, f.GetMediaType())
		}
		v.variants(field, f.GetVariants())
	}
	for i, f := range files {
		if folder := fileAbove(paths, f.GetPath()); folder != "" {
			v.reject(fileField(list, i, f.GetPath()), "%s is a file too, so it cannot be a folder; rename one of them", quote(folder))
		}
	}
}

// fileField names a file by its path, or by its place if the path is not fit to
// be printed.
func fileField(list string, i int, path string) string {
	if len(path) > maxFilePath || !printable(path) {
		return fmt.Sprintf("%s[%d]", list, i)
	}
	return list + "[" + path + "]"
}

// path reports whether p can be a file's path.
func (v *validator) path(field, p string) bool {
	segments := strings.Split(strings.TrimPrefix(p, "/"), "/")
	switch {
	case !strings.HasPrefix(p, "/"):
		v.reject(field, "path %s does not begin with a slash; write %s", quote(p), quote("/"+p))
	case len(p) > maxFilePath:
		v.reject(field, "the path has %d bytes, the most is %d; shorten it", len(p), maxFilePath)
	case strings.ToValidUTF8(p, "") != p:
		v.reject(field, "path %s is not UTF-8; rename the file", quote(p))
	case strings.ContainsFunc(p, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\\' }):
		v.reject(field, "path %s has a control character or backslash, which no URL may have; rename the file", quote(p))
	case slices.ContainsFunc(segments, func(s string) bool { return s == "" || s == "." || s == ".." }):
		v.reject(field, "path %s is not clean; write it without empty, \".\" and \"..\" segments and without a slash at its end", quote(p))
	default:
		return true
	}
	return false
}

// fileAbove returns a file among paths that p would have as a folder.
func fileAbove(paths map[string]bool, p string) string {
	for i := len(p) - 1; i > 0; i-- {
		if p[i] == '/' && paths[p[:i]] {
			return p[:i]
		}
	}
	return ""
}

func (v *validator) blob(field, digest string, size int64) {
	if _, err := modules.ParseDigest(digest); err != nil {
		v.reject(field, "%s is not a digest; write \"sha256:\" and 64 lower-case hexadecimal digits", quote(digest))
	}
	if size < 0 || size > maxFileSize {
		v.reject(field, "a size of %d bytes is impossible; write 0 to %d", size, int64(maxFileSize))
	}
}

func (v *validator) mediaType(field, s string) {
	_, _, err := mime.ParseMediaType(s)
	if err != nil || len(s) > maxMediaType || !validHeaderValue(s) || !strings.Contains(s, "/") {
		v.reject(field, "%s is not a media type; write one such as \"text/html; charset=utf-8\"", quote(s))
	}
}

func (v *validator) variants(field string, variants []*orlav1.Variant) {
	if len(variants) > 0 && !v.stored {
		v.reject(field, "a client must not send variants; the node makes them, leave them out")
		return
	}
	codings := make([]string, len(variants))
	for i, variant := range variants {
		codings[i] = variant.GetCoding()
		if !slices.Contains([]string{"br", "zstd", "gzip"}, variant.GetCoding()) {
			v.reject(field, "%s is not a coding of a variant; use br, zstd or gzip", quote(variant.GetCoding()))
		}
		v.blob(field, variant.GetDigest(), variant.GetSize())
	}
	if i, ok := duplicate(codings); ok {
		v.reject(field, "there are two variants in the coding %s; leave one out", quote(codings[i]))
	}
}
