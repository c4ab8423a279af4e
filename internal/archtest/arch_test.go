package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/orla-edge/orla"

// allowed lists for every package which packages of this module it may import.
// It is the architecture: a change here is a design decision, and belongs into
// docs/ARCHITECTURE.md too. "x/..." stands for x and all packages below it.
var allowed = map[string][]string{
	"proto/orla/v1":               {},
	"proto/orla/v1/orlav1connect": {"proto/orla/v1"},
	"router":                      {},
	"modules":                     {},
	"modules/peer":                {"modules"},
	"modules/s3":                  {"modules"},
	"modules/oci":                 {"modules"},
	"modules/store":               {"modules/..."},
	"guest":                       {},
	"seal":                        {},
	"certs":                       {"proto/..."},
	"cluster":                     {"identity"},
	"release":                     {"router", "modules", "proto/..."},
	"telemetry":                   {"proto/..."},
	"app/document":                {"release"},
	"app":                         {"app/document", "release", "site", "router", "modules", "proto/..."},
	"app/starter":                 {"app", "release"},
	"site":                        {"router", "modules", "telemetry", "proto/..."},
	"proxy":                       {"telemetry", "proto/..."},
	"server":                      {"router", "telemetry"},
	"runtime":                     {"runtime/...", "modules", "telemetry", "proto/..."},
	"runtime/cgi":                 {"runtime/host", "telemetry"},
	"runtime/httpwasm":            {"runtime/host", "telemetry"},
	"runtime/host":                {"telemetry"},
	"runtime/wasm":                {},
	"runtime/memory":              {},
	"runtime/compile":             {"runtime/wasm"},
	"dispatch":                    {"release", "runtime", "site", "proxy", "router", "telemetry", "modules", "proto/..."},
	"identity":                    {},
	"client":                      {"app", "release", "modules", "proto/..."},
	"dev":                         {"app", "client", "identity", "proto/..."},
	"control":                     {"cluster", "dispatch", "identity", "modules/peer", "release", "runtime", "runtime/host", "seal", "site", "router", "telemetry", "modules", "proto/..."},
	"node/handover":               {},
	"node":                        {"identity", "modules/peer", "node/handover", "certs", "cluster", "control", "dispatch", "modules/...", "proto/...", "proxy", "release", "router", "runtime", "seal", "server", "site", "telemetry"},
	"cmd/orla":                    {"cmd/orla/...", "identity", "app/...", "release", "client", "cluster", "dev", "node", "node/handover", "runtime", "runtime/compile", "runtime/memory", "telemetry", "proto/..."},
}

// owners lists the outside modules that belong to one package; packages below
// it count as it.
var owners = map[string][]string{
	"github.com/tetratelabs/wazero":      {"runtime"},
	"github.com/caddyserver/certmagic":   {"certs"},
	"github.com/mholt/acmez":             {"certs"},
	"github.com/libdns":                  {"certs"},
	"github.com/miekg/dns":               {"certs"},
	"github.com/nats-io":                 {"cluster"},
	"go.opentelemetry.io/otel/sdk":       {"telemetry"},
	"go.opentelemetry.io/otel/exporters": {"telemetry"},
	"go.opentelemetry.io/contrib":        {"telemetry"},
	"github.com/prometheus":              {"telemetry"},
	"go.uber.org/zap":                    {"certs"},
	"github.com/maypok86/otter":          {"site"},
	"github.com/klauspost/compress":      {"site"},
	"github.com/andybalholm/brotli":      {"site"},
	"github.com/pelletier/go-toml":       {"app"},
	"github.com/invopop/jsonschema":      {"app"},
	"github.com/adrg/xdg":                {"client"},
	"github.com/fsnotify/fsnotify":       {"dev"},
	"github.com/spf13":                   {"cmd/orla"},
	"github.com/schollz/progressbar":     {"cmd/orla"},
	"github.com/minio/minio-go":          {"modules/s3"},
	"oras.land/oras-go":                  {"modules/oci"},
	"github.com/opencontainers":          {"modules/oci"},
	"connectrpc.com/connect":             {"control", "client", "dev", "node", "cmd/orla", "proto"},
}

// source is one file of the module that is part of the product.
type source struct {
	name, pkg string
	file      *ast.File
	fset      *token.FileSet
}

// sources parses the module's files. It does not run go list: what a test
// opens itself is part of its cache key, what a child process reads is not.
func sources(t *testing.T) []source {
	t.Helper()
	root := os.DirFS("../..")
	var all []source
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return skip(root, name, d)
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		src, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, name, src, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		all = append(all, source{name: name, pkg: path.Dir(name), file: f, fset: fset})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) == 0 {
		t.Fatal("found no source files")
	}
	return all
}

