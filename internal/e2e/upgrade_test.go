//go:build linux

package e2e

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/orla-edge/orla/internal/ports"
)

// handovers is how often TestUpgradesLoseNothing replaces the node.
const handovers = 10

// outcome is what `orla upgrade --json` prints.
type outcome struct {
	Error string
	Pid   int
	To    string
	Took  time.Duration
}

// upgrade has the node replaced by a program and returns what came of it.
func (n *node) upgrade(program string, args ...string) (out outcome, err error) {
	cmd := exec.Command(binary, append([]string{"upgrade", "--json", "--data", n.data, "--binary", program}, args...)...)
	b, err := cmd.Output()
	if jsonErr := json.Unmarshal(b, &out); jsonErr != nil {
		return out, errors.Join(err, jsonErr)
	}
	return out, err
}

// events is the log without the requests.
func (n *node) events() string {
	var b strings.Builder
	for line := range strings.Lines(n.log.String()) {
		if !strings.Contains(line, " msg=request ") {
			b.WriteString(line)
		}
	}
	return b.String()
}

// adopt has the processes whose parents end become children of this one, so that
// it can wait for them.
func adopt(t *testing.T) {
	t.Helper()
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
}

// follow makes the process the one that the node is.
func (n *node) follow(pid int) {
	n.t.Helper()
	p, err := os.FindProcess(pid)
	if err != nil {
		n.t.Fatal(err)
	}
	n.cmd = &exec.Cmd{Process: p}
	n.done = make(chan error, 1)
	go func(done chan error) {
		var status syscall.WaitStatus
		for {
			_, err := syscall.Wait4(pid, &status, 0, nil)
			switch {
			case errors.Is(err, syscall.EINTR):
				continue
			case errors.Is(err, syscall.ECHILD) && syscall.Kill(pid, 0) == nil:
				time.Sleep(5 * time.Millisecond) // its parent is still there
				continue
			case errors.Is(err, syscall.ECHILD):
				err = nil // its parent outlived it, and knows how it ended; so does the log
			case err == nil && status.ExitStatus() != 0:
				err = fmt.Errorf("exit status %d, signal %v", status.ExitStatus(), status.Signal())
			}
			done <- err
			return
		}
	}(n.done)
}

// load has clients post until stop is called, which returns how many requests were
// answered; each that was not is an error of the test.
func load(t *testing.T, n *node) (answered *atomic.Int64, stop func()) {
	answered = new(atomic.Int64)
	insecure := &tls.Config{InsecureSkipVerify: true}
	var clients sync.WaitGroup
	end := make(chan struct{})
	for _, c := range []struct {
		url       string
		transport *http.Transport
		body      func() io.Reader
	}{
		{n.http, &http.Transport{}, once},
		{n.http, &http.Transport{DisableKeepAlives: true}, once},
		{n.https, &http.Transport{TLSClientConfig: insecure.Clone()}, once},
		{n.https, &http.Transport{TLSClientConfig: insecure.Clone(), DisableKeepAlives: true}, once},
		{n.https, &http.Transport{TLSClientConfig: insecure.Clone(), ForceAttemptHTTP2: true}, func() io.Reader { return strings.NewReader("x") }},
	} {
		for range 3 {
			clients.Go(func() {
				defer c.transport.CloseIdleConnections()
				client := &http.Client{Transport: c.transport, Timeout: 60 * time.Second}
				for {
					select {
					case <-end:
						return
					default:
					}
					res, err := client.Post(c.url+"/", "text/plain", c.body())
					if err != nil {
						t.Errorf("POST %s: %v", c.url, err)
						return
					}
					_, err = io.Copy(io.Discard, res.Body)
					res.Body.Close()
					if err != nil || res.StatusCode != http.StatusOK {
						t.Errorf("POST %s = %d, %v", c.url, res.StatusCode, err)
						return
					}
					answered.Add(1)
				}
			})
		}
	}
	return answered, sync.OnceFunc(func() { close(end); clients.Wait() })
}

func (a *respond) write(t *testing.T, body string) {
	t.Helper()
	writeTree(t, a.dir, map[string]string{"orla.toml": fmt.Sprintf("name = \"up\"\n[[routes]]\nmatch = { path = \"/\" }\nrespond = { body = %q }\n", body)})
}

// respond is an app that answers with one text.
type respond struct{ dir string }

// change deploys another body and looks whether it is served.
func (a *respond) change(t *testing.T, n *node, body string) {
	t.Helper()
	a.write(t, body)
	if err := n.deploy(t.Context(), a.dir); err != nil {
		t.Fatalf("deploy of %q: %v\n%s", body, err, n.events())
	}
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	if status, got, err := get(c, n.http+"/"); err != nil || status != 200 || got != body {
		t.Fatalf("GET / = %d %q %v, want %q\n%s", status, got, err, body, n.events())
	}
}

