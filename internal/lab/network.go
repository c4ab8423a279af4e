//go:build linux

package lab

import (
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// network gives each node a network namespace, all of them on one bridge, to which the
// test itself is connected too. A partition gives a node a wrong hardware address for
// another: what it sends there is lost without a word, as behind a broken switch, and
// the test goes on reaching both.
type network struct {
	t      testing.TB
	prefix string // of the names of all that is made: at most 10 characters
	subnet string // "198.18.7": the addresses reserved for such tests (RFC 2544)
	count  int
}

// nowhere is a hardware address that no node has.
const nowhere = "02:00:5e:00:53:00"

func newNetwork(t testing.TB, count int) *network {
	t.Helper()
	need(t, os.Geteuid() == 0, "root to make network namespaces")
	_, err := exec.LookPath("ip")
	need(t, err == nil, "the program ip to make network namespaces; install iproute2")
	var random [4]byte
	_, _ = rand.Read(random[:]) // never fails
	w := &network{t: t, prefix: fmt.Sprintf("ol%x", random[:3]), subnet: fmt.Sprintf("198.18.%d", random[3]), count: count}
	t.Cleanup(w.remove)
	commands := []string{
		"link add " + w.prefix + " type bridge forward_delay 0",
		"addr add " + w.subnet + ".254/24 dev " + w.prefix,
		"link set " + w.prefix + " up",
	}
	for i := range count {
		ns, host := w.namespace(i), w.cable(i)
		commands = append(commands,
			"netns add "+ns,
			"link add "+host+" type veth peer name eth0 netns "+ns,
			"link set "+host+" master "+w.prefix+" up",
		)
	}
	w.ip("", commands)
	for i := range count {
		w.ip(w.namespace(i), []string{
			"link set lo up",
			"addr add " + w.address(i) + "/24 dev eth0",
			"link set eth0 up",
		})
	}
	return w
}

func (w *network) namespace(i int) string { return fmt.Sprintf("%s-n%d", w.prefix, i+1) }
func (w *network) cable(i int) string     { return fmt.Sprintf("%sv%d", w.prefix, i+1) } // its end at the bridge
func (w *network) address(i int) string   { return fmt.Sprintf("%s.%d", w.subnet, i+1) }

// ip runs commands of ip in a namespace, all at once.
func (w *network) ip(namespace string, commands []string) {
	w.t.Helper()
	if out, err := runIP(namespace, commands); err != nil {
		w.t.Fatalf("ip %s: %v\n%s\nthe commands were:\n%s", namespace, err, out, strings.Join(commands, "\n"))
	}
}

func runIP(namespace string, commands []string) (string, error) {
	args := []string{"-batch", "-"}
	if namespace != "" {
		args = append([]string{"-n", namespace}, args...)
	}
	cmd := exec.Command("ip", args...) //nolint:noctx // takes milliseconds, also after the test's end
	cmd.Stdin = strings.NewReader(strings.Join(commands, "\n") + "\n")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// remove takes everything away, also what was made by half. The cables go first: the
// kernel takes its time with those of a namespace that goes.
func (w *network) remove() {
	for i := range w.count {
		w.removeLink(w.cable(i))
		ns := w.namespace(i)
		if _, err := os.Stat(filepath.Join("/run/netns", ns)); err != nil {
			continue
		}
		if out, err := runIP("", []string{"netns del " + ns}); err != nil {
			w.t.Errorf("remove network namespace %s: %v\n%s", ns, err, out)
		}
	}
	w.removeLink(w.prefix)
}

func (w *network) removeLink(name string) {
	if _, err := os.Stat(filepath.Join("/sys/class/net", name)); err != nil {
		return
	}
	if out, err := runIP("", []string{"link del " + name}); err != nil {
		w.t.Errorf("remove link %s: %v\n%s", name, err, out)
	}
}

// Partition cuts the nodes of different groups off from each other, both ways, and lets
// those of the same group talk. A node in no group is cut off from all. The test
// reaches every node all the time. It takes the place of any partition before.
func (l *Lab) Partition(groups ...[]*Node) {
	l.t.Helper()
	group := make(map[*Node]int)
	for i, g := range groups {
		for _, n := range g {
			group[n] = i + 1
		}
	}
	l.cut(func(from, to *Node) bool { return group[from] == 0 || group[from] != group[to] })
}

// Isolate cuts the nodes off from all others, and from each other.
func (l *Lab) Isolate(nodes ...*Node) {
	l.t.Helper()
	lonely := make(map[*Node]bool)
	for _, n := range nodes {
		lonely[n] = true
	}
	l.cut(func(from, to *Node) bool { return lonely[from] || lonely[to] })
}

// CutOneWay loses what from sends to to, and nothing else.
func (l *Lab) CutOneWay(from, to *Node) {
	l.t.Helper()
	l.cut(func(a, b *Node) bool { return a == from && b == to })
}

// Heal ends a partition.
func (l *Lab) Heal() {
	l.t.Helper()
	l.cut(func(*Node, *Node) bool { return false })
}

// cut loses what a node sends to another where lost says so. First the ways that are
// lost are set, then the others: at no time is more cut than before and after.
func (l *Lab) cut(lost func(from, to *Node) bool) {
	l.t.Helper()
	if l.net == nil {
		l.t.Fatal("lab: a partition needs Options.Network")
	}
	for i, from := range l.Nodes {
		var commands []string
		for j, to := range l.Nodes {
			if i == j {
				continue
			}
			entry := l.net.address(j) + " dev eth0"
			if lost(from, to) {
				commands = append(commands, "neigh replace "+entry+" lladdr "+nowhere+" nud permanent")
				continue
			}
			// Replaced first, for a way that was not cut has none to delete.
			commands = append(commands, "neigh replace "+entry+" lladdr "+nowhere+" nud none", "neigh del "+entry)
		}
		l.net.ip(from.namespace, commands)
	}
}