// skip leaves out folders that hold no package of this module: hidden ones,
// test data, other modules and their code.
func skip(root fs.FS, name string, d fs.DirEntry) error {
	base := d.Name()
	if name == "." {
		return nil
	}
	if base[0] == '.' || base[0] == '_' || base == "testdata" || base == "node_modules" {
		return fs.SkipDir
	}
	if _, err := fs.Stat(root, path.Join(name, "go.mod")); err == nil {
		return fs.SkipDir
	}
	return nil
}

// placed reports whether the table has to place pkg: internal and examples are
// tools and guests.
func placed(pkg string) bool {
	return !strings.HasPrefix(pkg, "internal/") && !strings.HasPrefix(pkg, "examples/")
}

// row returns what pkg may import. A package without a row has that of the
// nearest package above it, and may import its own neighbours there.
func row(pkg string) (may []string, ok bool) {
	for p := pkg; p != "."; p = path.Dir(p) {
		if may, ok := allowed[p]; ok {
			if p != pkg {
				may = append(slices.Clone(may), p+"/...")
			}
			return may, true
		}
	}
	return nil, false
}

func matches(pattern, pkg string) bool {
	below, ok := strings.CutSuffix(pattern, "/...")
	return pattern == pkg || ok && within(pkg, below)
}

func within(pkg, dir string) bool { return pkg == dir || strings.HasPrefix(pkg, dir+"/") }

// violation tells why pkg may not import imp; empty if it may.
func violation(pkg, imp string) string {
	if imp == module || strings.HasPrefix(imp, module+"/") {
		in := strings.TrimPrefix(strings.TrimPrefix(imp, module), "/")
		may, ok := row(pkg)
		if !ok {
			return "package " + pkg + " has no place in the architecture; give it a row in allowed"
		}
		if !slices.ContainsFunc(may, func(p string) bool { return matches(p, in) }) {
			return "package " + pkg + " may not import " + in
		}
		return ""
	}
	for outside, in := range owners {
		if within(imp, outside) && !slices.ContainsFunc(in, func(p string) bool { return within(pkg, p) }) {
			return imp + " belongs to " + strings.Join(in, ", ")
		}
	}
	if pkg == "router" && strings.Contains(strings.Split(imp, "/")[0], ".") {
		return "router imports the standard library only, not " + imp
	}
	return ""
}

func TestImports(t *testing.T) {
	for _, s := range sources(t) {
		if !placed(s.pkg) {
			continue
		}
		if _, ok := row(s.pkg); !ok {
			t.Errorf("%s: package %s has no place in the architecture; give it a row in allowed", s.name, s.pkg)
		}
		for _, spec := range s.file.Imports {
			imp, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			if why := violation(s.pkg, imp); why != "" {
				t.Errorf("%s: %s", s.fset.Position(spec.Pos()), why)
			}
		}
	}
}

// TestViolation shows that the table can refuse.
func TestViolation(t *testing.T) {
	tests := []struct {
		pkg, imp string
		refused  bool
	}{
		{"router", module + "/modules", true},
		{"router", "net/netip", false},
		{"router", "golang.org/x/sync/errgroup", true},
		{"node", module + "/cluster", false},
		{"node", module + "/client", true},
		{"control", module + "/node", true},
		{"dispatch", "github.com/tetratelabs/wazero", true},
		{"runtime/cgi", "github.com/tetratelabs/wazero/api", false},
		{"runtime/cgi", module + "/runtime/httpwasm", true},
		{"runtime/host", module + "/runtime", true},
		{"runtime/wasm/fuel", module + "/runtime/wasm", false},
		{"site", "go.opentelemetry.io/otel/trace", false},
		{"site", "go.opentelemetry.io/otel/sdk/trace", true},
		{"release", module + "/proto/orla/v1", false},
		{"unheard", module + "/router", true},
	}
	for _, tt := range tests {
		if why := violation(tt.pkg, tt.imp); (why != "") != tt.refused {
			t.Errorf("violation(%q, %q) = %q, want refused %t", tt.pkg, tt.imp, why, tt.refused)
		}
	}
}

