package identity

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestSecretsSurviveTheirText(t *testing.T) {
	hub := New()
	for _, s := range []Secret{hub, hub.Edge()} {
		again, err := Parse("\n" + s.Reveal() + "\n")
		if err != nil {
			t.Fatalf("Parse: %v", err)
		}
		if again.Role() != s.Role() || again.Reveal() != s.Reveal() {
			t.Errorf("%s is not itself after a round trip", s.Role())
		}
		if !bytes.Equal(again.Seed(Edge, "x"), hub.Seed(Edge, "x")) {
			t.Errorf("%s does not share the edges' keys", s.Role())
		}
	}
	if hub.Edge().Seed(Hub, "x") != nil {
		t.Error("an edge has a hub's key")
	}
	if bytes.Equal(hub.Seed(Hub, "x"), hub.Seed(Edge, "x")) || bytes.Equal(hub.Seed(Edge, "x"), hub.Seed(Edge, "y")) {
		t.Error("keys of different purposes are equal")
	}
}

func TestSecretsDoNotTellThemselves(t *testing.T) {
	s := New()
	digits := strings.TrimPrefix(s.Reveal(), hubPrefix)
	for _, text := range []string{fmt.Sprint(s), fmt.Sprintf("%v %+v %#v", s, s, &s), fmt.Sprintf("%v", struct{ S Secret }{s})} {
		if strings.Contains(text, digits) || strings.Contains(text, string(s.root)) {
			t.Errorf("%q tells the secret", text)
		}
	}
}

func TestBadSecretsAreRefused(t *testing.T) {
	good := New().Reveal()
	for _, text := range []string{"", "orla-hub-", "orla-edge-abc", good[:len(good)-1], strings.ToUpper(good), "orla-edge-" + strings.TrimPrefix(good, hubPrefix)} {
		if _, err := Parse(text); !errors.Is(err, ErrSecret) {
			t.Errorf("Parse(%q) = %v, want ErrSecret", text, err)
		}
	}
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(good), 0o644); err != nil { //nolint:gosec // on purpose
		t.Fatal(err)
	}
	if _, err := ReadFile(file); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a file that others may read: %v", err)
	}
	if err := os.Chmod(file, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadFile(file); err != nil {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(New().Reveal())
	f.Add(New().Edge().Reveal())
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Parse(text)
		if err == nil && s.Reveal() != strings.TrimSpace(text) && len(text) < 200 {
			// Base32 has unused bits in its last digit: the text may differ, the secret not.
			again, err := Parse(s.Reveal())
			if err != nil || again.Reveal() != s.Reveal() {
				t.Errorf("%q is not stable", text)
			}
		}
	})
}

// handshake connects two nodes and returns the errors of both ends.
func handshake(t *testing.T, server, client *tls.Config) (state tls.ConnectionState, err error) {
	t.Helper()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	srv, cli := tls.Server(a, server), tls.Client(b, client)
	done := make(chan error, 1)
	go func() {
		err := srv.Handshake()
		if err == nil {
			_, err = srv.Write([]byte("x"))
		} else {
			a.Close()
		}
		done <- err
	}()
	_, err = cli.Read(make([]byte, 1)) // handshakes; TLS 1.3 tells a refused client only when it reads
	b.Close()
	return srv.ConnectionState(), errors.Join(err, <-done)
}

func node(t *testing.T, s Secret, name string, role Role) *Node {
	t.Helper()
	n, err := s.Node(name, role)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestWhoBelievesWhom(t *testing.T) {
	ours, theirs := New(), New()
	hub, edge := node(t, ours, "h", Hub), node(t, ours.Edge(), "e", Edge)
	stranger := node(t, theirs, "s", Hub)
	for _, test := range []struct {
		name           string
		server, client *tls.Config
		from           string
		role           Role
		ok             bool
	}{
		{"edge to hub", hub.Server(Hub, Edge), edge.Client(Hub), "e", Edge, true},
		{"hub to hub", hub.Both(), node(t, ours, "h2", Hub).Both(), "h2", Hub, true},
		{"hub to edge", edge.Server(Hub, Edge), hub.Client(Edge), "h", Hub, true},
		{"edge to edge", edge.Server(Hub, Edge), node(t, ours.Edge(), "e2", Edge).Client(Edge), "e2", Edge, true},
		{"edge where hubs only may", hub.Server(Hub), edge.Client(Hub), "", "", false},
		{"an edge that passes for a hub", edge.Server(Hub, Edge), edge.Client(Hub), "", "", false},
		{"stranger to hub", hub.Server(Hub, Edge), stranger.Client(Hub), "", "", false},
		{"edge to a stranger", stranger.Server(Hub, Edge), edge.Client(Hub), "", "", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			state, err := handshake(t, test.server, test.client)
			if (err == nil) != test.ok {
				t.Fatalf("handshake: %v, want ok %v", err, test.ok)
			}
			if err != nil {
				return
			}
			if name, role, ok := hub.Peer(&state); !ok && test.from != "" {
				// The peer that a hub of the same cluster sees.
				t.Errorf("Peer = %q %q %v", name, role, ok)
			} else if name != test.from || role != test.role {
				t.Errorf("Peer = %q %q, want %q %q", name, role, test.from, test.role)
			}
		})
	}
}

func TestAnEdgesSecretMakesNoHub(t *testing.T) {
	if _, err := New().Edge().Node("x", Hub); err == nil {
		t.Error("made a hub of an edge's secret")
	}
}

func TestCertificatesRenewThemselves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := node(t, New(), "n", Hub)
		first, _ := n.certificate()
		time.Sleep(life - renew - time.Hour)
		if same, _ := n.certificate(); same != first {
			t.Error("renewed early")
		}
		time.Sleep(2 * time.Hour)
		next, err := n.certificate()
		if err != nil || next == first {
			t.Errorf("not renewed: %v", err)
		}
	})
}
