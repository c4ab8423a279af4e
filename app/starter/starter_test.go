package starter_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/orla-edge/orla/app"
	"github.com/orla-edge/orla/app/starter"
	"github.com/orla-edge/orla/client"
	"github.com/orla-edge/orla/internal/guests"
	"github.com/orla-edge/orla/node"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// answer is a request to an app as it was written, and what must come of it.
type answer struct {
	path   string
	status int
	want   string
}

// TestTemplatesAnswer builds each template as it is written, deploys it to a node, and
// asks it.
func TestTemplatesAnswer(t *testing.T) {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "app server: "+r.URL.Path)
	}))
	defer upstream.Close()
	answers := map[string][]answer{
		"static": {{"/", 200, "<h1>my-app</h1>"}, {"/style.css", 200, "max-width"}, {"/start", 302, ""}, {"/nothing", 404, "Nothing here"}},
		"go":     {{"/", 200, "fetch(\"/api/hello/world\")"}, {"/api/hello/Ana", 200, "Hello, Ana!\n"}, {"/api/nothing", 404, "404 page not found"}},
		"rust":   {{"/hello/Ana?x", 200, "Hello, Ana!\n"}, {"/", 200, "try /hello/NAME"}, {"/nothing", 404, "not found"}, {"/hello/" + strings.Repeat("a", 3000), 200, "aaa!\n"}},
		"proxy":  {{"/some/path", 200, "app server: /some/path"}, {"/robots.txt", 200, "Allow: /"}},
	}
	t.Setenv("PATH", filepath.Dir(guests.Rustc(t))+string(os.PathListSeparator)+os.Getenv("PATH"))
	data := t.TempDir()
	guests.KeepCode(t, data)
	url := serve(t, data)
	for _, tpl := range starter.Templates() {
		t.Run(tpl.Name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "My App")
			if _, err := starter.Write(tpl.Name, dir); err != nil {
				t.Fatal(err)
			}
			if tpl.Name == "proxy" {
				replace(t, filepath.Join(dir, app.AppFile), "http://127.0.0.1:8000", upstream.URL)
			}
			deploy(t, data, dir)
			if len(answers[tpl.Name]) == 0 {
				t.Fatal("no request for this template")
			}
			for _, a := range answers[tpl.Name] {
				if status, body := get(t, url+a.path); status != a.status || !strings.Contains(body, a.want) {
					t.Errorf("GET %.40s = %d %q, want %d with %q", a.path, status, body, a.status, a.want)
				}
			}
		})
	}
}

// serve runs a node until the test ends and returns its URL.
func serve(t *testing.T, data string) string {
	t.Helper()
	ready, done := make(chan []string, 1), make(chan error, 1)
	ctx, stop := context.WithCancel(t.Context())
	go func() {
		done <- node.Run(ctx, node.Config{
			HTTP: "127.0.0.1:0", Admin: "127.0.0.1:0", Data: data, Name: "n1", TLS: node.TLSOff, Output: io.Discard,
			Ready: func(urls []string) { ready <- urls },
		})
	}()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	select {
	case urls := <-ready:
		return urls[0]
	case err := <-done:
		done <- nil
		t.Fatal(err)
	}
	return ""
}

// deploy makes the app in dir live under the name of all of them: it replaces what
// the host had.
func deploy(t *testing.T, data, dir string) {
	t.Helper()
	var out strings.Builder
	pkg, err := app.Pack(t.Context(), app.Options{Path: dir, Build: true, Stdout: &out, Stderr: &out})
	if err != nil {
		t.Fatalf("pack: %v\n%s", err, out.String())
	}
	warm(t, dir)
	c, err := client.Find(client.Options{DataDir: data, Getenv: func(string) string { return "" }})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Deploy(t.Context(), pkg, client.DeployOptions{}, nil); err != nil {
		t.Fatal(err)
	}
}

// warm has the modules compiled that building the app in dir has made.
func warm(t *testing.T, dir string) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		module, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		guests.Warm(t, module)
	}
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	c := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

func replace(t *testing.T, name, from, to string) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil || !strings.Contains(string(b), from) {
		t.Fatalf("%s has no %q (%v)", name, from, err)
	}
	if err := os.WriteFile(name, []byte(strings.ReplaceAll(string(b), from, to)), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestGoTemplateTests runs the test that the template begins with.
func TestGoTemplateTests(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "shop")
	if _, err := starter.Write("go", dir); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "test", ".")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("go test: %v\n%s", err, out)
	}
	cmd = exec.CommandContext(t.Context(), "gofmt", "-l", ".")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("gofmt -l: %v\n%s", err, out)
	}
}

func TestWriteTakesEmptyFolders(t *testing.T) {
	for name, make := range map[string]func(dir string) error{
		"missing":  func(string) error { return nil },
		"empty":    func(dir string) error { return os.MkdirAll(dir, 0o755) },
		"git init": func(dir string) error { return os.MkdirAll(filepath.Join(dir, ".git"), 0o755) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "parent", "shop")
			if err := make(dir); err != nil {
				t.Fatal(err)
			}
			r, err := starter.Write("static", dir)
			if err != nil || r.Name != "shop" || !slices.Contains(r.Files, ".gitignore") || !slices.Contains(r.Files, "public/index.html") {
				t.Errorf("Write = %+v, %v, want the files of shop", r, err)
			}
			for _, f := range r.Files {
				if b, err := os.ReadFile(filepath.Join(dir, f)); err != nil || len(b) == 0 || strings.Contains(string(b), "{{") {
					t.Errorf("%s has %q (%v)", f, b, err)
				}
			}
		})
	}
}

func TestWriteRefuses(t *testing.T) {
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "notes.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, template, dir string
		is                  error
		want                string
	}{
		{"a folder with something in it", "static", full, starter.ErrNotEmpty, "notes.txt"},
		{"near a template", "statik", t.TempDir(), starter.ErrUnknown, `did you mean "static"?`},
		{"far from all", "cobol-on-rails", t.TempDir(), starter.ErrUnknown, "there are: go, proxy, rust, static"},
		{"JavaScript", "js", t.TempDir(), starter.ErrUnknown, "a later one will"},
		{"a path", "../starter", t.TempDir(), starter.ErrUnknown, "there are"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := starter.Write(tt.template, tt.dir)
			if !errors.Is(err, tt.is) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Write = %v, want %v with %q", err, tt.is, tt.want)
			}
			entries, err := os.ReadDir(tt.dir)
			if err != nil || len(entries) > 1 {
				t.Errorf("the folder has %d entries (%v), want it untouched", len(entries), err)
			}
		})
	}
}
