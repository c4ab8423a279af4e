package app_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/orla-edge/orla/app"
	"github.com/orla-edge/orla/modules"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

// tree writes an app's folder; a content that begins with "->" is a symbolic
// link.
func tree(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, ok := strings.CutPrefix(content, "->"); ok {
			err = os.Symlink(target, path)
		} else {
			err = os.WriteFile(path, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func pack(t testing.TB, o app.Options) *app.Package {
	t.Helper()
	p, err := app.Pack(t.Context(), o)
	if err != nil {
		t.Fatalf("Pack: %v", err)
	}
	return p
}

func routeLines(m *orlav1.Manifest) []string {
	var lines []string
	for _, r := range m.GetRoutes() {
		target := fmt.Sprintf("%T", r.GetTarget())
		if r.GetFunction() != "" {
			target = r.GetFunction()
		}
		target = strings.TrimPrefix(target, "*orlav1.Route_")
		lines = append(lines, strings.TrimSpace(fmt.Sprint(strings.Join(r.GetMatch().GetMethods(), ","), " ", r.GetMatch().GetPath(), " ", target, " ", r.GetSource())))
	}
	return lines
}

func TestPackRoutes(t *testing.T) {
	for _, test := range []struct {
		name, file string
		want       []string
	}{
		{"a lone function takes everything", "[functions.api]\nmodule = 'a.wasm'", []string{"/* api orla.toml:2"}},
		{"a site comes last", "[site]\n[functions.api]\nmodule = 'a.wasm'\nroutes = ['/api/*', 'GET,HEAD /x']", []string{
			"/api/* api orla.toml:5", "GET,HEAD /x api orla.toml:5", "/* Site orla.toml:2",
		}},
		{"a routed site is not routed again", "[site]\n[[routes]]\nmatch = { path = '/s/*' }\nsite = true", []string{"/s/* Site orla.toml:3"}},
		{"file order", "routes = [{ match = { path = '/1' }, respond = {} }]\n[functions.b]\nmodule = 'a.wasm'\nroutes = ['/2']\n[functions.a]\nmodule = 'a.wasm'\nroutes = ['/3']", []string{
			"/1 Respond orla.toml:2", "/2 b orla.toml:5", "/3 a orla.toml:8",
		}},
		{"a function named by a route", "[site]\n[functions.a]\nmodule = 'a.wasm'\n[[routes]]\nmatch = { path = '/a' }\nfunction = 'a'", []string{
			"/a a orla.toml:5", "/* Site orla.toml:2",
		}},
		{"a function in front of another target", "[functions.auth]\nmodule = 'a.wasm'\n[[routes]]\nmatch = { path = '/a' }\nrespond = {}\nmiddleware = ['auth']", []string{
			"/a Respond orla.toml:4",
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := tree(t, map[string]string{"orla.toml": "name = 'shop'\n" + test.file, "a.wasm": moduleBytes, "public/index.html": "x"})
			p := pack(t, app.Options{Path: dir})
			if got := routeLines(p.Manifest); !slices.Equal(got, test.want) {
				t.Errorf("routes\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(test.want, "\n"))
			}
		})
	}
}

func TestPackKeysOfFunctions(t *testing.T) {
	const head = "module = 'a.wasm'\n"
	for _, tt := range []struct {
		name, file string
		want       *orlav1.Function
	}{
		{"none", head, &orlav1.Function{}},
		{"cpu", head + "cpu = '50ms'", &orlav1.Function{Cpu: durationpb.New(50 * time.Millisecond)}},
		// The default is said once, so that a release with the line is the one without.
		{"isolation request", head + "isolation = 'request'", &orlav1.Function{}},
		{"isolation pooled", head + "isolation = 'pooled'", &orlav1.Function{Isolation: orlav1.Isolation_ISOLATION_POOLED}},
		{"isolation fresh", head + "isolation = 'fresh'", &orlav1.Function{Isolation: orlav1.Isolation_ISOLATION_FRESH}},
		{"server_timing", head + "server_timing = true", &orlav1.Function{ServerTiming: true}},
		{"empty limits", head + "[functions.api.limits]", &orlav1.Function{}},
		{"limits", head + `limits = { stack = "8MiB", table = 10000, request_body = "10MiB", response_body = "100MB", log = "256KiB", log_rate = 1000, host_calls = 1_000_000 }`, &orlav1.Function{Limits: &orlav1.Limits{
			StackBytes: 8 << 20, TableElements: 10_000, RequestBodyBytes: 10 << 20, ResponseBodyBytes: 100_000_000,
			LogBytes: 256 << 10, LogLinesPerSecond: 1000, HostCalls: 1_000_000,
		}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := tree(t, map[string]string{"orla.toml": "name = 'shop'\n[functions.api]\n" + tt.file, "a.wasm": moduleBytes})
			got := pack(t, app.Options{Path: dir}).Manifest.GetFunctions()[0]
			tt.want.Name, tt.want.Source, tt.want.Module, tt.want.ModuleSize = "api", "a.wasm", got.GetModule(), got.GetModuleSize()
			if diff := cmp.Diff(tt.want, got, protocmp.Transform()); diff != "" {
				t.Errorf("the function differs, - want + got:\n%s", diff)
			}
		})
	}
}

func TestPackDefaults(t *testing.T) {
	dir := tree(t, map[string]string{
		"orla.toml":         "name = 'shop'\n[site]\n[[routes]]\nmatch = { path = '/a' }\nredirect = { to = '/b' }\n[[routes]]\nmatch = { path = '/c' }\nrespond = { body = 'c' }\n",
		"public/index.html": "x",
	})
	m := pack(t, app.Options{Path: dir}).Manifest
	if got := m.GetHosts(); !slices.Equal(got, []string{"*"}) {
		t.Errorf("hosts = %q, want *", got)
	}
	if s := m.GetSite(); s.GetNotFound() != orlav1.NotFound_NOT_FOUND_PAGE || s.GetHtml() != orlav1.Html_HTML_AUTO {
		t.Errorf("site = %v, %v", s.GetNotFound(), s.GetHtml())
	}
	if got := m.GetRoutes()[0].GetRedirect().GetStatus(); got != 308 {
		t.Errorf("redirect status = %d, want 308", got)
	}
	if got := m.GetRoutes()[1].GetRespond().GetStatus(); got != 200 {
		t.Errorf("respond status = %d, want 200", got)
	}
	m = pack(t, app.Options{Path: filepath.Join(dir, "orla.toml"), Name: "other", Hosts: []string{"a.example"}}).Manifest
	if m.GetName() != "other" || !slices.Equal(m.GetHosts(), []string{"a.example"}) {
		t.Errorf("with options: %q %q", m.GetName(), m.GetHosts())
	}
}

func TestPackFiles(t *testing.T) {
	dir := tree(t, map[string]string{
		"orla.toml":                           "name = 'shop'\n[site]\n[functions.api]\nmodule = 'api.wasm'\nroutes = ['/api']\nfiles = 'lib'\n",
		"api.wasm":                            moduleBytes,
		"src/shared.css":                      "a{}",
		"src/deep/x.txt":                      "x",
		"lib/b.py":                            "b",
		"lib/pkg/a.py":                        "a",
		"public/index.html":                   "<!doctype html>",
		"public/b.txt":                        "same",
		"public/a.txt":                        "same",
		"public/empty":                        "",
		"public/linked.css":                   "->../src/shared.css",
		"public/linked":                       "->../src/deep",
		"public/ü/straße.txt":                 "u",
		"public/.well-known/security.txt":     "s",
		"public/.git/config":                  "secret",
		"public/.env":                         "secret",
		"public/sub/.well-known/security.txt": "no",
		"public/notes.txt~":                   "kept",
	})
	var calls int
	var last [2]int64
	p := pack(t, app.Options{Path: dir, Progress: func(done, total int64, _ string) { calls, last = calls+1, [2]int64{done, total} }})

	var got []string
	for _, f := range p.Manifest.GetSite().GetFiles() {
		got = append(got, f.GetPath())
	}
	want := []string{"/.well-known/security.txt", "/a.txt", "/b.txt", "/empty", "/index.html", "/linked.css", "/linked/x.txt", "/notes.txt~", "/ü/straße.txt"}
	if !slices.Equal(got, want) {
		t.Errorf("site files\n%q\nwant\n%q", got, want)
	}
	if want := []string{"public/.env", "public/.git", "public/sub/.well-known"}; !slices.Equal(p.Skipped, want) {
		t.Errorf("Skipped = %q, want %q", p.Skipped, want)
	}
	fn := p.Manifest.GetFunctions()[0]
	if len(fn.GetFiles()) != 2 || fn.GetFiles()[0].GetPath() != "/b.py" || fn.GetFiles()[1].GetPath() != "/pkg/a.py" {
		t.Errorf("function's files = %v", fn.GetFiles())
	}
	if fn.GetModule() != modules.Sum([]byte(moduleBytes)).String() || fn.GetModuleSize() != 8 || fn.GetSource() != "api.wasm" {
		t.Errorf("module = %v", fn)
	}
	if f := p.Manifest.GetSite().GetFiles()[4]; f.GetMediaType() != "text/html; charset=utf-8" || f.GetSize() != 15 || f.GetDigest() != modules.Sum([]byte("<!doctype html>")).String() {
		t.Errorf("index.html = %v", f)
	}
	if calls != 12 || last[0] != last[1] || last[1] == 0 {
		t.Errorf("progress called %d times, last with %v", calls, last)
	}
	if len(p.Blobs) != 11 {
		t.Errorf("%d blobs, want 11: equal files share one", len(p.Blobs))
	}
	for _, b := range p.Blobs {
		if content := read(t, p, b.Digest); modules.Sum(content) != b.Digest || int64(len(content)) != b.Size {
			t.Errorf("blob of %s is not its file", b.Path)
		}
	}
}

func read(t *testing.T, p *app.Package, d modules.Digest) []byte {
	t.Helper()
	r, size, err := p.Open(d)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	content, err := io.ReadAll(r)
	if err != nil || int64(len(content)) != size {
		t.Fatalf("read %s: %d of %d bytes, %v", d, len(content), size, err)
	}
	return content
}

func TestPackAppFolderAsSite(t *testing.T) {
	dir := tree(t, map[string]string{
		"orla.toml":   "name = 'shop'\n[site]\ndir = '.'\n[functions.api]\nmodule = 'build/api.wasm'\nroutes = ['/api']\nfiles = 'lib'\n",
		"routes.toml": "", "index.html": "x", "build/api.wasm": moduleBytes, "lib/secret.py": "x", "sub/orla.toml": "a file like any other",
	})
	p := pack(t, app.Options{Path: dir})
	var got []string
	for _, f := range p.Manifest.GetSite().GetFiles() {
		got = append(got, f.GetPath())
	}
	if want := []string{"/index.html", "/sub/orla.toml"}; !slices.Equal(got, want) {
		t.Errorf("site files %q, want %q", got, want)
	}
	if want := []string{"build/api.wasm", "lib", "orla.toml", "routes.toml"}; !slices.Equal(p.Skipped, want) {
		t.Errorf("Skipped = %q, want %q", p.Skipped, want)
	}
}

func TestPackTellsBadFiles(t *testing.T) {
	outside := tree(t, map[string]string{"secret": "x"})
	dir := tree(t, map[string]string{
		"orla.toml":         "name = 'shop'\n[site]\n",
		"public/ok.html":    "x",
		"public/out":        "->" + filepath.Join(outside, "secret"),
		"public/out-dir":    "->" + outside,
		"public/relative":   "->../../../../../../../../../../etc/hostname",
		"public/dangling":   "->nowhere",
		"public/loop":       "->loop",
		"public/again/up":   "->..",
		"public/back\\lash": "x",
		"public/new\nline":  "x",
		"public/bad\xff":    "x",
	})
	if err := syscall.Mkfifo(filepath.Join(dir, "public/pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	socket, err := new(net.ListenConfig).Listen(t.Context(), "unix", "public/socket")
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()

	_, err = app.Pack(t.Context(), app.Options{})
	want := strings.Join([]string{
		`public/again/up: the symbolic link leads back to a folder above it; remove it`,
		`"public/back\\lash": the file's name has a backslash or a control character, which no URL may have; rename it`,
		`"public/bad\xff": the file's name is not UTF-8; rename it`,
		`public/dangling: the symbolic link leads nowhere; remove it or build what it names`,
		`public/loop: the file cannot be read: too many levels of symbolic links`,
		`"public/new\nline": the file's name has a backslash or a control character, which no URL may have; rename it`,
		`public/out: the symbolic link leads out of the app's folder, as every absolute one does; put a copy in its place`,
		`public/out-dir: the symbolic link leads out of the app's folder, as every absolute one does; put a copy in its place`,
		`public/pipe: a named pipe cannot be deployed, only regular files; remove it`,
		`public/relative: the symbolic link leads out of the app's folder, as every absolute one does; put a copy in its place`,
		`public/socket: a socket cannot be deployed, only regular files; remove it`,
	}, "\n")
	if err == nil || err.Error() != want {
		t.Errorf("Pack says\n%v\nwant\n%s", err, want)
	}
}

func TestPackLimitsProblems(t *testing.T) {
	files := map[string]string{"orla.toml": "name = 'shop'\n[site]\n"}
	for i := range 60 {
		files[fmt.Sprintf("public/%02d", i)] = "->nowhere"
	}
	_, err := app.Pack(t.Context(), app.Options{Path: tree(t, files)})
	problems, ok := errors.AsType[app.Problems](err)
	if !ok || len(problems) != 51 || !strings.HasSuffix(err.Error(), "10 more problems in this folder") {
		t.Errorf("Pack returned %d problems, want 50 and a count of the others: %v", len(problems), err)
	}
}

func TestPackTellsVanishedFile(t *testing.T) {
	files := map[string]string{"orla.toml": "name = 'shop'\n[site]\n"}
	// While a report is running each reader finishes one file at most.
	for i := range runtime.GOMAXPROCS(0) + 2 {
		files[fmt.Sprintf("public/%d.html", i)] = "x"
	}
	dir := tree(t, files)
	_, err := app.Pack(t.Context(), app.Options{Path: dir, Progress: func(int64, int64, string) {
		if err := os.RemoveAll(filepath.Join(dir, "public")); err != nil {
			t.Error(err)
		}
	}})
	if err == nil || !strings.Contains(err.Error(), "html: the file vanished while it was being packed; deploy again") {
		t.Errorf("Pack says %v", err)
	}
}

func TestOpenTellsChange(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(path string) error
		want   string
	}{
		{"same size", func(p string) error { return os.WriteFile(p, []byte("XXXX"), 0o644) }, "changed while it was being deployed; deploy again"},
		{"longer", func(p string) error { return os.WriteFile(p, []byte("12345"), 0o644) }, "changed while it was being deployed; deploy again"},
		{"shorter", func(p string) error { return os.WriteFile(p, nil, 0o644) }, "changed while it was being deployed; deploy again"},
		{"gone", os.Remove, "vanished while it was being deployed; deploy again"},
		{"a pipe", func(p string) error { return errors.Join(os.Remove(p), syscall.Mkfifo(p, 0o600)) }, "it became a named pipe"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := tree(t, map[string]string{"orla.toml": "name = 'shop'\n[site]\n", "public/a.html": "1234"})
			p := pack(t, app.Options{Path: dir})
			path := filepath.Join(dir, "public/a.html")
			if err := test.change(path); err != nil {
				t.Fatal(err)
			}
			r, _, err := p.Open(p.Blobs[0].Digest)
			if err == nil {
				defer r.Close()
				_, err = io.Copy(io.Discard, r)
			}
			if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("Open and read of a file that is %s: %v", test.name, err)
			}
		})
	}
}

func TestPackLoneModule(t *testing.T) {
	dir := tree(t, map[string]string{"My_API.wasm": moduleBytes, "bad.wasm": "hello", "notes.txt": "x"})
	p := pack(t, app.Options{Path: filepath.Join(dir, "My_API.wasm")})
	if got := routeLines(p.Manifest); p.Manifest.GetName() != "my-api" || !slices.Equal(got, []string{"/* my-api My_API.wasm"}) || !slices.Equal(p.Manifest.GetHosts(), []string{"*"}) {
		t.Errorf("lone module packed as %v", p.Manifest)
	}
	p = pack(t, app.Options{Path: filepath.Join(dir, "My_API.wasm"), Name: "api"})
	if p.Manifest.GetName() != "api" {
		t.Errorf("name = %q, want api", p.Manifest.GetName())
	}
	for file, want := range map[string]string{
		"bad.wasm":     `bad.wasm: "bad.wasm" is not a WebAssembly module; name the .wasm file that your build makes (orla module inspect shows what a file is)`,
		"notes.txt":    "notes.txt: not an app: name a folder with orla.toml, or a .wasm file",
		"nothing.wasm": "nothing.wasm: there is no such file or folder",
	} {
		_, err := app.Pack(t.Context(), app.Options{Path: filepath.Join(dir, file)})
		if err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("Pack(%s) says %v, want %s", file, err, want)
		}
	}
}

func TestPackSameContentSameManifest(t *testing.T) {
	files := map[string]string{"orla.toml": "name = 'shop'\n[site]\n[functions.a]\nmodule = 'a.wasm'\nroutes = ['/a']\nenv = { B = '1', A = '2' }\n", "a.wasm": moduleBytes, "public/x": "x", "public/y/z": "z"}
	encode := func() []byte {
		m := pack(t, app.Options{Path: tree(t, files)}).Manifest
		b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	if !bytes.Equal(encode(), encode()) {
		t.Error("the same app in two folders gives two manifests")
	}
}

func TestPackForEveryHost(t *testing.T) {
	for hosts, want := range map[string][]string{
		"":                               {"*"},
		"hosts = ['a.example']":          {"a.example", "*"},
		"hosts = ['*', 'a.example']":     {"*", "a.example"},
		"hosts = ['a.example', '*.b.c']": {"a.example", "*.b.c", "*"},
	} {
		dir := tree(t, map[string]string{"orla.toml": "name = 'shop'\n" + hosts + "\n[site]\n", "public/index.html": "x"})
		if got := pack(t, app.Options{Path: dir, EveryHost: true}).Manifest.GetHosts(); !slices.Equal(got, want) {
			t.Errorf("%s: hosts = %q, want %q", hosts, got, want)
		}
	}
}

// TestPackTellsOfTheBuild: the hooks are called in their order, and Built only after a
// good end.
func TestPackTellsOfTheBuild(t *testing.T) {
	for command, want := range map[string]string{"": "built", "echo x > public/made": "building echo x > public/made, built", "exit 1": "building exit 1"} {
		file := "name = 'shop'\n[site]\n"
		if command != "" {
			file += "[build]\ncommand = '" + command + "'\n"
		}
		dir := tree(t, map[string]string{"orla.toml": file, "public/index.html": "x"})
		var calls []string
		_, _ = app.Pack(t.Context(), app.Options{ // the failure is meant
			Path: dir, Build: true,
			Building: func(command string) { calls = append(calls, "building "+command) },
			Built:    func() { calls = append(calls, "built") },
		})
		if got := strings.Join(calls, ", "); got != want {
			t.Errorf("%q: %s, want %s", command, got, want)
		}
	}
}

func TestBuild(t *testing.T) {
	file := func(command string) map[string]string {
		return map[string]string{"orla.toml": fmt.Sprintf("name = 'shop'\n[build]\ncommand = '''%s'''\n[site]\ndir = 'out'\n", command)}
	}
	t.Run("runs in the app's folder", func(t *testing.T) {
		var out, errs bytes.Buffer
		dir := tree(t, file("mkdir out && echo hi > out/index.html && echo built && echo warned >&2"))
		p := pack(t, app.Options{Path: dir, Build: true, Stdout: &out, Stderr: &errs})
		if len(p.Blobs) != 1 || out.String() != "built\n" || errs.String() != "warned\n" {
			t.Errorf("%d blobs, output %q, %q", len(p.Blobs), out.String(), errs.String())
		}
	})
	t.Run("names the exit code", func(t *testing.T) {
		_, err := app.Pack(t.Context(), app.Options{Path: tree(t, file("exit 7")), Build: true})
		if err == nil || err.Error() != `the build command "exit 7" failed: exit status 7; nothing was deployed` {
			t.Errorf("Pack says %v", err)
		}
	})
	t.Run("does not run for a file with problems", func(t *testing.T) {
		dir := tree(t, map[string]string{"orla.toml": "nam = 'shop'\n[build]\ncommand = 'touch ran'\n[site]\n"})
		_, err := app.Pack(t.Context(), app.Options{Path: dir, Build: true})
		if _, statErr := os.Stat(filepath.Join(dir, "ran")); err == nil || statErr == nil {
			t.Errorf("Pack says %v; the command ran: %v", err, statErr == nil)
		}
	})
	t.Run("ends with all it started", func(t *testing.T) {
		dir := tree(t, file("(trap 'echo > ended; exit' TERM; echo started; while :; do sleep 0.01; done) & wait"))
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		_, err := app.Pack(ctx, app.Options{Path: dir, Build: true, Stdout: writerFunc(func([]byte) { cancel() })})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("Pack says %v, want canceled", err)
		}
		if _, err := os.Stat(filepath.Join(dir, "ended")); err != nil {
			t.Errorf("what the command had started was not ended: %v", err)
		}
	})
}

type writerFunc func(p []byte)

func (f writerFunc) Write(p []byte) (int, error) {
	f(p)
	return len(p), nil
}

func TestPackEndsWithContext(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	cancel()
	dir := tree(t, map[string]string{"orla.toml": "name = 'shop'\n[site]\n", "public/a.html": "x"})
	if _, err := app.Pack(ctx, app.Options{Path: dir}); !errors.Is(err, context.Canceled) {
		t.Errorf("Pack with an ended context: %v", err)
	}
}

func TestLocate(t *testing.T) {
	dir := tree(t, map[string]string{
		"orla.toml": "name = 'shop'\n[site]\n[functions.api]\nmodule = 'a.wasm'\nroutes = [\n  '/a',\n  '/b',\n]\n[[routes]]\nmatch = {\n  path = '/c' }\nrespond = {}\n",
		"a.wasm":    moduleBytes, "public/index.html": "x",
	})
	p := pack(t, app.Options{Path: dir})
	for field, want := range map[string]string{
		"name": "orla.toml:1", "hosts[0]": "orla.toml", "functions.api.module": "orla.toml:4", "functions.api.memory": "orla.toml:3",
		"routes[0].match.path": "orla.toml:6", "routes[1]": "orla.toml:7", "routes[2].match.path": "orla.toml:11", "routes[2].respond.status": "orla.toml:12",
		"routes[3].match.path": "orla.toml:2", "routes[99]": "orla.toml:9", "site.files[/index.html]": "public/index.html", "": "orla.toml",
	} {
		if got := p.Locate(field); got != filepath.Join(dir, want) {
			t.Errorf("Locate(%q) = %s, want %s", field, got, want)
		}
	}
}

func BenchmarkPack(b *testing.B) {
	files := map[string]string{"orla.toml": "name = 'shop'\n[site]\n"}
	for i := range 5000 {
		files[fmt.Sprintf("public/d%02d/s%d/f%04d.html", i%50, i%7, i)] = strings.Repeat(fmt.Sprint("line ", i, "\n"), 800)
	}
	dir := tree(b, files)
	for b.Loop() {
		p := pack(b, app.Options{Path: dir})
		b.SetBytes(p.Size())
	}
}
