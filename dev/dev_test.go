package dev_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/orla-edge/orla/dev"
	"github.com/orla-edge/orla/internal/process"
)

// patience bounds every wait for something that has to come.
const patience = 60 * time.Second

// folder holds the binary that the tests run.
var folder string

// binary builds orla once for all tests.
var binary = sync.OnceValues(func() (string, error) {
	return process.Orla(context.Background(), folder)
})

func TestMain(m *testing.M) {
	var err error
	if folder, err = os.MkdirTemp("", "orla-dev-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if err := os.RemoveAll(folder); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(code)
	}))
}

// output is what dev prints, with waits for what it will.
type output struct {
	mu   sync.Mutex
	text strings.Builder
	grew chan struct{} // closed and made anew by each write
}

func newOutput() *output { return &output{grew: make(chan struct{})} }

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.grew)
	o.grew = make(chan struct{})
	return o.text.Write(b)
}

func (o *output) get() (string, chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String(), o.grew
}

// running is a `orla dev` in this process.
type running struct {
	t    *testing.T
	out  *output
	done chan error
	stop context.CancelFunc
}

func start(t *testing.T, cfg dev.Config) *running {
	t.Helper()
	orla, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	r := &running{t: t, out: newOutput(), done: make(chan error, 1), stop: stop}
	cfg.Command, cfg.Out = []string{orla}, r.out
	go func() { r.done <- dev.Run(ctx, cfg) }()
	t.Cleanup(func() {
		stop()
		<-r.done
	})
	return r
}

// await returns what the pattern has found, once it is there.
func (r *running) await(pattern string) []string {
	r.t.Helper()
	re, late := regexp.MustCompile(pattern), time.After(patience)
	for {
		text, grew := r.out.get()
		if m := re.FindStringSubmatch(text); m != nil {
			return m
		}
		select {
		case <-grew:
		case err := <-r.done:
			r.done <- err
			r.t.Fatalf("dev ended (%v) before it printed %q:\n%s", err, pattern, text)
		case <-late:
			r.t.Fatalf("dev does not print %q:\n%s", pattern, text)
		}
	}
}

// end stops dev and returns its error.
func (r *running) end() error {
	r.t.Helper()
	r.stop()
	select {
	case err := <-r.done:
		r.done <- err
		return err
	case <-time.After(patience):
		r.t.Fatal("dev does not stop")
		return nil
	}
}

func get(t *testing.T, url string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	res, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestDev is a person's hour: a first release, changes, mistakes, and the end.
func TestDev(t *testing.T) {
	t.Setenv("ORLA_LOG_LEVEL", "nonsense") // what is meant for other nodes would end these
	dir := t.TempDir()
	good := "name = \"shop\"\nhosts = [\"shop.example\"]\n[build]\ncommand = \"cp src.txt public/built.txt\"\n[site]\n"
	write(t, dir, map[string]string{"orla.toml": good, "public/index.html": "one", "src.txt": "built one"})
	r := start(t, dev.Config{Dir: dir})
	r.await(`shop is live: release 1`)
	url := r.await(`n1: (http://localhost:\d+) `)[1]
	if body := get(t, url); body != "one" {
		t.Errorf("GET / = %q, want the first release", body)
	}
	r.await(`n1 +GET / 200 `)

	write(t, dir, map[string]string{"src.txt": "built two"})
	r.await(`changed: src.txt`)
	r.await(`release 2`)
	if body := get(t, url+"/built.txt"); body != "built two" {
		t.Errorf("GET /built.txt = %q, want what the build made of the change", body)
	}

	write(t, dir, map[string]string{"orla.toml": strings.Replace(good, "[site]", "[sites]", 1)})
	r.await(`(?m)^` + regexp.QuoteMeta(dir) + `/orla.toml:5: unknown key "sites"`)
	r.await(`shop: release 2 stays live`)
	if body := get(t, url+"/built.txt"); body != "built two" {
		t.Errorf("after a mistake GET /built.txt = %q, want what was live before", body)
	}

	write(t, dir, map[string]string{"orla.toml": strings.Replace(good, "shop", "store", 1), "public/new/deep/file.txt": "deep"})
	r.await(`store is live: release 1`)
	if body := get(t, url+"/new/deep/file.txt"); body != "deep" {
		t.Errorf("GET of a file in a new folder = %q", body)
	}
	write(t, dir, map[string]string{"public/new/deep/file.txt": "deeper"})
	r.await(`store is live: release 2`)

	if err := r.end(); err != nil {
		t.Errorf("an orderly end returns %v", err)
	}
	if pid, err := strconv.Atoi(r.await(`\(process (\d+),`)[1]); err != nil || syscall.Kill(pid, 0) == nil {
		t.Errorf("process %d of the node is still there (%v)", pid, err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, ".orla", ".gitignore")); err != nil || string(b) != "*\n" {
		t.Errorf("git does not ignore the data: %q %v", b, err)
	}
}

// TestFirstBuildFails: nothing is live until the mistake is mended.
func TestFirstBuildFails(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"orla.toml": "name = \"shop\"\n[build]\ncommand = \"cat public/index.html\"\n[site]\n"})
	r := start(t, dev.Config{Dir: dir})
	r.await(`cat: public/index.html: No such file`)
	r.await(`nothing is live yet`)
	write(t, dir, map[string]string{"public/index.html": "here"})
	r.await(`shop is live: release 1`)
}

