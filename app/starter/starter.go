// Package starter holds apps to begin from, and writes one into a folder. It does not
// know how they are built or deployed: their orla.toml says so.
package starter

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"text/template"

	"github.com/orla-edge/orla/app"
	"github.com/orla-edge/orla/release"
)

// Errors of [Write].
var (
	// ErrUnknown is returned for a template that is not there.
	ErrUnknown = errors.New("starter: no such template")
	// ErrNotEmpty is returned for a folder in which there is something already.
	ErrNotEmpty = errors.New("starter: folder is not empty")
)

// templates holds a folder for each template, and the files that all of them have. A
// file whose name ends with .tmpl is a text/template, one that begins with dot. is
// hidden: a .gitignore here would hide files of this repository.
//
//go:embed templates
var templates embed.FS

const (
	textSuffix   = ".tmpl"
	hiddenPrefix = "dot."
)

// Template is an app to begin from.
type Template struct {
	Name string
	// Summary tells in a few words what it is.
	Summary string
	// Tool is the program that builds it; empty if nothing is built.
	Tool string
	// Hint tells what the tool needs beside itself, or what to change first; it may
	// be empty.
	Hint string
}

// Templates returns all templates by name.
func Templates() []Template {
	return []Template{
		{Name: "go", Summary: "a page and an http.Handler in stock Go", Tool: "go"},
		{Name: "proxy", Summary: "routes in front of an app server", Hint: `write the URL of your app server into orla.toml, in place of "http://127.0.0.1:8000"`},
		{Name: "rust", Summary: "an http-wasm handler in Rust", Tool: "rustc", Hint: "rustup target add wasm32-unknown-unknown"},
		{Name: "static", Summary: "a static site"},
	}
}

// Names returns the names of all templates.
func Names() []string {
	var names []string
	for _, t := range Templates() {
		names = append(names, t.Name)
	}
	return names
}

// Result is what [Write] has made.
type Result struct {
	Template Template
	// Name of the app: the folder's.
	Name string
	// Files are their paths below the folder, with slashes, sorted.
	Files []string
}

// Write makes dir, if it is not there, and writes a template's files into it. The
// error wraps [ErrUnknown] or [ErrNotEmpty] where that is it, and then nothing has
// been written. A folder with nothing but a .git is empty.
func Write(name, dir string) (Result, error) {
	t, err := find(name)
	if err != nil {
		return Result{}, err
	}
	if err := empty(dir); err != nil {
		return Result{}, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return Result{}, fmt.Errorf("create folder: %w", err)
	}
	r := Result{Template: t, Name: app.NameFrom(dir)}
	files, err := render(t.Name, r.Name)
	if err != nil {
		return Result{}, err
	}
	for _, f := range files {
		if err := write(filepath.Join(dir, filepath.FromSlash(f.name)), f.content); err != nil {
			return Result{}, fmt.Errorf("write %s: %w", f.name, err)
		}
		r.Files = append(r.Files, f.name)
	}
	return r, nil
}

func find(name string) (Template, error) {
	for _, t := range Templates() {
		if t.Name == name {
			return t, nil
		}
	}
	known := strings.Join(Names(), ", ")
	switch name {
	case "js", "javascript", "ts", "typescript", "node":
		return Template{}, fmt.Errorf("%w: %q: this version of Orla runs no JavaScript on the node, a later one will, as WebAssembly components; a page's own JavaScript works with static; there are: %s", ErrUnknown, name, known)
	}
	if near := release.Nearest(name, Names()); near != "" {
		return Template{}, fmt.Errorf("%w: %q; did you mean %q?", ErrUnknown, name, near)
	}
	return Template{}, fmt.Errorf("%w: %q; there are: %s", ErrUnknown, name, known)
}

// empty tells what is in the way in dir.
func empty(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look into folder: %w", err)
	}
	for _, e := range entries {
		if e.Name() != ".git" {
			return fmt.Errorf("%w: %s has %s in it; name a folder that is not there yet", ErrNotEmpty, dir, e.Name())
		}
	}
	return nil
}

type file struct {
	name    string // with slashes
	content []byte
}

// render returns the files of a template for an app of that name.
func render(template, name string) ([]file, error) {
	files, err := renderTree(path.Join("templates", template), name)
	if err != nil {
		return nil, err
	}
	common, err := templates.ReadDir("templates")
	if err != nil {
		return nil, err
	}
	for _, e := range common {
		if e.IsDir() {
			continue
		}
		f, err := renderFile("templates", e.Name(), name)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	slices.SortFunc(files, func(a, b file) int { return strings.Compare(a.name, b.name) })
	return files, nil
}

func renderTree(root, name string) ([]file, error) {
	var files []file
	err := fs.WalkDir(templates, root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		f, err := renderFile(root, strings.TrimPrefix(p, root+"/"), name)
		files = append(files, f)
		return err
	})
	return files, err
}

func renderFile(root, below, name string) (file, error) {
	content, err := templates.ReadFile(path.Join(root, below))
	if err != nil {
		return file{}, err
	}
	if stem, ok := strings.CutSuffix(below, textSuffix); ok {
		below = stem
		t, err := template.New(below).Parse(string(content))
		if err != nil {
			return file{}, err
		}
		var out bytes.Buffer
		if err := t.Execute(&out, struct{ Name string }{name}); err != nil {
			return file{}, err
		}
		content = out.Bytes()
	}
	dir, base := path.Split(below)
	if hidden, ok := strings.CutPrefix(base, hiddenPrefix); ok {
		below = path.Join(dir, "."+hidden)
	}
	return file{below, content}, nil
}

// write makes a new file; one that has come into being meanwhile stays.
func write(name string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Close())
}