// TestUpgradesLoseNothing replaces the node again and again while clients post. No
// request is lost, every change between is kept, and each process ends well. What
// can't be sent twice isn't, as in TestStopLosesNothing.
func TestUpgradesLoseNothing(t *testing.T) {
	adopt(t)
	n := start(t, t.TempDir())
	app := &respond{t.TempDir()}
	app.change(t, n, "first")
	answered, stop := load(t, n)
	defer stop()
	more := func() {
		for before := answered.Load(); answered.Load() < before+300 && !t.Failed(); {
			time.Sleep(time.Millisecond) // until they all are at work
		}
	}
	var took []time.Duration
	var ends []chan error
	for i := range handovers {
		more()
		old := n.cmd.Process.Pid
		out, err := n.upgrade(binary)
		if err != nil || out.Pid == old {
			t.Fatalf("upgrade %d: %+v, %v\n%s", i, out, err, n.events())
		}
		took = append(took, out.Took)
		ends = append(ends, n.done)
		n.follow(out.Pid)
		app.change(t, n, "after "+strconv.Itoa(i))
	}
	more()
	for i, end := range ends {
		if err := <-end; err != nil {
			t.Errorf("process %d ended with %v", i, err)
		}
	}
	for _, sign := range []string{"level=ERROR", "orla: ", "panic:", "fatal error:"} {
		if strings.Contains(n.events(), sign) {
			t.Errorf("a process has failed: its log has %q", sign)
		}
	}
	if t.Failed() {
		t.Logf("log:\n%s", n.events())
	}
	slices.Sort(took)
	t.Logf("%d answered, %d handovers of %v to %v", answered.Load(), handovers, took[0], took[len(took)-1])
}

// TestUpgradeFails tries programs that do not take over. The node serves on and
// takes changes, and the next upgrade succeeds.
func TestUpgradeFails(t *testing.T) {
	adopt(t)
	n := start(t, t.TempDir())
	app := &respond{t.TempDir()}
	app.change(t, n, "first")
	answered, stop := load(t, n)
	defer stop()
	dir := t.TempDir()
	for i, tt := range []struct{ name, script, want string }{
		{"ends at once", "#!/bin/sh\nexit 3\n", "exit status 3"},
		{"is no program", "not a program", "exec format error"},
		{"never gets ready", "#!/bin/sh\nsleep 1000\n", "did not serve within 500ms"},
		{"says something else", "#!/bin/sh\neval \"echo hello >&$ORLA_HANDOVER\"\nsleep 1000\n", "does not speak as a node does"},
		{"has other settings", "#!/bin/sh\nexec " + binary + " \"$@\" --log-level loud\n", "--log-level \"loud\""},
		{"may not write", "#!/bin/sh\nulimit -f 0\nexec " + binary + " \"$@\"\n", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(dir, "program")
			if err := os.WriteFile(path, []byte(tt.script), 0o755); err != nil {
				t.Fatal(err)
			}
			timeout := "30s"
			if strings.Contains(tt.script, "sleep") {
				timeout = "500ms"
			}
			out, err := n.upgrade(path, "--timeout", timeout)
			if err == nil || out.Error == "" || !strings.Contains(out.Error, tt.want) {
				t.Errorf("upgrade = %+v, %v; want a failure with %q\n%s", out, err, tt.want, n.events())
			}
			t.Log(out.Error)
			app.change(t, n, "after "+strconv.Itoa(i))
		})
	}
	t.Run("does not serve what is live", func(t *testing.T) {
		site := t.TempDir()
		writeTree(t, site, map[string]string{"orla.toml": "name = \"site\"\nhosts = [\"site.example\"]\n[site]\ndir = \"public\"\n", "public/index.html": "hello"})
		if err := n.deploy(t.Context(), site); err != nil {
			t.Fatal(err)
		}
		blobs := filepath.Join(n.data, "blobs")
		if err := os.Rename(blobs, blobs+".away"); err != nil {
			t.Fatal(err)
		}
		out, err := n.upgrade(binary)
		if err == nil || !strings.Contains(out.Error, "does not serve what is live: site") {
			t.Errorf("upgrade = %+v, %v; want a failure with the app's name\n%s", out, err, n.events())
		}
		if err := errors.Join(os.RemoveAll(blobs), os.Rename(blobs+".away", blobs)); err != nil {
			t.Fatal(err)
		}
		app.change(t, n, "after a missing blob")
	})
	before := answered.Load()
	out, err := n.upgrade(binary)
	if err != nil {
		t.Fatalf("upgrade after those that failed: %+v, %v\n%s", out, err, n.events())
	}
	if err := <-n.done; err != nil {
		t.Errorf("the old process ended with %v", err)
	}
	n.follow(out.Pid)
	app.change(t, n, "last")
	for answered.Load() == before && !t.Failed() {
		time.Sleep(time.Millisecond)
	}
}

// notified gathers what a node tells a service manager.
func notified(t *testing.T) (socket string, await func(state string)) {
	t.Helper()
	dir, err := os.MkdirTemp("", "orla-notify-") //nolint:usetesting // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket = filepath.Join(dir, "s")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return socket, func(state string) {
		t.Helper()
		if err := c.SetReadDeadline(time.Now().Add(60 * time.Second)); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 4096)
		for {
			k, err := c.Read(b)
			if err != nil {
				t.Fatalf("the node never told %s: %v", state, err)
			}
			if slices.Contains(strings.Split(string(b[:k]), "\n"), state) {
				return
			}
		}
	}
}

