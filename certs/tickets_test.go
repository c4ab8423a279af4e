package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

// visit makes one connection to a node, and has the server say something: a
// client gets its ticket with it. It returns what each side knows of the connection.
func visit(t *testing.T, node, cfg *tls.Config) (client, server tls.ConnectionState, err error) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	type result struct {
		state tls.ConnectionState
		err   error
	}
	done := make(chan result, 1)
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			done <- result{err: err}
			return
		}
		s := tls.Server(conn, node)
		_, err = s.Write([]byte("."))
		done <- result{s.ConnectionState(), errors.Join(err, conn.Close())}
	}()
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c := tls.Client(conn, cfg)
	_, err = io.ReadFull(c, make([]byte, 1))
	client = c.ConnectionState()
	conn.Close()
	r := <-done
	return client, r.state, errors.Join(err, r.err)
}

// browser is a client that resumes its sessions.
func browser(version uint16, host string) *tls.Config {
	return &tls.Config{
		ServerName: host, MinVersion: version, MaxVersion: version,
		ClientSessionCache: tls.NewLRUClientSessionCache(8), InsecureSkipVerify: true, //nolint:gosec // who answers is not the question
	}
}

func versions() map[string]uint16 {
	return map[string]uint16{"TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13}
}

func internalMode(c *Config) { c.Mode = ModeInternal }

// TestTicketsAreShared: a session that began at one node goes on at every other, across
// three turns of the keys, and not for ever.
func TestTicketsAreShared(t *testing.T) {
	for name, version := range versions() {
		synctest.Test(t, func(t *testing.T) {
			g := newGroup(t, 24*time.Hour, "shop.example")
			var nodes []*Manager
			for _, node := range []string{"n1", "n2", "n3"} {
				m, _ := g.add(node, func(c *Config) { internalMode(c); c.lease = time.Hour })
				nodes = append(nodes, m)
			}
			time.Sleep(time.Minute)
			resumes := func(begin time.Duration, first, then *Manager) bool {
				t.Helper()
				c := browser(version, "shop.example")
				if _, _, err := visit(t, first.TLSConfig(), c); err != nil {
					t.Fatal(err)
				}
				time.Sleep(begin)
				_, server, err := visit(t, then.TLSConfig(), c)
				if err != nil {
					t.Fatal(err)
				}
				return server.DidResume
			}
			for _, tt := range []struct {
				after time.Duration
				want  bool
			}{
				{0, true},
				{time.Hour, true},
				{11 * time.Hour, true},
				{13 * time.Hour, true},
				{25 * time.Hour, true},
				{36 * time.Hour, true},
				{50 * time.Hour, false},
			} {
				if got := resumes(tt.after, nodes[0], nodes[1]); got != tt.want {
					t.Errorf("%s: resumed on another node after %v: %v, want %v", name, tt.after, got, tt.want)
				}
				if got := resumes(tt.after, nodes[2], nodes[0]); got != tt.want {
					t.Errorf("%s: resumed on a third node after %v: %v, want %v", name, tt.after, got, tt.want)
				}
			}
			late, _ := g.add("n4", func(c *Config) { internalMode(c); c.Lead = false })
			if !resumes(0, nodes[1], late) {
				t.Errorf("%s: not resumed on a node that came later", name)
			}
		})
	}
}

// TestTicketKeysTurn: every node knows a key before tickets are made with it, all turn at
// its time, and no key stays for longer than it is of use.
func TestTicketKeysTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t, 24*time.Hour)
		var nodes []*Manager
		for _, node := range []string{"n1", "n2"} {
			m, _ := g.add(node, func(c *Config) { internalMode(c); c.lease = time.Hour })
			nodes = append(nodes, m)
		}
		edge, _ := g.add("e1", func(c *Config) { internalMode(c); c.Lead = false })
		nodes = append(nodes, edge)
		known := map[[32]byte]time.Time{} // since when
		var used [][32]byte
		for range 5*24*60 - 30 {
			time.Sleep(time.Minute)
			synctest.Wait()
			now := nodes[0].configs.Load().keys
			if len(now) == 0 || len(now) > 2+ticketsKept {
				t.Fatalf("%d keys", len(now))
			}
			for _, k := range now {
				if _, ok := known[k]; !ok {
					known[k] = time.Now()
				}
			}
			for i, m := range nodes {
				if !slices.Equal(m.configs.Load().keys, now) {
					t.Fatalf("%v: node %d has other keys", time.Now(), i)
				}
			}
			if len(used) > 0 && used[len(used)-1] == now[0] {
				continue
			}
			if ahead := time.Since(known[now[0]]); len(used) > 0 && ahead < ticketAhead {
				t.Errorf("a key that has been known for %v only is used", ahead)
			}
			if slices.Contains(used, now[0]) {
				t.Error("a key comes back")
			}
			used = append(used, now[0])
		}
		if want := 5 * 2; len(used) != want {
			t.Errorf("%d keys in five days, want %d", len(used), want)
		}
	})
}

func hours(n ...int) (out []time.Duration) {
	for _, h := range n {
		out = append(out, time.Duration(h)*time.Hour)
	}
	return out
}

