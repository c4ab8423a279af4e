package app

import (
	"cmp"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/orla-edge/orla/app/document"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

// converter turns a decoded file into a manifest without the parts that are
// read from disk.
type converter struct {
	doc      *document.Document
	source   *source
	problems Problems
}

func (c *converter) reject(field, format string, args ...any) {
	if !c.problems.Covers(field) {
		c.problems = append(c.problems, c.doc.Problem(field, format, args...))
	}
}

// app converts orla.toml.
func (c *converter) app(f *appFile) *orlav1.Manifest {
	m := &orlav1.Manifest{Name: f.Name, Kind: orlav1.Kind_KIND_APP, Hosts: hosts(f.Hosts), Tls: c.tls(f.TLS)}
	if f.Site != nil {
		m.Site = &orlav1.Site{NotFound: notFound(f.Site.NotFound), Html: htmlMode(f.Site.HTML)}
	}
	for _, name := range slices.Sorted(maps.Keys(f.Functions)) {
		m.Functions = append(m.Functions, c.function(name, f.Functions[name]))
	}
	if f.Build != nil && f.Build.Command == "" {
		c.reject("build.command", `[build] needs a command: command = "make"`)
	}
	c.routes(m, f)
	return m
}

// routeSet converts routes.toml.
func (c *converter) routeSet(f *routesFile) *orlav1.Manifest {
	m := &orlav1.Manifest{Name: f.Name, Kind: orlav1.Kind_KIND_ROUTES, Hosts: hosts(f.Hosts), Tls: c.tls(f.TLS)}
	if len(f.Routes) == 0 {
		c.reject("routes", "the file has no [[routes]]; add one, or take the set away with orla remove")
	}
	for i := range f.Routes {
		field := fmt.Sprintf("routes[%d]", i)
		m.Routes = append(m.Routes, c.route(&f.Routes[i], field))
		c.source.routes = append(c.source.routes, field)
		for _, target := range []string{"function", "site"} {
			if c.doc.Has(field + "." + target) {
				c.reject(field+"."+target, "a route set has no %s of its own; use proxy, redirect, respond or rewrite, or put the route into the app's %s", target, AppFile)
			}
		}
	}
	return m
}

func hosts(written []string) []string {
	if len(written) == 0 {
		return []string{"*"}
	}
	return written
}

func notFound(s string) orlav1.NotFound {
	switch s {
	case "none":
		return orlav1.NotFound_NOT_FOUND_UNSPECIFIED
	case "spa":
		return orlav1.NotFound_NOT_FOUND_SPA
	}
	return orlav1.NotFound_NOT_FOUND_PAGE
}

func htmlMode(s string) orlav1.Html {
	switch s {
	case "none":
		return orlav1.Html_HTML_UNSPECIFIED
	case "force-slash":
		return orlav1.Html_HTML_FORCE_SLASH
	case "drop-slash":
		return orlav1.Html_HTML_DROP_SLASH
	}
	return orlav1.Html_HTML_AUTO
}

func (c *converter) function(name string, t functionTable) *orlav1.Function {
	field := "functions." + name
	c.positive(field+".concurrency", int64(t.Concurrency))
	switch {
	case t.Module == "":
		c.reject(field+".module", `function %q has no module; add module = "%s.wasm"`, name, name)
	case strings.Contains(t.Module, "://"):
		c.reject(field+".module", "%q: modules from a registry are not supported by this version of Orla; name a file in the app's folder", t.Module)
	}
	return &orlav1.Function{
		Name:        name,
		Source:      t.Module,
		MemoryBytes: int64(t.Memory),
		Timeout:     duration(t.Timeout),
		Concurrency: t.Concurrency,
		Env:         t.Env,
		Args:        t.Args,

		Cpu:          duration(t.CPU),
		Isolation:    isolation(t.Isolation),
		Limits:       c.limits(t.Limits, field+".limits"),
		ServerTiming: t.Timing,
		Kv:           t.KV,
		Secrets:      secrets(t.Secrets),
	}
}

// secrets names them; the node adds their versions.
func secrets(names []string) []*orlav1.SecretRef {
	var refs []*orlav1.SecretRef
	for _, name := range names {
		refs = append(refs, &orlav1.SecretRef{Name: name})
	}
	return refs
}

func isolation(s string) orlav1.Isolation {
	switch s {
	case "pooled":
		return orlav1.Isolation_ISOLATION_POOLED
	case "fresh":
		return orlav1.Isolation_ISOLATION_FRESH
	}
	return orlav1.Isolation_ISOLATION_UNSPECIFIED
}

// limits returns nil where the file says nothing, so that a release is the same
// with an empty table and without one.
func (c *converter) limits(t *limitsTable, field string) *orlav1.Limits {
	if t == nil {
		return nil
	}
	c.positive(field+".table", int64(t.Table))
	c.positive(field+".log_rate", int64(t.LogRate))
	c.positive(field+".host_calls", t.HostCalls)
	if *t == (limitsTable{}) {
		return nil
	}
	return &orlav1.Limits{
		StackBytes:        int64(t.Stack),
		TableElements:     t.Table,
		RequestBodyBytes:  int64(t.RequestBody),
		ResponseBodyBytes: int64(t.ResponseBody),
		LogBytes:          int64(t.Log),
		LogLinesPerSecond: t.LogRate,
		HostCalls:         t.HostCalls,
	}
}

// positive refuses a number that is written and not more than zero: zero means
// the default in a manifest.
func (c *converter) positive(field string, n int64) {
	if n <= 0 && c.doc.Has(field) {
		c.reject(field, "%s must be 1 or more; remove the line for the node's default", field[strings.LastIndexByte(field, '.')+1:])
	}
}

func duration(d document.Duration) *durationpb.Duration {
	if d == 0 {
		return nil
	}
	return durationpb.New(time.Duration(d))
}

// placed is a route with the field that it was written as.
type placed struct {
	route *orlav1.Route
	field string
}

// routes collects all routes of an app in file order: its [[routes]] and its
// functions' routes, then those that follow from what has none.
func (c *converter) routes(m *orlav1.Manifest, f *appFile) {
	var all []placed
	for i := range f.Routes {
		field := fmt.Sprintf("routes[%d]", i)
		all = append(all, placed{c.route(&f.Routes[i], field), field})
	}
	for _, fn := range m.Functions {
		for i, text := range f.Functions[fn.Name].Routes {
			field := fmt.Sprintf("functions.%s.routes[%d]", fn.Name, i)
			if match := c.pattern(text, field); match != nil {
				r := &orlav1.Route{Match: match, Source: c.written(field), Target: &orlav1.Route_Function{Function: fn.Name}}
				all = append(all, placed{r, field})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b placed) int {
		aLine, aColumn := c.doc.Position(a.field)
		bLine, bColumn := c.doc.Position(b.field)
		return cmp.Or(cmp.Compare(aLine, bLine), cmp.Compare(aColumn, bColumn))
	})
	all = append(all, c.implied(m, all)...)
	for _, p := range all {
		m.Routes = append(m.Routes, p.route)
		c.source.routes = append(c.source.routes, p.field)
	}
}

// implied returns the routes that follow from a site or a function which no
// route names.
func (c *converter) implied(m *orlav1.Manifest, written []placed) (more []placed) {
	everything := func(field string) *orlav1.Route {
		return &orlav1.Route{Match: &orlav1.Match{Path: "/*"}, Source: c.written(field)}
	}
	used := make(map[string]bool)
	for _, p := range written {
		used[p.route.GetFunction()] = true
		for _, name := range p.route.GetMiddleware() {
			used[name] = true
		}
	}
	for _, fn := range m.Functions {
		field := "functions." + fn.Name
		switch {
		case used[fn.Name] || c.problems.Covers(field+".routes"):
		case len(m.Functions) == 1 && m.Site == nil:
			r := everything(field)
			r.Target = &orlav1.Route_Function{Function: fn.Name}
			more = append(more, placed{r, field})
		default:
			c.reject(field, `no route leads to function %q; add routes = ["/%s/*"], or name it in the middleware of a route`, fn.Name, fn.Name)
		}
	}
	sited := func(p placed) bool { return p.route.GetSite() }
	if m.Site != nil && !slices.ContainsFunc(written, sited) {
		r := everything("site")
		r.Target = &orlav1.Route_Site{Site: true}
		more = append(more, placed{r, "site"})
	}
	return more
}

// written returns the place of a field as the manifest names it: without
// folders, so that the same app has the same digest wherever it lies.
func (c *converter) written(field string) string {
	line, _ := c.doc.Position(field)
	return fmt.Sprintf("%s:%d", filepath.Base(c.doc.File()), line)
}

// pattern reads a function's route: "/api/*", "POST /hooks/{id}" or
// "GET,HEAD /x".
func (c *converter) pattern(text, field string) *orlav1.Match {
	words := strings.Fields(text)
	switch {
	case len(words) == 1 && strings.HasPrefix(words[0], "/"):
		return &orlav1.Match{Path: words[0]}
	case len(words) == 2 && strings.HasPrefix(words[1], "/"):
		return &orlav1.Match{Methods: strings.Split(words[0], ","), Path: words[1]}
	}
	c.reject(field, `%q is not a route; write a path such as "/api/*", or methods and a path: "GET,POST /api/*"`, text)
	return nil
}