// TestSocketActivation passes sockets as systemd does. They outlive each process:
// what connects while none runs is served by the next.
func TestSocketActivation(t *testing.T) {
	adopt(t)
	notify, told := notified(t)
	var files []*os.File
	var addrs []string
	for range 2 {
		ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		f, err := ln.(*net.TCPListener).File()
		if err != nil {
			t.Fatal(err)
		}
		addrs = append(addrs, ln.Addr().String())
		ln.Close()
		defer f.Close()
		files = append(files, f)
	}
	n := &node{t: t, data: t.TempDir()}
	launch := func() {
		// The second socket goes by its address, for systemd's default name says nothing.
		cmd := exec.Command("/bin/sh", "-c", `LISTEN_PID=$$ exec "$0" "$@"`, binary, "serve", "--data", n.data, "--node", "n1", "--tls", "off", "--admin", addrs[1])
		cmd.Env = append(os.Environ(), "LISTEN_FDS=2", "LISTEN_FDNAMES=http:orla.socket", "NOTIFY_SOCKET="+notify, "WATCHDOG_USEC=300000")
		cmd.ExtraFiles = files
		n.launch(cmd)
	}
	launch()
	t.Cleanup(func() { n.kill() })
	told("READY=1")
	if want := "http://" + addrs[0]; n.http != want {
		t.Fatalf("serves at %s, want %s\n%s", n.http, want, n.events())
	}
	app := &respond{t.TempDir()}
	app.change(t, n, "first")

	out, err := n.upgrade(binary)
	if err != nil {
		t.Fatalf("upgrade: %+v, %v\n%s", out, err, n.events())
	}
	told("RELOADING=1")
	told("MAINPID=" + strconv.Itoa(out.Pid))
	if err := <-n.done; err != nil {
		t.Errorf("the old process ended with %v", err)
	}
	n.follow(out.Pid)
	app.change(t, n, "second")
	told("WATCHDOG=1")

	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	told("STOPPING=1")
	waiting := make(chan error, 1)
	go func() { // connects while nobody serves
		c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 60 * time.Second}
		status, body, err := get(c, n.http+"/")
		if err == nil && (status != 200 || body != "second") {
			err = fmt.Errorf("%d %q", status, body)
		}
		waiting <- err
	}()
	conn, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", addrs[0])
	if err != nil {
		t.Fatalf("the socket did not outlive the process: %v", err)
	}
	conn.Close()
	launch()
	if err := <-waiting; err != nil {
		t.Errorf("request from before the start: %v", err)
	}
}

// TestUpgradeOfHubs replaces hubs of a cluster one after the other under load.
// The peer listeners come along, and between upgrades changes reach every hub.
func TestUpgradeOfHubs(t *testing.T) {
	adopt(t)
	dir := t.TempDir()
	secret, err := exec.Command(binary, "cluster", "secret").Output()
	if err != nil {
		t.Fatal(err)
	}
	writeTree(t, dir, map[string]string{"secret": string(secret)})
	if err := os.Chmod(filepath.Join(dir, "secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	addrs := []string{ports.Address(t), ports.Address(t), ports.Address(t)}
	hubs := make([]*node, len(addrs))
	var starting sync.WaitGroup
	for i, addr := range addrs {
		hubs[i] = &node{t: t, data: t.TempDir(), args: []string{
			"--node", "hub" + strconv.Itoa(i), "--cluster", "test", "--cluster-listen", addr, "--join", strings.Join(addrs, ","),
			"--cluster-secret-file", filepath.Join(dir, "secret"), "--peer", "127.0.0.1:0",
		}}
		starting.Go(hubs[i].start)
		t.Cleanup(func() { hubs[i].kill() })
	}
	starting.Wait()
	app := &respond{t.TempDir()}
	change := func(body string) {
		t.Helper()
		deadline := time.Now().Add(60 * time.Second)
		app.write(t, body)
		for {
			err := hubs[0].deploy(t.Context(), app.dir)
			if err == nil {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("deploy of %q: %v\n%s", body, err, hubs[0].events())
			}
			time.Sleep(50 * time.Millisecond) // the cluster chooses a leader
		}
		c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		for i, n := range hubs {
			for {
				status, got, err := get(c, n.http+"/")
				if err == nil && status == 200 && got == body {
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("hub %d: GET / = %d %q %v, want %q\n%s", i, status, got, err, body, n.events())
				}
				time.Sleep(10 * time.Millisecond)
			}
		}
	}
	change("first")
	for i, n := range hubs[:2] {
		answered, stop := load(t, n)
		out, err := n.upgrade(binary)
		if err != nil {
			t.Fatalf("upgrade of hub %d: %+v, %v\n%s", i, out, err, n.events())
		}
		n.follow(out.Pid)
		change("after " + strconv.Itoa(i))
		stop()
		t.Logf("hub %d: replaced in %v, %d requests answered", i, out.Took, answered.Load())
	}
}