func TestPlanTickets(t *testing.T) {
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		name string
		have []time.Duration // from now, oldest first
		keep []time.Duration
		from time.Duration
		make bool
	}{
		{"none", nil, nil, 0, true},
		{"fresh", []time.Duration{-time.Hour}, []time.Duration{-time.Hour}, 0, false},
		{"soon", []time.Duration{-11*time.Hour - time.Minute}, []time.Duration{-11*time.Hour - time.Minute}, 59 * time.Minute, true},
		{"soon, and there", []time.Duration{-11*time.Hour - time.Minute, 59 * time.Minute}, []time.Duration{-11*time.Hour - time.Minute, 59 * time.Minute}, 0, false},
		{"late", []time.Duration{-48 * time.Hour}, []time.Duration{-48 * time.Hour}, ticketAhead, true},
		{"too many", hours(-55, -43, -31, -19, -7), hours(-43, -31, -19, -7), 0, false},
		{"by a clock that was weeks ahead", []time.Duration{-13 * time.Hour, 300 * time.Hour}, []time.Duration{-13 * time.Hour}, ticketAhead, true},
		{"only by such a clock", []time.Duration{300 * time.Hour}, nil, 0, true},
	} {
		var have []ticketKey
		for _, from := range tt.have {
			have = append(have, ticketKey{from: now.Add(from)})
		}
		keep, from := planTickets(have, now)
		var kept []time.Duration
		for _, k := range keep {
			kept = append(kept, k.from.Sub(now))
		}
		if !slices.Equal(kept, tt.keep) || from.IsZero() == tt.make || tt.make && from.Sub(now) != tt.from {
			t.Errorf("%s: planTickets = %v, %v, want %v, %v %v", tt.name, kept, from.Sub(now), tt.keep, tt.from, tt.make)
		}
	}
}

// TestForeignTicketKeys: what cannot be opened is passed over, by handshakes and by the
// node that makes new keys.
func TestForeignTicketKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t, 24*time.Hour, "shop.example")
		sealed, err := testKey(t).Seal(make([]byte, 32), ticketsKey)
		if err != nil {
			t.Fatal(err)
		}
		short, err := g.key.Seal(make([]byte, 16), ticketsKey)
		if err != nil {
			t.Fatal(err)
		}
		moved, err := g.key.Seal(make([]byte, 32), rootKey)
		if err != nil {
			t.Fatal(err)
		}
		var record orlav1.TicketKeys
		for _, s := range [][]byte{sealed, short, moved, nil} {
			record.Keys = append(record.Keys, &orlav1.TicketKey{Sealed: s, From: timestamppb.Now()})
		}
		value, err := proto.Marshal(&record)
		if err != nil {
			t.Fatal(err)
		}
		if err := g.as("x").Commit(t.Context(), ticketsKey, value, 0); err != nil {
			t.Fatal(err)
		}
		m, _ := g.add("n1", internalMode)
		time.Sleep(time.Minute)
		if keys := m.configs.Load().keys; len(keys) != 1 || keys[0] == [32]byte{} {
			t.Errorf("%d keys", len(keys))
		}
	})
}

// clientCA makes a CA and a client's certificate of it.
func clientCA(t *testing.T) (*x509.CertPool, tls.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: "clients"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(30 * 24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, SerialNumber: big.NewInt(1),
	}, nil, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: "client"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(30 * 24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, ca, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	return pool, tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key}
}

// oneSession offers one session to whatever host: what a client that wants to be taken
// for another would do.
type oneSession struct{ tls.ClientSessionCache }

func (o oneSession) Get(string) (*tls.ClientSessionState, bool) { return o.ClientSessionCache.Get("") }
func (o oneSession) Put(_ string, s *tls.ClientSessionState)    { o.ClientSessionCache.Put("", s) }

// TestTicketsOfOtherHosts: a ticket carries a client's certificate to no host that does
// not trust who has signed it.
func TestTicketsOfOtherHosts(t *testing.T) {
	for name, version := range versions() {
		synctest.Test(t, func(t *testing.T) {
			pools := map[string]*x509.CertPool{}
			var own tls.Certificate
			pools["a.example"], own = clientCA(t)
			pools["b.example"], _ = clientCA(t)
			pools["same.example"] = pools["a.example"].Clone()
			g := newGroup(t, 24*time.Hour, "a.example", "b.example", "same.example", "plain.example")
			add := func(node string) *Manager {
				m, _ := g.add(node, func(c *Config) {
					internalMode(c)
					c.ClientCAs = func(host string) *x509.CertPool { return pools[host] }
				})
				return m
			}
			n1, n2 := add("n1"), add("n2")
			time.Sleep(time.Minute)
			for _, tt := range []struct {
				host           string
				resumed, known bool
			}{
				{"a.example", true, true},
				{"same.example", true, true},
				{"b.example", false, false},
				{"plain.example", false, false},
			} {
				c := browser(version, "a.example")
				c.ClientSessionCache = oneSession{c.ClientSessionCache}
				c.Certificates = []tls.Certificate{own}
				if _, server, err := visit(t, n1.TLSConfig(), c); err != nil || len(server.VerifiedChains) != 1 {
					t.Fatalf("%s: %d chains, %v", name, len(server.VerifiedChains), err)
				}
				c.Certificates, c.ServerName = nil, tt.host
				_, server, err := visit(t, n2.TLSConfig(), c)
				if err != nil {
					t.Fatalf("%s, %s: %v", name, tt.host, err)
				}
				if known := len(server.VerifiedChains) > 0 || len(server.PeerCertificates) > 0; server.DidResume != tt.resumed || known != tt.known {
					t.Errorf("%s, %s: resumed %v, client known %v, want %v, %v", name, tt.host, server.DidResume, known, tt.resumed, tt.known)
				}
			}
		})
	}
}

// TestTicketsAlone: a node without a register resumes its own clients' sessions.
func TestTicketsAlone(t *testing.T) {
	for name, version := range versions() {
		node := open(t, Config{}, "shop.example").TLSConfig()
		c := browser(version, "shop.example")
		for i := range 2 {
			if _, server, err := visit(t, node, c); err != nil || server.DidResume != (i == 1) {
				t.Errorf("%s: connection %d: resumed %v, %v", name, i+1, server.DidResume, err)
			}
		}
	}
}
