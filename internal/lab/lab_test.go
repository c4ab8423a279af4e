//go:build linux

package lab

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	code := Main(m)
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func site(body string) map[string]string {
	return map[string]string{"orla.toml": "name = \"lab\"\n[site]\n", "public/index.html": body}
}

// says wants that answer.
func says(want string) func(int, string) error {
	return func(status int, body string) error {
		if status != http.StatusOK || body != want {
			return fmt.Errorf("the answer is %d %q, want %q", status, body, want)
		}
		return nil
	}
}

func always(want string) func(*Node, int, string) error {
	return func(_ *Node, status int, body string) error { return says(want)(status, body) }
}

// TestSoloNode: what happens to one node is seen where it should be, and nowhere else.
func TestSoloNode(t *testing.T) {
	l := New(t, Options{})
	n := l.Nodes[0]
	if err := l.Deploy(t.Context(), site("one")); err != nil {
		t.Fatal(err)
	}
	l.Await("/", l.Nodes, says("one"))
	p := l.Probe("/", always("one"))
	first := n.PID()
	n.Kill()
	n.Start()
	if n.PID() == first {
		t.Error("the process is the same after a kill")
	}
	n.Pause()
	n.Resume()
	if err := n.Stop(); err != nil {
		t.Errorf("an orderly stop: %v", err)
	}
	n.Start()
	if out, err := n.Orla("apps"); err != nil || !strings.Contains(out, "lab") {
		t.Errorf("orla apps: %v, %q", err, out)
	}
	for before := p.Requests(); p.Requests() < before+10; {
		l.Await("/", l.Nodes, says("one"))
	}
	if err := p.Stop(); err != nil {
		t.Error(err)
	}
}

// TestProberTellsFailures: an answer that is not the one that is wanted, and a node that
// is gone without the lab's doing.
func TestProberTellsFailures(t *testing.T) {
	l := New(t, Options{})
	if err := l.Deploy(t.Context(), site("one")); err != nil {
		t.Fatal(err)
	}
	l.Await("/", l.Nodes, says("one"))
	fails := func(p *Prober, want string) {
		t.Helper()
		deadline := time.After(Patience)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		// A connection that the kernel has accepted is reset before any is refused.
		for !slices.ContainsFunc(failures(p), func(f Failure) bool { return strings.Contains(f.Err.Error(), want) }) {
			select {
			case <-deadline:
				t.Fatalf("no failure says %q: %v", want, failures(p))
			case <-tick.C:
			}
		}
		if err := p.Stop(); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "n1 after ") {
			t.Errorf("Stop = %v, want %q of n1", err, want)
		}
	}
	fails(l.Probe("/", always("two")), `"one", want "two"`)
	p := l.Probe("/", always("one"))
	if err := l.Nodes[0].process.Signal(os.Kill); err != nil {
		t.Fatal(err)
	}
	fails(p, "connection refused")
}

func failures(p *Prober) []Failure {
	first, _ := p.Failures()
	return first
}

// TestClock: the node lives at another time than the machine, and after a start at yet
// another one.
func TestClock(t *testing.T) {
	for _, network := range []bool{false, true} {
		t.Run(fmt.Sprintf("network %t", network), func(t *testing.T) {
			l := New(t, Options{Clocks: []time.Duration{-time.Hour}, Network: network})
			n := l.Nodes[0]
			clockIs(t, n, -time.Hour)
			n.Kill()
			n.SetClock(24 * time.Hour)
			n.Start()
			clockIs(t, n, 24*time.Hour)
		})
	}
}