// TestEndWhileNodesStart: Ctrl-C does not wait for a node that never serves.
func TestEndWhileNodesStart(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"orla.toml": "name = \"shop\"\n[site]\n"})
	ctx, stop := context.WithCancel(t.Context())
	out, done := newOutput(), make(chan error, 1)
	r := &running{t: t, out: out, done: done, stop: stop}
	go func() {
		done <- dev.Run(ctx, dev.Config{Dir: dir, Out: out, Command: []string{"sh", "-c", "echo here; exec sleep 60"}})
	}()
	r.await("here")
	if err := r.end(); err != nil {
		t.Errorf("Run = %v, want an orderly end", err)
	}
}

// TestNodeDies: without its only node dev ends, and says why.
func TestNodeDies(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"orla.toml": "name = \"shop\"\n[site]\n", "public/index.html": "x"})
	r := start(t, dev.Config{Dir: dir})
	r.await(`is live`)
	pid, err := strconv.Atoi(r.await(`\(process (\d+),`)[1])
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-r.done:
		r.done <- err
		if err == nil || !strings.Contains(err.Error(), "n1: signal: killed") {
			t.Errorf("Run = %v, want it to name the node and how it ended", err)
		}
	case <-time.After(patience):
		t.Fatal("dev goes on without a node")
	}
}

func TestRefusals(t *testing.T) {
	full := t.TempDir()
	write(t, full, map[string]string{"orla.toml": "name = \"shop\"\n[site]\n"})
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	tests := []struct {
		name string
		cfg  dev.Config
		want string
	}{
		{"two nodes", dev.Config{Dir: full, Nodes: 2}, "two servers make no cluster"},
		{"too many nodes", dev.Config{Dir: full, Nodes: 33}, "3 to 32"},
		{"no app", dev.Config{Dir: t.TempDir()}, "has no orla.toml: name an app's folder"},
		{"port in use", dev.Config{Dir: full, Port: ln.Addr().(*net.TCPAddr).Port}, "pass --port with another"},
		{"no such program", dev.Config{Dir: full, Command: []string{"/nonexistent/orla"}}, "start node n1"},
		{"a program that ends", dev.Config{Dir: full, Command: []string{"sh", "-c", "echo orla: the sky is falling >&2; exit 3", "sh"}}, "node n1 ended before it served: exit status 3: the sky is falling"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := dev.Run(t.Context(), tt.cfg)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Run = %v, want %q", err, tt.want)
			}
			if strings.Contains(tt.name, "nodes") && !errors.Is(err, dev.ErrNodes) {
				t.Errorf("Run = %v, want ErrNodes", err)
			}
		})
	}
}

// TestCluster: a release goes live on hubs and edges alike; a node that dies is told, and
// the others go on and take the next one.
func TestCluster(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"orla.toml": "name = \"shop\"\n[site]\n", "public/index.html": "one"})
	r := start(t, dev.Config{Dir: dir, Nodes: 4})
	r.await(`shop is live on 4 of 4 nodes: release 1`)
	urls := make(map[string]string)
	for i := range 4 {
		name := fmt.Sprintf("n%d", i+1)
		urls[name] = r.await(name + `: (http://localhost:\d+) `)[1]
		if body := get(t, urls[name]); body != "one" {
			t.Errorf("%s: GET / = %q, want the release", name, body)
		}
	}
	pid, err := strconv.Atoi(r.await(`n1: .*\(process (\d+),`)[1])
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	r.await(`node n1 has ended: signal: killed`)
	r.await(`3 of 4 nodes go on`)
	write(t, dir, map[string]string{"public/index.html": "two"})
	r.await(`shop is live on 3 of \d nodes: release 2`)
	for _, name := range []string{"n2", "n3", "n4"} {
		if body := get(t, urls[name]); body != "two" {
			t.Errorf("%s: GET / = %q, want the next release", name, body)
		}
	}
}
