package certs

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mholt/acmez/v3/acme"
)

// TestOneOrder: however many nodes want a certificate, one orders it, and all serve it.
func TestOneOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t, 24*time.Hour, "shop.example")
		var nodes []*Manager
		for _, name := range []string{"n1", "n2", "n3"} {
			m, _ := g.add(name, nil)
			g.manage(m, Host{Name: "shop.example"})
			nodes = append(nodes, m)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if n := g.ca.issued.Load(); n != 1 {
			t.Fatalf("%d certificates issued, want 1", n)
		}
		for i, m := range nodes {
			cert, err := m.certificate(t.Context(), "shop.example")
			if err != nil || cert == nil || cert.Leaf.DNSNames[0] != "shop.example" {
				t.Errorf("node %d: %v, %v", i+1, cert, err)
			}
			if cert, err := m.certificate(t.Context(), "other.example"); cert != nil || err != nil {
				t.Errorf("node %d: a name that is not served: %v, %v", i+1, cert, err)
			}
			if m.Leader() != nodes[0].Leader() || m.Leader() == "" {
				t.Errorf("node %d: leader %q", i+1, m.Leader())
			}
		}
	})
}

// TestKeysAreSealed: nothing that the register holds has a private key in it.
func TestKeysAreSealed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t, 24*time.Hour, "shop.example")
		m, _ := g.add("n1", nil)
		g.manage(m, Host{Name: "shop.example"})
		time.Sleep(time.Second)
		cert, err := m.certificate(t.Context(), "shop.example")
		if err != nil || cert == nil {
			t.Fatal(cert, err)
		}
		key, ok := cert.PrivateKey.(*ecdsa.PrivateKey)
		if !ok {
			t.Fatalf("a key of type %T", cert.PrivateKey)
		}
		private, err := key.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		for key, e := range g.entries {
			if bytes.Contains(e.Value, private) || bytes.Contains(e.Value, []byte("PRIVATE KEY")) {
				t.Errorf("entry %q holds a private key", key)
			}
		}
		// An entry that is moved to another host cannot be opened there.
		moved := g.entries[certPrefix+"shop.example"]
		moved.Key = certPrefix + "evil.example"
		if err := m.Apply(false, []Entry{moved}); err != nil {
			t.Fatal(err)
		}
		if h := m.book.cert("evil.example"); h == nil {
			t.Fatal("the entry is not there")
		} else if h.Subject = "evil.example"; true {
			if _, err := h.certificate(g.key); err == nil {
				t.Error("a key was opened at another host's place")
			}
		}
	})
}

// TestHolderDies: a node that stops in the middle of an order keeps nobody from ordering
// for longer than its lease.
func TestHolderDies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t, 24*time.Hour, "shop.example")
		g.ca.delay = 3 * time.Second
		first, stopFirst := g.add("n1", nil)
		g.manage(first, Host{Name: "shop.example"})
		synctest.Wait()
		second, _ := g.add("n2", nil)
		g.manage(second, Host{Name: "shop.example"})
		time.Sleep(time.Second)
		synctest.Wait()
		if first.Leader() != "n1" {
			t.Fatalf("leader %q", first.Leader())
		}
		g.mu.Lock()
		g.cut["n1"] = true // it cannot give the lease back
		g.mu.Unlock()
		stopFirst()
		start := time.Now()
		for second.book.cert("shop.example") == nil && time.Since(start) < time.Minute {
			time.Sleep(100 * time.Millisecond)
		}
		if took := time.Since(start); took > leaseLife*5/4+g.ca.delay {
			t.Errorf("the certificate came after %v", took)
		}
		if second.Leader() != "n2" {
			t.Errorf("leader %q", second.Leader())
		}
	})
}

