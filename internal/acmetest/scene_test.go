//go:build linux

package acmetest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/orla-edge/orla/internal/lab"
	"github.com/orla-edge/orla/internal/pebble"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

// scene is nodes that ask an ACME authority for certificates.
type scene struct {
	*lab.Lab
	t  *testing.T
	ca *pebble.Server
	// ahead is how far the nodes' clocks are ahead, which is what clients go by.
	ahead time.Duration
}

// newScene starts an authority that rejects some nonces and fails some requests, and
// nodes that look for it there.
func newScene(t *testing.T, nodes lab.Options, authority pebble.Options) *scene {
	t.Helper()
	authority.HTTPPort, authority.TLSPort = lab.FreePort(t), lab.FreePort(t)
	authority.RejectNonces = 10
	ca := pebble.Start(t, authority)
	ca.FailEvery(9)
	nodes.HTTPPort, nodes.HTTPSPort = authority.HTTPPort, authority.TLSPort
	nodes.Args = append(nodes.Args, "--tls", "acme", "--acme-email", "admin@lab.example",
		"--acme-directory", ca.Directory(), "--acme-ca-root", ca.RootFile())
	return &scene{Lab: lab.New(t, nodes), t: t, ca: ca}
}

// site is an app for the host.
func site(host string) map[string]string {
	name, _, _ := strings.Cut(host, ".")
	return map[string]string{
		"orla.toml":         fmt.Sprintf("name = %q\nhosts = [%q]\n[site]\n", name, host),
		"public/index.html": greeting,
	}
}

// deploy makes an app for the host live, by way of the first node that is up.
func (s *scene) deploy(host string) {
	s.t.Helper()
	if err := s.Deploy(s.t.Context(), site(host)); err != nil {
		s.t.Fatalf("deploy %s: %v", host, err)
	}
}

// handshake connects to a node as a client that trusts the authority, and returns the
// node's certificate.
func (s *scene) handshake(ctx context.Context, n *lab.Node, host string) (*x509.Certificate, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	d := tls.Dialer{Config: &tls.Config{
		ServerName: host, RootCAs: s.ca.Roots(), Time: func() time.Time { return time.Now().Add(s.ahead) },
	}}
	c, err := d.DialContext(ctx, "tcp", n.HTTPS())
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.(*tls.Conn).ConnectionState().PeerCertificates[0], nil //nolint:forcetypeassert // of a TLS dialer
}

// awaitOn waits until each of the nodes serves the host with one and the same
// certificate, another than old, and returns it, and how long after the authority has
// given away the certificate each of them did.
func (s *scene) awaitOn(host string, old *x509.Certificate, nodes ...*lab.Node) (*x509.Certificate, []time.Duration) {
	s.t.Helper()
	leaves, at := make([]*x509.Certificate, len(nodes)), make([]time.Time, len(nodes))
	errs := make([]error, len(nodes))
	var wait sync.WaitGroup
	for i, n := range nodes {
		wait.Go(func() { leaves[i], at[i], errs[i] = s.awaitNode(host, old, n) })
	}
	wait.Wait()
	for i, n := range nodes {
		if errs[i] != nil {
			s.t.Fatalf("node %s does not serve %s after %s: %v\n%s", n.Name, host, lab.Patience, errs[i], s.logs())
		}
		if !leaves[i].Equal(leaves[0]) {
			s.t.Errorf("%s has another certificate at %s than at %s", host, n.Name, nodes[0].Name)
		}
	}
	issued := s.ca.Accepted(pebble.Certificate)
	took := make([]time.Duration, len(nodes))
	for i := range nodes {
		took[i] = at[i].Sub(issued[len(issued)-1]).Round(time.Millisecond)
	}
	return leaves[0], took
}

func (s *scene) awaitNode(host string, old *x509.Certificate, n *lab.Node) (*x509.Certificate, time.Time, error) {
	ctx, cancel := context.WithTimeout(s.t.Context(), lab.Patience)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		leaf, err := s.handshake(ctx, n, host)
		if err == nil && (old == nil || !leaf.Equal(old)) {
			return leaf, time.Now(), nil
		}
		select {
		case <-ctx.Done():
			return nil, time.Time{}, err
		case <-tick.C:
		}
	}
}