// TestAcyclic checks the table itself: Go would refuse a cycle of packages, but
// not a table that allows one.
func TestAcyclic(t *testing.T) {
	state := map[string]int{}
	var visit func(pkg string, trail []string)
	visit = func(pkg string, trail []string) {
		trail = append(trail, pkg)
		if state[pkg] == 1 {
			t.Fatalf("allowed has a cycle: %s", strings.Join(trail, " -> "))
		}
		if state[pkg] == 2 {
			return
		}
		state[pkg] = 1
		for _, p := range allowed[pkg] {
			for to := range allowed {
				if to != pkg && matches(p, to) {
					visit(to, trail)
				}
			}
		}
		state[pkg] = 2
	}
	for _, pkg := range slices.Sorted(maps.Keys(allowed)) {
		visit(pkg, nil)
	}
}

func TestPackageDocs(t *testing.T) {
	doc := map[string]bool{}
	for _, s := range sources(t) {
		if ast.IsGenerated(s.file) {
			continue
		}
		doc[s.pkg] = doc[s.pkg] || s.file.Doc != nil
	}
	for _, pkg := range slices.Sorted(maps.Keys(doc)) {
		if !doc[pkg] {
			t.Errorf("package %s has no package comment: one sentence what it is, and what it does not know", pkg)
		}
	}
}

// mutable reports whether a package variable is made for writing: it has no
// value, or an empty one. The linker sets main.version.
func mutable(name *ast.Ident, value ast.Expr) bool {
	switch v := value.(type) {
	case *ast.CallExpr:
		fun, ok := v.Fun.(*ast.Ident)
		return ok && (fun.Name == "make" || fun.Name == "new")
	case nil:
		return name.Name != "_" && name.Name != "version"
	}
	return false
}

// TestNoHiddenState finds init functions and package variables that can only
// be meant for writing: without a value, or made empty.
func TestNoHiddenState(t *testing.T) {
	for _, s := range sources(t) {
		if ast.IsGenerated(s.file) || strings.HasPrefix(s.pkg, "examples/") || s.pkg == "guest" || strings.HasPrefix(s.pkg, "internal/guests") {
			continue
		}
		for _, decl := range s.file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				t.Errorf("%s: init function; build it where it is used", s.fset.Position(f.Pos()))
			}
			g, ok := decl.(*ast.GenDecl)
			if !ok || g.Tok != token.VAR {
				continue
			}
			for _, name := range written(g) {
				t.Errorf("%s: package variable %s is state that no one owns; give it to a struct", s.fset.Position(name.Pos()), name.Name)
			}
		}
	}
}

// written returns the variables of g that are mutable, leaving out embedded files.
func written(g *ast.GenDecl) []*ast.Ident {
	var names []*ast.Ident
	for _, spec := range g.Specs {
		v := spec.(*ast.ValueSpec)
		if embeds(g.Doc) || embeds(v.Doc) {
			continue
		}
		for i, name := range v.Names {
			var value ast.Expr
			if i < len(v.Values) {
				value = v.Values[i]
			}
			if mutable(name, value) {
				names = append(names, name)
			}
		}
	}
	return names
}

func embeds(doc *ast.CommentGroup) bool {
	return doc != nil && slices.ContainsFunc(doc.List, func(c *ast.Comment) bool { return strings.HasPrefix(c.Text, "//go:embed ") })
}

// TestWritten shows which package variables count as state.
func TestWritten(t *testing.T) {
	tests := []struct {
		decl string
		want int
	}{
		{"var count int", 1},
		{"var cache = make(map[string]int)", 1},
		{"var mu, other sync.Mutex", 2},
		{"var p = new(int)", 1},
		{`var ErrGone = errors.New("gone")`, 0},
		{"var table = []string{\"a\"}", 0},
		{"var _ Store = Dir(\"\")", 0},
		{"var _ Store", 0},
		{"var version string", 0},
		{"//go:embed page.html\nvar page []byte", 0},
	}
	for _, tt := range tests {
		f, err := parser.ParseFile(token.NewFileSet(), "x.go", "package x\n"+tt.decl, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		if got := written(f.Decls[0].(*ast.GenDecl)); len(got) != tt.want {
			t.Errorf("%q has %d variables for writing, want %d", tt.decl, len(got), tt.want)
		}
	}
}

// TestImageHasEveryPackage looks whether a build in a container sees all that it
// needs: .dockerignore lists what goes in.
func TestImageHasEveryPackage(t *testing.T) {
	b, err := os.ReadFile("../../.dockerignore")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(b), "\n")
	for pkg := range allowed {
		if top, _, _ := strings.Cut(pkg, "/"); !slices.Contains(lines, "!"+top) {
			t.Errorf(".dockerignore leaves out %s; add !%s", pkg, top)
		}
	}
}