// TestOutage: the CA is gone for two weeks around a renewal.
func TestOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t, 90*24*time.Hour, "shop.example")
		m, _ := g.add("n1", func(c *Config) { c.lease = time.Hour }) // to be done sooner
		g.manage(m, Host{Name: "shop.example"})
		time.Sleep(time.Second)
		serial := func() string {
			cert, err := m.certificate(t.Context(), "shop.example")
			if err != nil || cert == nil {
				t.Fatalf("%s: %v, %v", time.Now(), cert, err)
			}
			if time.Now().After(cert.Leaf.NotAfter) {
				t.Fatalf("%s: an expired certificate", time.Now())
			}
			return cert.Leaf.SerialNumber.String()
		}
		begin := serial()
		time.Sleep(59 * 24 * time.Hour)
		down := error(&issueError{Directory{URL: "https://ca.example/dir"}, &acme.Problem{Status: http.StatusServiceUnavailable, Detail: "down"}})
		g.ca.fails.Store(&down)
		for range 14 * 24 {
			time.Sleep(time.Hour)
			if serial() != begin {
				t.Fatal("a new certificate from a CA that is down")
			}
		}
		if g.log.String() == "" || !strings.Contains(g.log.String(), "certificate not obtained") {
			t.Error("the log says nothing")
		}
		failed := m.book.failure("shop.example")
		if failed == nil || failed.GetAttempts() < 10 {
			t.Fatalf("failure %v", failed)
		}
		g.ca.fails.Store(nil)
		time.Sleep(retryNetwork + time.Minute)
		if serial() == begin {
			t.Error("not renewed within minutes of the CA's return")
		}
		if failed := m.book.failure("shop.example"); failed != nil {
			t.Errorf("still told to have failed: %v", failed)
		}
	})
}

// TestRenewedOnce: a certificate is renewed when a third of its life is left, once.
func TestRenewedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t, 30*24*time.Hour, "shop.example")
		for _, name := range []string{"n1", "n2"} {
			m, _ := g.add(name, func(c *Config) { c.lease = time.Hour })
			g.manage(m, Host{Name: "shop.example"})
		}
		time.Sleep(19 * 24 * time.Hour)
		if n := g.ca.issued.Load(); n != 1 {
			t.Errorf("%d issued after 19 days, want 1", n)
		}
		time.Sleep(2 * 24 * time.Hour)
		if n := g.ca.issued.Load(); n != 2 {
			t.Errorf("%d issued after 21 days, want 2", n)
		}
	})
}

// TestAnotherCA: a certificate of a CA that is not asked any more is replaced at once;
// until then it serves.
func TestAnotherCA(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t, 30*24*time.Hour, "shop.example")
		g.ca.name = "staging"
		m, stop := g.add("n1", nil)
		g.manage(m, Host{Name: "shop.example"})
		time.Sleep(time.Second)
		stop()
		g.ca.name, g.ca.delay = "production", time.Minute
		m, _ = g.add("n1", nil)
		g.manage(m, Host{Name: "shop.example"})
		time.Sleep(time.Second)
		if h := m.book.cert("shop.example"); h.GetDirectory() != "staging" {
			t.Errorf("directory %q before the order has ended", h.GetDirectory())
		}
		time.Sleep(leaseLife + 2*time.Minute)
		if h := m.book.cert("shop.example"); h.GetDirectory() != "production" {
			t.Errorf("directory %q after a change of the CA", h.GetDirectory())
		}
	})
}

// TestBackToInternal: a node that orders no more serves what there is until it expires, then
// what its own CA issues.
func TestBackToInternal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t, 3*24*time.Hour, "shop.example")
		m, stop := g.add("n1", nil)
		g.manage(m, Host{Name: "shop.example"})
		time.Sleep(time.Second)
		stop()
		m, _ = g.add("n1", func(c *Config) { c.Mode = ModeInternal })
		g.manage(m, Host{Name: "shop.example"})
		for _, tt := range []struct {
			after  time.Duration
			shared bool
		}{{2 * 24 * time.Hour, true}, {2 * 24 * time.Hour, false}} {
			time.Sleep(tt.after)
			cert, err := m.certificate(t.Context(), "shop.example")
			if err != nil || cert == nil {
				t.Fatal(cert, err)
			}
			shared := m.book.cert("shop.example").GetChain()[0]
			if bytes.Equal(cert.Certificate[0], shared) != tt.shared || time.Now().After(cert.Leaf.NotAfter) {
				t.Errorf("%s: until %s, the register's %t, want %t", time.Now(), cert.Leaf.NotAfter, !tt.shared, tt.shared)
			}
		}
	})
}

