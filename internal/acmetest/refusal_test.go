//go:build linux

package acmetest

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/orla-edge/orla/internal/lab"
	"github.com/orla-edge/orla/internal/pebble"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

// TestSettings: what is wrong with how a node is to order is said at once.
func TestSettings(t *testing.T) {
	dir := t.TempDir()
	noPEM, missing := filepath.Join(dir, "no.pem"), filepath.Join(dir, "missing.pem")
	if err := os.WriteFile(noPEM, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		what string
		args []string
		want []string
	}{
		{"a root that is not there", []string{"--acme-ca-root", missing}, []string{"acme-ca-root", missing, "no such file"}},
		{"a root that is none", []string{"--acme-ca-root", noPEM}, []string{"acme-ca-root", noPEM, "PEM"}},
		{"a root that is a folder", []string{"--acme-ca-root", dir}, []string{"acme-ca-root", dir}},
		{"a directory without TLS", []string{"--acme-directory", "http://ca.example/dir"}, []string{"acme-directory", "https://"}},
		{"a key that is not there", []string{"--acme-eab-key-id", "id", "--acme-eab-key-file", missing}, []string{missing, "external account binding"}},
		{"a key that is none", []string{"--acme-eab-key-id", "id", "--acme-eab-key-file", noPEM}, []string{"external account binding", "base64url"}},
		{"a key without its id", []string{"--acme-eab-key-file", noPEM}, []string{"acme-eab-key-id"}},
		{"no address", []string{"--acme-email", "admin"}, []string{"acme-email", "e-mail address"}},
	} {
		t.Run(tt.what, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), lab.Patience)
			defer cancel()
			args := append([]string{"serve", "--data", t.TempDir(), "--http", "127.0.0.1:0", "--https", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--tls", "acme"}, tt.args...)
			out, err := exec.CommandContext(ctx, os.Getenv("ORLA_LAB_BINARY"), args...).CombinedOutput()
			if err == nil || ctx.Err() != nil {
				t.Fatalf("orla serve %v: %v, %v, want an error at once\n%s", tt.args, err, ctx.Err(), out)
			}
			for _, want := range tt.want {
				if !strings.Contains(string(out), want) {
					t.Errorf("orla serve %v says %q, want something about %q", tt.args, out, want)
				}
			}
		})
	}
}

// TestRefusals: when there is no certificate, the node says why, and what to do.
func TestRefusals(t *testing.T) {
	t.Parallel()
	httpPort, httpsPort := lab.FreePort(t), lab.FreePort(t)
	open := pebble.Start(t, pebble.Options{HTTPPort: httpPort, TLSPort: httpsPort, Blocked: []string{"blocked.example"}})
	const id, key, wrong = "key-1", "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3I", "d3Jvbmctd3Jvbmctd3Jvbmctd3Jvbmctd3Jvbmctd3I"
	closed := pebble.Start(t, pebble.Options{HTTPPort: httpPort, TLSPort: httpsPort, AccountKeys: map[string]string{id: key}})
	keyFile := func(text string) string {
		file := filepath.Join(t.TempDir(), "eab.key")
		if err := os.WriteFile(file, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	open.Unresolve("nowhere.example")
	open.Resolve("elsewhere.example", "127.0.0.9")
	nobody := "https://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(lab.FreePort(t))) + "/dir"
	asks := func(s *pebble.Server, more ...string) []string {
		return append([]string{"--acme-directory", s.Directory(), "--acme-ca-root", s.RootFile()}, more...)
	}
	for _, tt := range []struct {
		what, host string
		args       []string
		want       []string // empty: a certificate
	}{
		{"the name does not resolve", "nowhere.example", asks(open), []string{"nowhere.example", "resolve", "A or AAAA"}},
		{"the name leads elsewhere", "elsewhere.example", asks(open), []string{"elsewhere.example", "127.0.0.9", "DNS records", "port 443"}},
		{"the authority does not want the name", "blocked.example", asks(open), []string{"blocked.example", "does not issue"}},
		{"nobody answers", "a.example", []string{"--acme-directory", nobody}, []string{nobody, "cannot be reached", "refused", "--acme-directory"}},
		{"the authority's own root is unknown", "b.example", []string{"--acme-directory", open.Directory()}, []string{open.Directory(), "does not trust", "--acme-ca-root"}},
		{"an account takes a key", "c.example", asks(closed), []string{closed.Directory(), "external account binding", "--acme-eab-key-id", "--acme-eab-key-file"}},
		{"the key is wrong", "d.example", asks(closed, "--acme-eab-key-id", id, "--acme-eab-key-file", keyFile(wrong)), []string{closed.Directory(), "refuses an account", "external account binding"}},
		{"the key is not known", "e.example", asks(closed, "--acme-eab-key-id", "key-2", "--acme-eab-key-file", keyFile(key)), []string{"refuses an account", "external account binding"}},
		{"the key is right", "f.example", asks(closed, "--acme-eab-key-id", id, "--acme-eab-key-file", keyFile(key)), nil},
	} {
		t.Run(tt.what, func(t *testing.T) {
			args := append([]string{"--tls", "acme", "--acme-email", "admin@lab.example"}, tt.args...)
			s := &scene{t: t, ca: closed, Lab: lab.New(t, lab.Options{HTTPPort: httpPort, HTTPSPort: httpsPort, Args: args})}
			deployed, err := s.Nodes[0].Orla("deploy", s.write(site(tt.host)))
			if err != nil {
				t.Fatalf("orla deploy: %v\n%s", err, deployed) // it is live all the same
			}
			if tt.want == nil {
				s.awaitOn(tt.host, nil, s.Nodes...)
				return
			}
			if again := s.awaitFailure(); again <= 0 || again > 10*time.Minute {
				t.Errorf("it is tried again in %s, want minutes", again)
			}
			c := s.certificate(s.Nodes[0], tt.host)
			said := c.GetFailure().GetError()
			if c.GetState() != orlav1.Certificate_STATE_FAILED || !strings.Contains(s.Nodes[0].Log(), strconv.Quote(said)) {
				t.Errorf("the certificate is %v, want why it failed, as in the log\n%s", c, s.logs())
			}
			shown, err := s.Nodes[0].Orla("certs", "show", tt.host)
			if err != nil {
				t.Errorf("orla certs show: %v\n%s", err, shown)
			}
			for _, want := range tt.want {
				if !strings.Contains(said, want) || !strings.Contains(shown, want) || !strings.Contains(deployed, want) {
					t.Errorf("the node says %q\nshows %s\nafter the deploy %s\nwant something about %q", said, shown, deployed, want)
				}
			}
		})
	}
}