// holder returns the node that has ordered last: by its log, and the time in it.
func (s *scene) holder() *lab.Node {
	s.t.Helper()
	var last string
	var node *lab.Node
	for _, n := range s.Nodes {
		for line := range strings.Lines(n.Log()) {
			if strings.Contains(line, "certificate obtained") && line > last {
				last, node = line, n
			}
		}
	}
	if node == nil {
		s.t.Fatalf("no node says that it obtained a certificate\n%s", s.logs())
	}
	return node
}

// others returns the nodes but one.
func (s *scene) others(but *lab.Node) (nodes []*lab.Node) {
	for _, n := range s.Nodes {
		if n != but {
			nodes = append(nodes, n)
		}
	}
	return nodes
}

// orders counts the authority's orders for a host.
func (s *scene) orders(host string) (n int) {
	for _, o := range s.ca.Orders() {
		if len(o.Names) == 1 && o.Names[0] == host {
			n++
		}
	}
	return n
}

// address is where DNS has to lead to for the node to be asked.
func address(n *lab.Node) string {
	host, _, _ := net.SplitHostPort(n.HTTPS())
	return host
}

// logs is what the nodes have printed, but for requests.
func (s *scene) logs() string {
	var text strings.Builder
	for _, n := range s.Nodes {
		fmt.Fprintf(&text, "== %s\n", n.Name)
		for line := range strings.Lines(n.Log()) {
			if !strings.Contains(line, "msg=request ") && !strings.Contains(line, "NATS") {
				text.WriteString(line)
			}
		}
	}
	return text.String()
}

// write writes an app's files into a folder of their own.
func (s *scene) write(files map[string]string) string {
	s.t.Helper()
	dir := s.t.TempDir()
	for name, content := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			s.t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			s.t.Fatal(err)
		}
	}
	return dir
}

// awaitFailure waits until one of the nodes says, since they were started, that an order
// has failed, and returns when it is tried again: how long from now by the nodes' clock.
func (s *scene) awaitFailure() time.Duration {
	s.t.Helper()
	m := s.awaitLog(`level=ERROR msg="certificate not obtained".* next=(\S+)`, s.Nodes...)
	at, err := time.Parse(time.RFC3339, strings.Trim(m[1], `"`))
	if err != nil {
		s.t.Fatalf("%v in %q", err, m[0])
	}
	return at.Sub(time.Now().Add(s.ahead))
}

// awaitLog waits until a line of one of the nodes' logs matches, and returns the match.
func (s *scene) awaitLog(pattern string, nodes ...*lab.Node) []string {
	s.t.Helper()
	line := regexp.MustCompile("(?m)^.*" + pattern)
	timeout := time.After(lab.Patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		for _, n := range nodes {
			if m := line.FindStringSubmatch(n.Log()); m != nil {
				return m
			}
		}
		select {
		case <-timeout:
			s.t.Fatalf("no line like %q after %s\n%s", pattern, lab.Patience, s.logs())
		case <-tick.C:
		}
	}
}

// certificate is what a node says of a host's.
func (s *scene) certificate(n *lab.Node, host string) *orlav1.Certificate {
	s.t.Helper()
	c := n.Client()
	defer c.Close()
	res, err := c.Control().ShowCertificate(s.t.Context(), connect.NewRequest(&orlav1.ShowCertificateRequest{Host: host}))
	if err != nil {
		s.t.Fatalf("show certificate of %s: %v\n%s", host, err, s.logs())
	}
	return res.Msg.GetCertificate()
}

// awaitCertificate waits until what a node says of a host's is as it has to be.
func (s *scene) awaitCertificate(n *lab.Node, host, want string, ok func(*orlav1.Certificate) bool) {
	s.t.Helper()
	timeout := time.After(lab.Patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		c := s.certificate(n, host)
		if ok(c) {
			return
		}
		select {
		case <-timeout:
			s.t.Fatalf("at %s the certificate is %v, want it %s\n%s", n.Name, c, want, s.logs())
		case <-tick.C:
		}
	}
}