// TestFallback: a second CA issues when the first does not.
func TestFallback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t, 30*24*time.Hour, "shop.example")
		down := errors.New("down")
		g.ca.fails.Store(&down)
		second := newTestCA(t, 30*24*time.Hour)
		second.name = "second"
		m, _ := g.add("n1", func(c *Config) { c.issuers, c.lease = append(c.issuers, second), time.Hour })
		g.manage(m, Host{Name: "shop.example"})
		time.Sleep(time.Second)
		if h := m.book.cert("shop.example"); h == nil || h.GetDirectory() != "second" {
			t.Errorf("certificate %v, want one of the second CA", h)
		}
		time.Sleep(19 * 24 * time.Hour)
		if n := second.issued.Load(); n != 1 {
			t.Errorf("%d issued by the second CA before a renewal is due", n)
		}
	})
}

// TestOnDemand: a handshake orders for hosts that ask for it, and only then.
func TestOnDemand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t, 24*time.Hour, "late.example", "early.example", "c1.demand.example", "c2.demand.example", "c3.demand.example", "c4.demand.example", "c5.demand.example", "c6.demand.example")
		onDemand := func(host string) bool { return host != "early.example" && slices.Contains(g.hosts, host) }
		var hosts []Host
		for _, name := range g.hosts {
			hosts = append(hosts, Host{Name: name, OnDemand: onDemand(name)})
		}
		leader, _ := g.add("n1", func(c *Config) { c.OnDemand = onDemand })
		g.manage(leader, hosts...)
		edge, _ := g.add("e1", func(c *Config) { c.OnDemand, c.Lead, c.Ask = onDemand, false, leader.Wish })
		g.manage(edge, hosts...)
		time.Sleep(time.Second)
		if n := g.ca.issued.Load(); n != 1 {
			t.Fatalf("%d issued before any handshake, want early.example's", n)
		}
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				cert, err := edge.certificate(context.Background(), "late.example")
				if err != nil || cert == nil {
					t.Errorf("handshake: %v, %v", cert, err)
				}
			})
		}
		wg.Wait()
		if n := g.ca.issued.Load(); n != 2 {
			t.Errorf("%d issued after eight handshakes at once, want 2", n)
		}
		refused := 0
		for i := range 6 {
			if _, err := edge.certificate(t.Context(), g.hosts[2+i]); err != nil {
				refused++
				if !strings.Contains(err.Error(), "names of demand.example are used up") {
					t.Error(err)
				}
			}
		}
		if refused != 1 {
			t.Errorf("%d of 6 names of a domain refused, want 1", refused)
		}
		if err := leader.Renew(t.Context(), "c1.demand.example"); err == nil || !strings.Contains(err.Error(), "are used up") {
			t.Errorf("a renewal beyond the budget: %v", err)
		}
		if cert, err := edge.certificate(t.Context(), "unknown.example"); cert != nil || err != nil {
			t.Errorf("unknown name: %v, %v", cert, err)
		}
		if err := leader.Order(t.Context(), "unknown.example"); !errors.Is(err, ErrNotWanted) {
			t.Errorf("Order of a name that is not served: %v", err)
		}
	})
}

func TestPatience(t *testing.T) {
	refused := &issueError{err: acme.Problem{Status: 403, Type: acme.ProblemTypeUnauthorized}}
	limited := &issueError{err: acme.Problem{Status: 429, Type: acme.ProblemTypeRateLimited}}
	down := &issueError{err: errors.New("connection refused")}
	for _, tt := range []struct {
		err      error
		attempts uint32
		want     time.Duration
	}{
		{down, 1, 30 * time.Second},
		{down, 2, time.Minute},
		{down, 1000, 10 * time.Minute},
		{refused, 1, time.Minute},
		{refused, 6, 32 * time.Minute},
		{refused, 1000, 6 * time.Hour},
		{limited, 1, time.Hour},
	} {
		if got := patience(tt.err, tt.attempts); got != tt.want {
			t.Errorf("patience(%v, %d) = %v, want %v", tt.err, tt.attempts, got, tt.want)
		}
	}
}

