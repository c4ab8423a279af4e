package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/orla-edge/orla/app/document"
	"github.com/orla-edge/orla/release"
)

// Check reads everything that a person wrote at path, changes nothing, builds
// nothing, and returns all problems as a [Problems]; nil means that a node has
// all it needs. path is an app's folder, its orla.toml, a lone module, or the
// file of a route set.
func Check(ctx context.Context, path string) error {
	path = filepath.Clean(path)
	info, err := os.Stat(path)
	folder := err == nil && info.IsDir()
	set := folder && exists(path, RoutesFile)
	if set && !exists(path, AppFile) || err == nil && !folder && filepath.Ext(path) == ".toml" && filepath.Base(path) != AppFile {
		_, err := Routes(path)
		return err
	}
	err = checkApp(ctx, path)
	if set {
		_, setErr := Routes(path)
		err = merge(err, setErr)
	}
	return err
}

func checkApp(ctx context.Context, path string) error {
	p, err := newPacker(Options{Path: path})
	if err != nil {
		return err
	}
	defer p.root.Close() //nolint:errcheck // only read
	_, err = p.pack(ctx)
	return err
}

// merge joins two errors, two Problems to one.
func merge(a, b error) error {
	p, _ := errors.AsType[Problems](a)
	q, _ := errors.AsType[Problems](b)
	if p == nil || q == nil {
		return errors.Join(a, b)
	}
	return append(p, q...)
}

func exists(dir, file string) bool {
	_, err := os.Stat(filepath.Join(dir, file))
	return err == nil
}

// Routes reads a route set. path is its file, or a folder with a routes.toml.
// The error is a [Problems] where the person has something to mend.
func Routes(path string) (*Package, error) {
	path = filepath.Clean(path)
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		path = filepath.Join(path, RoutesFile)
	}
	doc, err := document.Read(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, Problems{{File: path, Message: "there is no such file"}}
	}
	if err != nil {
		return nil, err
	}
	return routes(doc)
}

func routes(doc *document.Document) (*Package, error) {
	var f routesFile
	problems := doc.Decode(&f)
	if f.Name == "" && !problems.Covers("name") {
		problems = append(problems, Problem{
			File: doc.File(), Line: 1, Field: "name",
			Message: fmt.Sprintf("the route set has no name; add name = %q as the first line", "edge"),
		})
	}
	c := &converter{doc: doc, source: &source{dir: filepath.Dir(doc.File()), doc: doc}, problems: problems}
	pkg := &Package{Manifest: c.routeSet(&f), source: c.source}
	if len(pkg.Manifest.GetTls().GetClientCa()) > 0 {
		root, err := os.OpenRoot(c.source.dir)
		if err != nil {
			return nil, fmt.Errorf("open the route set's folder: %w", err)
		}
		defer root.Close() //nolint:errcheck // only read
		readClientCAs(root, pkg.Manifest.GetTls(), func(field, message string) { c.reject(field, "%s", message) })
	}
	for _, v := range release.Validate(pkg.Manifest) {
		if q := c.source.problem(v.Field, v.Message); !c.problems.Covers(q.Field) {
			c.problems = append(c.problems, q)
		}
	}
	c.problems.Sort()
	if err := c.problems.Err(); err != nil {
		return nil, err
	}
	return pkg, nil
}
