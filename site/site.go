package site

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/orla-edge/orla/modules"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

// Blobs is where a site's content lies. [modules.Dir] is one.
type Blobs interface {
	// Open returns the blob for reading; the caller closes it.
	Open(d modules.Digest) (*os.File, error)
	// Read returns all of a blob of at most limit bytes.
	Read(d modules.Digest, limit int64) ([]byte, error)
}

// Config is what a Site is made of.
type Config struct {
	// Site is the release's part that describes the files. It is read by New only,
	// and not changed. Nil means a site without files.
	Site *orlav1.Site
	// Modified is sent as Last-Modified, in whole seconds. It must not go back when
	// a release is rolled back, else caches that only know dates keep the newer
	// content: hand in when the release became live. Zero means no Last-Modified.
	Modified time.Time
	// Blobs holds every file and variant of Site. Required.
	Blobs Blobs
	// Cache keeps small contents in memory. Nil means that every request reads.
	Cache *Cache
	// Logger is told what New leaves out. Nil means nobody is.
	Logger *slog.Logger
}

// Site answers requests for a release's files. It is immutable and safe for
// concurrent use; it holds nothing that would have to be closed.
//
// The path that it answers is r.URL's, which must be clean: without dot segments,
// encoded slashes still encoded in [url.URL.EscapedPath].
type Site struct {
	blobs    Blobs
	cache    *Cache
	modified time.Time

	// paths has every canonical path, and the own name of each file whose canonical
	// path is another; what an entry is found by is its canonical path if it equals
	// entry.path.
	paths map[string]*entry
	// pages has the entry of each 404.html by its folder, without the slash at the
	// end; nil unless the site answers with pages.
	pages map[string]*entry
	// shell is /index.html if the site is a single-page application; else nil.
	shell *entry

	html     orlav1.Html
	notFound orlav1.NotFound
	shared   sharedFields
}

var _ http.Handler = (*Site)(nil)

// New returns a handler for c.Site. Every path is resolved and every header value
// made here. Its errors name the file that is wrong; all of them are returned, not
// the first.
func New(c Config) (*Site, error) {
	if c.Blobs == nil {
		return nil, errors.New("site: Config.Blobs is nil")
	}
	files, left, err := servedFiles(c.Site.GetFiles())
	if err != nil {
		return nil, err
	}
	s := &Site{
		blobs:    c.Blobs,
		cache:    c.Cache,
		modified: c.Modified.UTC().Truncate(time.Second),
		html:     c.Site.GetHtml(),
		notFound: c.Site.GetNotFound(),
		shared:   newSharedFields(c.Modified),
	}
	if err := s.build(files); err != nil {
		return nil, err
	}
	if c.Logger != nil && left > 0 {
		c.Logger.Debug("files of a site are not served", slog.Int("files", left))
	}
	return s, nil
}

// servedFiles returns the files that requests can reach, sorted by path, and how
// many were left out.
func servedFiles(all []*orlav1.File) (files []*orlav1.File, left int, err error) {
	var errs []error
	files = make([]*orlav1.File, 0, len(all))
	for _, f := range all {
		if problem := pathProblem(f.GetPath()); problem != "" {
			errs = append(errs, fmt.Errorf("site: file %q: %s", f.GetPath(), problem))
			continue
		}
		files = append(files, f)
	}
	byPath := func(a, b *orlav1.File) int { return strings.Compare(a.GetPath(), b.GetPath()) }
	if !slices.IsSortedFunc(files, byPath) {
		slices.SortFunc(files, byPath)
	}
	for i := 1; i < len(files); i++ {
		if files[i].GetPath() == files[i-1].GetPath() {
			errs = append(errs, fmt.Errorf("site: file %q is there twice", files[i].GetPath()))
		}
	}
	all = files
	files = slices.DeleteFunc(files, func(f *orlav1.File) bool { return !Served(f.GetPath()) })
	return files, len(all) - len(files), errors.Join(errs...)
}

// build fills s.paths, s.pages and s.shell from the sorted files.
func (s *Site) build(files []*orlav1.File) error {
	names := make(map[string]struct{}, len(files))
	for _, f := range files {
		names[f.GetPath()] = struct{}{}
	}
	exists := func(path string) bool { _, ok := names[path]; return ok }

	var errs []error
	pages := make(map[string]*entry)
	s.paths = make(map[string]*entry, len(files))
	for _, f := range files {
		e, err := newEntry(f, &s.shared)
		if err != nil {
			errs = append(errs, fmt.Errorf("site: file %q: %w", f.GetPath(), err))
			continue
		}
		e.setPath(canonicalPath(f.GetPath(), s.html, exists))
		s.paths[e.path] = e
		s.paths[f.GetPath()] = e
		switch {
		case strings.HasSuffix(f.GetPath(), "/404.html"):
			pages[strings.TrimSuffix(f.GetPath(), "/404.html")] = e
		case f.GetPath() == "/index.html" && s.notFound == orlav1.NotFound_NOT_FOUND_SPA:
			s.shell = e
		}
	}
	if s.notFound == orlav1.NotFound_NOT_FOUND_PAGE && len(pages) > 0 {
		s.pages = pages
	}
	return errors.Join(errs...)
}

// neverServed are files at a site's root that configure it.
var neverServed = [...]string{"/_headers", "/_redirects", "/_worker.js", "/orla.toml"}

// Served reports whether requests can reach a file of that path at all. Names that
// begin with a dot are not served, nor what is below such a folder, except the
// folder /.well-known (RFC 8615); nor are the root's configuration files.
func Served(path string) bool {
	if slices.Contains(neverServed[:], path) {
		return false
	}
	rest, _ := strings.CutPrefix(path, "/.well-known/")
	return !strings.HasPrefix(rest, ".") && !strings.Contains(rest, "/.")
}

// pathProblem says what is wrong with a file's path; empty means nothing.
func pathProblem(path string) string {
	switch {
	case !strings.HasPrefix(path, "/"):
		return "the path has no leading slash"
	case strings.HasSuffix(path, "/"):
		return "the path ends with a slash"
	case strings.Contains(path, "//"):
		return "the path has an empty segment"
	case !utf8.ValidString(path):
		return "the path is not UTF-8"
	case strings.ContainsFunc(path, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\\' }):
		return "the path has a control character or a backslash, which no request can ask for"
	}
	for segment := range strings.SplitSeq(path[1:], "/") {
		if segment == "." || segment == ".." {
			return "the path has a dot segment"
		}
	}
	return ""
}