func TestAdvice(t *testing.T) {
	account := func(err error) error { return accountError(err) }
	for _, tt := range []struct {
		name string
		err  error
		want string
	}{
		{"external account", account(acme.Problem{Type: acme.ProblemTypeExternalAccountRequired}), "--acme-eab-key-id"},
		{"refused account", account(acme.Problem{Type: acme.ProblemTypeUnauthorized, Detail: "no"}), "refuses an account"},
		{"connection", acme.Problem{Type: acme.ProblemTypeConnection}, "port 80"},
		{"does not resolve", acme.Problem{Type: acme.ProblemTypeDNS}, "add A or AAAA records"},
		{"vague about DNS", acme.Problem{Type: acme.ProblemTypeMalformed, Detail: "Could not resolve URL"}, "add A or AAAA records"},
		{"vague about a connection", acme.Problem{Type: acme.ProblemTypeUnauthorized, Detail: "Failed to connect to 192.0.2.1"}, "port 80"},
		{"answered by another", acme.Problem{Type: acme.ProblemTypeUnauthorized}, "something else"},
		{"compound", acme.Problem{Type: acme.ProblemTypeCompound, Subproblems: []acme.Subproblem{{Problem: acme.Problem{Type: acme.ProblemTypeCAA}}}}, "CAA record"},
		{"root", x509.UnknownAuthorityError{}, "--acme-ca-root"},
		{"slow", context.DeadlineExceeded, "did not finish in time"},
	} {
		err := &issueError{Directory{URL: "https://ca.example/dir"}, tt.err}
		if got := advice("shop.example", err); !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// TestRefusesReplacing: an order is not made twice for what has nothing to do with the
// certificate that it replaces.
func TestRefusesReplacing(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
		want bool
	}{
		{"nothing", nil, false},
		{"the network", errors.New("refused"), false},
		{"another CA's certificate", acme.Problem{Type: acme.ProblemTypeMalformed}, true},
		{"another account's", fmt.Errorf("new order: %w", acme.Problem{Type: acme.ProblemTypeUnauthorized}), true},
		{"unknown", acme.Problem{Status: 404}, true},
		{"a limit", acme.Problem{Type: acme.ProblemTypeRateLimited}, false},
		{"a validation", acme.Problem{Type: acme.ProblemTypeUnauthorized, Resource: acme.Authorization{}}, false},
	} {
		if got := refusesReplacing(tt.err); got != tt.want {
			t.Errorf("refusesReplacing(%s) = %t, want %t", tt.name, got, tt.want)
		}
	}
}

func TestBadACME(t *testing.T) {
	good := ACME{Directories: []Directory{{URL: "https://ca.example/dir"}}}
	notPEM := filepath.Join(t.TempDir(), "root.pem")
	if err := writeFile(notPEM, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		acme ACME
		want string
	}{
		{"no directory", ACME{}, "Directories is empty"},
		{"http", ACME{Directories: []Directory{{URL: "http://ca.example"}}}, "https://"},
		{"no URL", ACME{Directories: []Directory{{URL: "ca.example"}}}, "no URL"},
		{"half a binding", ACME{Directories: []Directory{{EABKeyID: "a"}}}, "both a key id and a key"},
		{"a key that is none", ACME{Directories: []Directory{{EABKeyID: "a", EABKey: "a key"}}}, "no base64url"},
		{"no root file", ACME{Directories: good.Directories, RootFile: "/nonexistent/root.pem"}, "--acme-ca-root"},
		{"no root in it", ACME{Directories: good.Directories, RootFile: notPEM}, "-----BEGIN CERTIFICATE-----"},
	} {
		_, err := New(t.Context(), Config{
			Mode: ModeACME, Dir: t.TempDir(), Register: newShared().as("n"), Sealer: testKey(t), Lead: true, ACME: tt.acme,
		})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, cmp.Or(err, errors.New("nil")), tt.want)
		}
	}
}