// clockIs checks how far the node's clock is ahead.
func clockIs(t *testing.T, n *Node, want time.Duration) {
	t.Helper()
	res, err := http.Get(n.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	defer res.Body.Close()
	at, err := http.ParseTime(res.Header.Get("Date"))
	if off := time.Until(at) - want; err != nil || off.Abs() > time.Minute {
		t.Errorf("the node's clock is %s ahead (%v), want %s", time.Until(at), err, want)
	}
}

// TestPorts: each node serves HTTP and HTTPS at an address of its own.
func TestPorts(t *testing.T) {
	l := New(t, Options{Hubs: 1, Edges: 1, HTTPPort: FreePort(t), HTTPSPort: FreePort(t), Args: []string{"--tls", "internal"}})
	for i, n := range l.Nodes {
		ctx, cancel := context.WithTimeout(t.Context(), Patience)
		defer cancel()
		d := tls.Dialer{Config: &tls.Config{ServerName: "localhost", InsecureSkipVerify: true}}
		c, err := d.DialContext(ctx, "tcp", n.HTTPS())
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		if want := fmt.Sprintf("127.0.0.%d:", i+1); !strings.HasPrefix(n.HTTPS(), want) || !strings.HasPrefix(n.URL(), "http://"+want) {
			t.Errorf("%s serves at %s and %s, want %s", n.Name, n.URL(), n.HTTPS(), want)
		}
	}
}

// TestDisk: a node whose disk is full refuses changes, serves on, and recovers.
func TestDisk(t *testing.T) {
	l := New(t, Options{Disk: 48 << 20})
	if err := l.Deploy(t.Context(), site("one")); err != nil {
		t.Fatal(err)
	}
	n := l.Nodes[0]
	n.FillDisk()
	if err := l.Deploy(t.Context(), site("two")); err == nil {
		t.Error("a deploy to a full disk succeeds")
	}
	l.Await("/", l.Nodes, says("one"))
	n.FreeDisk()
	if err := l.Deploy(t.Context(), site("two")); err != nil {
		t.Errorf("a deploy with space again: %v\n%s", err, n.Log())
	}
}

// TestPartition: who reaches whom, before, during and after, by one of the namespaces'
// own connections; the test reaches all of them all the time.
func TestPartition(t *testing.T) {
	w := newNetwork(t, 3)
	l := &Lab{t: t, net: w}
	for i := range 3 {
		l.Nodes = append(l.Nodes, &Node{t: t, Name: fmt.Sprintf("n%d", i+1), namespace: w.namespace(i), host: w.address(i)})
	}
	n1, n2, n3 := l.Nodes[0], l.Nodes[1], l.Nodes[2]
	// An answer at all, be it that nothing listens, means that packets go both ways.
	reaches := func(from, to *Node) bool {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), Patience)
		defer cancel()
		cmd := exec.CommandContext(ctx, "ip", "netns", "exec", from.namespace, "bash", "-c",
			"timeout 0.3 bash -c 'exec 3<>/dev/tcp/"+to.host+"/9' 2>&1")
		out, err := cmd.Output()
		if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 124 && !strings.Contains(string(out), "refused") {
			t.Fatalf("%s to %s: %v %q", from.Name, to.Name, err, out)
		}
		return strings.Contains(string(out), "refused")
	}
	check := func(when string, want map[[2]*Node]bool) {
		t.Helper()
		for pair, want := range want {
			if got := reaches(pair[0], pair[1]); got != want {
				t.Errorf("%s: %s reaches %s: %t, want %t", when, pair[0].Name, pair[1].Name, got, want)
			}
		}
		for _, n := range l.Nodes {
			if _, _, err := get(t.Context(), "http://"+n.host+":9"); err == nil || !strings.Contains(err.Error(), "refused") {
				t.Errorf("%s: the test does not reach %s: %v", when, n.Name, err)
			}
		}
	}
	check("at first", map[[2]*Node]bool{{n1, n2}: true, {n2, n3}: true, {n3, n1}: true})
	l.Partition([]*Node{n1}, []*Node{n2, n3})
	check("cut", map[[2]*Node]bool{{n1, n2}: false, {n2, n1}: false, {n2, n3}: true, {n3, n1}: false})
	l.Isolate(n2)
	check("cut otherwise", map[[2]*Node]bool{{n1, n2}: false, {n1, n3}: true, {n3, n2}: false})
	l.Heal()
	check("healed", map[[2]*Node]bool{{n1, n2}: true, {n2, n3}: true, {n3, n1}: true})
	l.CutOneWay(n1, n2) // no answer comes back either
	check("one way", map[[2]*Node]bool{{n1, n2}: false, {n2, n1}: false, {n1, n3}: true})
}

// TestNothingIsLeft: namespaces and bridge go with the test.
func TestNothingIsLeft(t *testing.T) {
	var prefix string
	t.Run("lab", func(t *testing.T) { prefix = newNetwork(t, 2).prefix })
	for _, args := range [][]string{{"netns", "list"}, {"-o", "link"}} {
		out, err := exec.Command("ip", args...).CombinedOutput()
		if err != nil || strings.Contains(string(out), prefix) {
			t.Errorf("ip %v: %v, prints what the lab has made:\n%s", args, err, out)
		}
	}
}

// TestCluster: three hubs and an edge in networks of their own. A minority that is cut
// off serves what it has, and has the rest once it is back; so does an edge.
func TestCluster(t *testing.T) {
	l := New(t, Options{Hubs: 3, Edges: 1, Network: true})
	if err := l.Deploy(t.Context(), site("one")); err != nil {
		t.Fatal(err)
	}
	l.Await("/", l.Nodes, says("one"))
	p := l.Probe("/", func(_ *Node, status int, body string) error {
		if body != "two" {
			return says("one")(status, body)
		}
		return says("two")(status, body)
	})
	n1, n2, n3, edge := l.Nodes[0], l.Nodes[1], l.Nodes[2], l.Nodes[3]
	l.Partition([]*Node{n1, n2}, []*Node{n3}, []*Node{edge})
	deadline := time.After(Patience)
	for {
		err := l.Deploy(t.Context(), site("two"))
		if err == nil {
			break
		}
		select {
		case <-deadline:
			t.Fatalf("the majority takes no change: %v\n%s", err, n1.Log())
		default:
			t.Log(err)
		}
	}
	l.Await("/", []*Node{n1, n2}, says("two"))
	for _, n := range []*Node{n3, edge} {
		if status, body, err := get(t.Context(), n.URL()); err != nil || says("one")(status, body) != nil {
			t.Errorf("%s, cut off: GET / = %d %q %v, want what it had", n.Name, status, body, err)
		}
	}
	l.Heal()
	l.Await("/", l.Nodes, says("two"))
	if err := p.Stop(); err != nil {
		t.Error(err)
	}
	t.Logf("%d requests", p.Requests())
}

// TestProberForgives: a request that was on its way when the test brought the node down
// is no failure.
func TestProberForgives(t *testing.T) {
	n := &Node{t: t, Name: "n1"}
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		n.setUp(false)
		panic(http.ErrAbortHandler)
	}))
	defer srv.Close()
	n.http = strings.TrimPrefix(srv.URL, "http://")
	n.setUp(true)
	p := &Prober{path: "/", check: always("")}
	p.ask(t.Context(), n)
	if failures, more := p.Failures(); len(failures)+more != 0 || p.Requests() != 0 {
		t.Errorf("the request counts: %v", failures)
	}
}
