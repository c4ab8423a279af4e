//go:build linux

package benchguest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/orla-edge/orla/internal/guests"
	"github.com/orla-edge/orla/internal/peers"
)

// clients is how many connections send requests, one after the other.
const clients = 8

// BenchmarkHTTP sends GETs over loopback to servers of a function that answers "hello",
// each a process of its own, with the same client. orla writes its access log, as it
// does unless told not to, to a file. server-µs is the CPU time that the server uses for
// a request: unlike the rest it has no part of the client's in it.
func BenchmarkHTTP(b *testing.B) {
	bin := build(b)
	servers := []server{
		{"net-http", func(b *testing.B) string { return native(b) }},
		{"workerd", func(b *testing.B) string { return peers.Workerd(b) }},
		{"wasmtime", func(b *testing.B) string { return peers.Wasmtime(b) }},
	}
	for _, g := range guests.Hellos(b) {
		servers = append(servers, server{"orla " + g.Language, func(b *testing.B) string { return orla(b, bin, g.Wasm) }})
	}
	for _, s := range servers {
		b.Run(s.name, func(b *testing.B) { hammer(b, s.start) })
	}
}

type server struct {
	name  string
	start func(*testing.B) (url string)
}

// hammer measures a server that it starts.
func hammer(b *testing.B, start func(*testing.B) string) {
	others := children(b)
	url := start(b)
	mine := slices.DeleteFunc(children(b), func(pid int) bool { return slices.Contains(others, pid) })
	c := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}}
	defer c.CloseIdleConnections()
	for range 200 {
		hello(b, c, url)
	}
	before := used(b, mine)
	took := make([]time.Duration, b.N)
	var all sync.WaitGroup
	b.ResetTimer()
	for n := range clients {
		all.Go(func() {
			for i := n; i < b.N; i += clients {
				began := time.Now()
				hello(b, c, url)
				took[i] = time.Since(began)
			}
		})
	}
	all.Wait()
	b.StopTimer()
	slices.Sort(took)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
	b.ReportMetric(float64(took[b.N/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[b.N*99/100].Microseconds()), "p99-µs")
	b.ReportMetric(float64((used(b, mine)-before).Microseconds())/float64(b.N), "server-µs")
}

func hello(b *testing.B, c *http.Client, url string) {
	resp, err := c.Get(url + "/")
	if err != nil {
		b.Error(err)
		return
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); string(body) != "hello" || resp.StatusCode != 200 || err != nil {
		b.Errorf("%d %q, %v", resp.StatusCode, body, err)
	}
}

// children returns the processes that this one has started.
func children(b *testing.B) []int {
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		b.Fatal(err)
	}
	var pids []int
	for _, name := range files {
		if f := stat(name); f != nil && f[1] == strconv.Itoa(os.Getpid()) {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name)))
			if err != nil {
				b.Fatal(err)
			}
			pids = append(pids, pid)
		}
	}
	return pids
}

// used returns the CPU time of processes.
func used(b *testing.B, pids []int) (total time.Duration) {
	const tick = 10 * time.Millisecond // USER_HZ is 100 on every machine that Linux has
	for _, pid := range pids {
		f := stat(fmt.Sprintf("/proc/%d/stat", pid))
		if f == nil {
			b.Fatalf("the server, process %d, has ended", pid)
		}
		for _, field := range f[11:13] { // utime and stime, proc(5)
			n, err := strconv.Atoi(field)
			if err != nil {
				b.Fatal(err)
			}
			total += time.Duration(n) * tick
		}
	}
	return total
}

// stat returns the fields that follow the name of a process; nil if it has ended.
func stat(name string) []string {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil
	}
	return strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
}

func build(b *testing.B) string {
	bin := filepath.Join(b.TempDir(), "orla")
	cmd := exec.CommandContext(b.Context(), "go", "build", "-o", bin, "./cmd/orla")
	cmd.Dir, cmd.Env = guests.Root(b), append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	return bin
}

// orla starts a node and deploys wasm to it.
func orla(b *testing.B, bin string, wasm []byte) (url string) {
	dir := b.TempDir()
	log := spawn(b, exec.Command(bin, "serve", "--data", dir, "--http", "127.0.0.1:0", "--https", "off", "--tls", "off", "--admin", "127.0.0.1:0"))
	url = await(b, log, `node serves.*urls=\[(http://[0-9.:]+)`)
	module := filepath.Join(b.TempDir(), "hello.wasm")
	if err := os.WriteFile(module, wasm, 0o600); err != nil {
		b.Fatal(err)
	}
	cmd := exec.CommandContext(b.Context(), bin, "deploy", module, "--data", dir, "--name", "hello", "--host", "*")
	cmd.Env = append(os.Environ(), "ORLA_ADMIN=", "ORLA_TOKEN=")
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	return url
}

// native starts this binary as a server of net/http alone: a floor.
func native(b *testing.B) (url string) {
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	return await(b, spawn(b, exec.Command(self, "serve")), `(http://[0-9.:]+)`)
}

// spawn starts a process that ends with the benchmark, and returns the file that it
// writes to.
func spawn(b *testing.B, cmd *exec.Cmd) (log string) {
	f, err := os.Create(filepath.Join(b.TempDir(), "log"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	cmd.Stdout, cmd.Stderr = f, f
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	return f.Name()
}

// await returns what pattern finds in a growing file.
func await(b *testing.B, log, pattern string) string {
	ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for re := regexp.MustCompile(pattern); ; {
		text, err := os.ReadFile(log)
		if err != nil {
			b.Fatal(err)
		}
		if m := re.FindSubmatch(text); m != nil {
			return string(m[1])
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			b.Fatalf("the server does not get ready: %s", text)
		}
	}
}
