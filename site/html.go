package site

import (
	"strings"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

const (
	htmlExt   = ".html"
	indexName = "index.html"
)

// canonicalPath returns the one URL path that a file answers at, decoded. A page
// has a clean path (without ".html", "index.html") unless another file claims it;
// then the page keeps its own name. No two files of a site get the same path:
// exists reports whether the site has a file, and is asked whenever a clean path
// could collide.
//
// The modes are those of Cloudflare Workers' static assets ("html_handling").
func canonicalPath(file string, mode orlav1.Html, exists func(string) bool) string {
	if mode == orlav1.Html_HTML_UNSPECIFIED {
		return file
	}
	if folder, ok := strings.CutSuffix(file, "/"+indexName); ok {
		return indexPath(file, folder, mode, exists)
	}
	page, ok := strings.CutSuffix(file, htmlExt)
	if !ok || strings.HasSuffix(page, "/") {
		return file
	}
	if mode == orlav1.Html_HTML_FORCE_SLASH {
		if exists(page + "/" + indexName) {
			return file
		}
		return page + "/"
	}
	if exists(page) {
		return file
	}
	return page
}

// indexPath is canonicalPath for the index.html of a folder, which is given without
// a slash at its end.
func indexPath(file, folder string, mode orlav1.Html, exists func(string) bool) string {
	if mode != orlav1.Html_HTML_DROP_SLASH || folder == "" {
		return file[:len(folder)+1]
	}
	if exists(folder) || exists(folder+htmlExt) {
		return file
	}
	return folder
}

// aliased returns the page that a path which is no file's own or canonical path
// stands for, or nil.
func (s *Site) aliased(path string) *entry {
	if s.html == orlav1.Html_HTML_UNSPECIFIED {
		return nil
	}
	for _, file := range aliasedFiles(path) {
		// A page that had to keep its own name answers to that name only; it is
		// found here at its canonical path.
		if e := s.paths[file]; e != nil && e.path != file {
			return e
		}
	}
	return nil
}

// aliasedFiles returns the files that a path may stand for, the likelier first.
// Where fewer than three come into question, the rest is empty.
func aliasedFiles(path string) [3]string {
	page, folder := path+htmlExt, path+"/"+indexName
	if dir, ok := strings.CutSuffix(path, "/index"); ok {
		return [3]string{page, dir + htmlExt, folder}
	}
	if dir, ok := strings.CutSuffix(path, "/"+indexName); ok {
		return [3]string{dir + htmlExt, page, folder}
	}
	if dir, ok := strings.CutSuffix(path, "/"); ok {
		return [3]string{path + indexName, dir + htmlExt}
	}
	if base, ok := strings.CutSuffix(path, htmlExt); ok {
		return [3]string{base + "/" + indexName, page, folder}
	}
	return [3]string{page, folder}
}
