//go:build linux

package e2e

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

// changes is how many deploys and rollbacks TestChangesUnderLoad makes: a thousand by
// `make faults-long`.
func changes() int {
	if os.Getenv("ORLA_FAULTS_LONG") != "" {
		return 1000
	}
	return 400
}

// between is how long each client of TestChangesUnderLoad waits between two requests, so
// that the machine is the node's.
const between = 2 * time.Millisecond

// pageLines makes a page of 10 KiB: more than one write, and so little that the
// site cache (64 MiB) is not filled by the pages of all releases, which would look
// like a leak.
const pageLines = 1000

// page is a body that shows which release it comes from in each of its lines,
// long enough to be sent in many writes.
func page(release int) string {
	return strings.Repeat(fmt.Sprintf("release %d\n", release), pageLines)
}

// uniform reports whether every line of a page is the same.
func uniform(body string) bool {
	first, _, ok := strings.Cut(body, "\n")
	return ok && body == strings.Repeat(first+"\n", pageLines)
}

func TestUniform(t *testing.T) {
	if !uniform(page(7)) {
		t.Error("a page of one release is called mixed")
	}
	if mixed := page(7)[:5000] + page(8)[5000:]; uniform(mixed) {
		t.Error("a mixed page is called uniform")
	}
}

// TestChangesUnderLoad deploys and rolls back while clients hammer over HTTP/1.1
// and HTTP/2: no request fails, no page is a mix of releases, memory stays flat.
func TestChangesUnderLoad(t *testing.T) {
	n := start(t, t.TempDir())
	dir := t.TempDir()
	write := func(release int) {
		writeTree(t, dir, map[string]string{
			"orla.toml":         fmt.Sprintf("name = \"hammer\"\n[site]\ndir = \"public\"\n[[routes]]\nmatch = { path = \"/version\" }\nrespond = { body = \"%d\" }\n", release),
			"public/index.html": page(release), "public/same.css": "body { color: red }",
		})
	}
	write(0)
	if err := n.deploy(t.Context(), dir); err != nil {
		t.Fatal(err)
	}

	h2 := &http.Client{Transport: &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	h1 := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4}}
	stop := make(chan struct{})
	var clients sync.WaitGroup
	var requests atomic.Int64
	hammer := func(c *http.Client, url string, check func(status int, body string) bool) {
		clients.Go(func() {
			defer c.CloseIdleConnections()
			tick := time.NewTicker(between)
			defer tick.Stop()
			for {
				select {
				case <-stop:
					return
				case <-tick.C:
				}
				status, body, err := get(c, url)
				requests.Add(1)
				if err != nil || !check(status, body) {
					t.Errorf("GET %s: status %d, error %v, body %.80q", url, status, err, body)
					return
				}
			}
		})
	}
	whole := func(status int, body string) bool { return status == 200 && uniform(body) }
	number := func(status int, body string) bool { _, err := strconv.Atoi(body); return status == 200 && err == nil }
	hammer(h1, n.http+"/", whole)
	hammer(h2, n.https+"/", whole)
	hammer(h1, n.http+"/version", number)
	hammer(h1, n.http+"/same.css", func(status int, body string) bool { return status == 200 && body == "body { color: red }" })

	control := n.client().Control()
	var early, late int
	count := changes()
	for i := 1; i <= count && !t.Failed(); i++ {
		var err error
		if i%2 == 1 {
			write(i)
			err = n.deploy(t.Context(), dir)
		} else {
			_, err = control.Rollback(t.Context(), connect.NewRequest(&orlav1.RollbackRequest{Name: "hammer"}))
		}
		if err != nil {
			t.Fatalf("change %d: %v", i, err)
		}
		switch i {
		case count / 2:
			early = rss(t, n.cmd.Process.Pid)
		case count:
			late = rss(t, n.cmd.Process.Pid)
		}
	}
	close(stop)
	clients.Wait()
	t.Logf("%d changes, %d requests, resident memory %d MiB after half of them, %d MiB at the end", count, requests.Load(), early>>10, late>>10)
	if late > early*3/2 {
		t.Errorf("resident memory grew from %d to %d KiB over the second half of the changes", early, late)
	}
	if err := n.stop(); err != nil {
		t.Errorf("orderly stop: %v\n%s", err, n.log)
	}
}

// rss returns a process's resident memory in KiB.
func rss(t *testing.T, pid int) int {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if value, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(value), " kB"))
			if err != nil {
				t.Fatal(err)
			}
			return kib
		}
	}
	t.Fatal("no VmRSS")
	return 0
}
