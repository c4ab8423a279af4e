package app

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/orla-edge/orla/app/document"
)

// Problem is one thing to mend in what a person wrote.
type Problem = document.Problem

// Problems is everything found wrong; as an error it prints one problem a line.
type Problems = document.Problems

// Document is a TOML file that a person wrote.
type Document = document.Document

// ReadDocument parses a file, for packages that decode one of their own. The
// error is a [Problems] where the content is at fault.
func ReadDocument(path string) (*Document, error) { return document.Read(path) }

// source knows where the parts of a manifest were written.
type source struct {
	dir    string             // of the app, as the person gave it
	doc    *document.Document // nil for a lone module
	file   string             // what is at fault where doc says nothing
	routes []string           // the field of the file that each manifest route comes from
	// folders below dir that "site.files" and "functions.NAME.files" come from
	folders map[string]string
}

// problem places a problem of a manifest's field.
func (s *source) problem(field, message string) Problem {
	if path, ok := s.filePath(field); ok {
		return Problem{File: path, Field: field, Message: message}
	}
	if s.doc == nil {
		return Problem{File: s.file, Field: field, Message: message}
	}
	written := s.written(field)
	line, _ := s.doc.Position(written)
	return Problem{File: s.doc.File(), Line: line, Field: written, Message: message}
}

// written turns a manifest's field into the field of the file.
func (s *source) written(field string) string {
	var i int
	if _, err := fmt.Sscanf(field, "routes[%d]", &i); err != nil {
		return field
	}
	_, rest, _ := strings.Cut(field, "]")
	if i < 0 || i >= len(s.routes) {
		return field
	}
	return s.routes[i] + rest
}

// filePath returns the path of a file that a field such as "site.files[/a.css]"
// names.
func (s *source) filePath(field string) (string, bool) {
	for list, dir := range s.folders {
		if name, ok := strings.CutPrefix(field, list+"["); ok && len(name) > 1 {
			name = name[:max(1, strings.LastIndexByte(name, ']'))]
			return filepath.Join(s.dir, dir, filepath.FromSlash(name)), true
		}
	}
	return "", false
}
