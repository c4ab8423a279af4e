//go:build linux

package acmetest

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/orla-edge/orla/internal/lab"
)

// TestShared: who trusts one node's root trusts all nodes, and resumes its session at any
// of them, also after all were started again.
func TestShared(t *testing.T) {
	t.Parallel()
	l := lab.New(t, lab.Options{Hubs: 3, Edges: 1, HTTPPort: lab.FreePort(t), HTTPSPort: lab.FreePort(t)})
	root := awaitRoot(t, l)
	client := &tls.Config{
		ServerName: "localhost", RootCAs: x509.NewCertPool(), ClientSessionCache: tls.NewLRUClientSessionCache(8),
		NextProtos: []string{"http/1.1"},
	}
	if !client.RootCAs.AppendCertsFromPEM(root) {
		t.Fatal("the root is no certificate")
	}
	if n := reconnect(t, l, client, 1000); n < 950 {
		t.Errorf("%d of 1000 connections resumed a session, want 950", n)
	} else {
		t.Logf("%d of 1000 connections resumed a session", n)
	}
	for _, n := range l.Nodes {
		if err := n.Stop(); err != nil {
			t.Errorf("node %s: %v", n.Name, err)
		}
	}
	l.StartAll(l.Nodes...)
	if n := reconnect(t, l, client, 100); n < 95 {
		t.Errorf("%d of 100 connections resumed a session after all nodes were started again, want 95", n)
	}
	if again := awaitRoot(t, l); !bytes.Equal(again, root) {
		t.Error("another root after all nodes were started again")
	}
}

// awaitRoot waits until all nodes have one root.
func awaitRoot(t *testing.T, l *lab.Lab) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), lab.Patience)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		roots := map[string]bool{}
		for _, n := range l.Nodes {
			text, err := os.ReadFile(filepath.Join(n.Data, "certs", "root.pem"))
			if err != nil {
				text = []byte(n.Name) // being replaced
			}
			roots[string(text)] = true
		}
		if len(roots) == 1 {
			for text := range roots {
				return []byte(text)
			}
		}
		select {
		case <-ctx.Done():
			t.Fatalf("the nodes have %d roots\n%s", len(roots), l.Nodes[0].Log())
		case <-tick.C:
		}
	}
}

// reconnect makes so many connections to the nodes in turn, and returns how many of them
// resumed a session.
func reconnect(t *testing.T, l *lab.Lab, cfg *tls.Config, count int) (resumed int) {
	t.Helper()
	for i := range count {
		c, err := tls.Dial("tcp", l.Nodes[i%len(l.Nodes)].HTTPS(), cfg)
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		_, err = io.WriteString(c, "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
		if err == nil {
			_, err = io.Copy(io.Discard, c) // the ticket comes with the answer
		}
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		if c.ConnectionState().DidResume {
			resumed++
		}
		c.Close()
	}
	return resumed
}
