//go:build linux

package pebble

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// answerer answers challenges at an address: what a server does whose certificates are
// managed.
type answerer struct {
	server *Server // for DNS-01

	mu      sync.Mutex // guards what follows
	pending map[string]acme.Challenge
	asked   map[string]bool // kinds of challenges that were looked for here
}

// serve answers at the host, at its first free ports if they are 0.
func (a *answerer) serve(t *testing.T, host, httpPort, tlsPort string) (plain, secure int) {
	t.Helper()
	a.pending, a.asked = make(map[string]acme.Challenge), make(map[string]bool)
	plainLn, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", net.JoinHostPort(host, httpPort))
	if err != nil {
		t.Fatal(err)
	}
	secureLn, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", net.JoinHostPort(host, tlsPort))
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{ErrorLog: log.New(io.Discard, "", 0), Handler: a, TLSConfig: &tls.Config{GetCertificate: a.certificate, NextProtos: []string{acmez.ACMETLS1Protocol}}}
	var wg sync.WaitGroup
	wg.Go(func() { _ = s.Serve(plainLn) })
	wg.Go(func() { _ = s.ServeTLS(secureLn, "", "") })
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		wg.Wait()
	})
	return plainLn.Addr().(*net.TCPAddr).Port, secureLn.Addr().(*net.TCPAddr).Port
}

func (a *answerer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked["http-01"] = true
	host, _, _ := net.SplitHostPort(r.Host)
	_, _ = io.WriteString(w, a.pending[host].KeyAuthorization)
}

func (a *answerer) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked["tls-alpn-01"] = true
	return acmez.TLSALPN01ChallengeCert(a.pending[hello.ServerName])
}

func (a *answerer) Present(_ context.Context, c acme.Challenge) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.pending[c.Identifier.Value] = c
	if c.Type == "dns-01" {
		return a.server.SetTXT(c.DNS01TXTRecordName(), c.DNS01KeyAuthorization())
	}
	return nil
}

func (a *answerer) CleanUp(_ context.Context, c acme.Challenge) error {
	if c.Type == "dns-01" {
		return a.server.ClearTXT(c.DNS01TXTRecordName())
	}
	return nil
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// subscriber is an ACME client with an account.
type subscriber struct {
	acmez.Client
	account acme.Account
}

func subscribe(t *testing.T, s *Server, a *answerer) *subscriber {
	t.Helper()
	a.server = s
	pool := x509.NewCertPool()
	text, err := os.ReadFile(s.RootFile())
	if err != nil || !pool.AppendCertsFromPEM(text) {
		t.Fatalf("read the root: %v", err)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	t.Cleanup(transport.CloseIdleConnections)
	c := &subscriber{
		Client: acmez.Client{
			Client:           &acme.Client{Directory: s.Directory(), HTTPClient: &http.Client{Transport: transport}, PollInterval: 10 * time.Millisecond},
			ChallengeSolvers: map[string]acmez.Solver{"http-01": a, "tls-alpn-01": a, "dns-01": a},
		},
		account: acme.Account{TermsOfServiceAgreed: true, PrivateKey: newKey(t)},
	}
	return c
}

func (c *subscriber) register(t *testing.T) {
	t.Helper()
	account, err := c.NewAccount(t.Context(), acme.Account{TermsOfServiceAgreed: true, PrivateKey: c.account.PrivateKey})
	if err != nil {
		t.Fatal(err)
	}
	c.account = account
}

// obtain orders a certificate and returns it as clients of a server would see it.
func (c *subscriber) obtain(ctx context.Context, t *testing.T, names ...string) (*x509.Certificate, *x509.CertPool, error) {
	t.Helper()
	certs, err := c.ObtainCertificateForSANs(ctx, c.account, newKey(t), names)
	if err != nil {
		return nil, nil, err
	}
	block, rest := pem.Decode(certs[0].ChainPEM)
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	between := x509.NewCertPool()
	between.AppendCertsFromPEM(rest)
	return leaf, between, nil
}

// TestIssue: the authority issues by each kind of challenge, and what it issues is good.
// Every fifth good nonce is refused, and every seventh request fails.
func TestIssue(t *testing.T) {
	a := &answerer{}
	plain, secure := a.serve(t, "127.0.0.1", "0", "0")
	s := Start(t, Options{HTTPPort: plain, TLSPort: secure, Validity: time.Hour, RejectNonces: 20})
	c := subscribe(t, s, a)
	c.register(t)
	s.FailEvery(7)
	for i, kind := range []string{"http-01", "tls-alpn-01", "dns-01"} {
		s.Offer(kind)
		name := kind + ".example"
		leaf, between, err := c.obtain(t.Context(), t, name)
		if err != nil {
			t.Fatalf("order %s: %v\n%s", name, err, s.Log())
		}
		if _, err := leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: s.Roots(), Intermediates: between}); err != nil {
			t.Errorf("certificate for %s: %v", name, err)
		}
		if life := leaf.NotAfter.Sub(leaf.NotBefore).Round(time.Minute); life != time.Hour {
			t.Errorf("certificate for %s is valid for %s, want 1h", name, life)
		}
		if orders := s.Orders(); len(orders) != i+1 || !slices.Equal(orders[i].Names, []string{name}) {
			t.Errorf("after %d orders there are %v, the last for %s", i+1, orders, name)
		}
		if n := len(s.Accepted(Finalize)); n != i+1 {
			t.Errorf("after %d orders %d were finalized", i+1, n)
		}
		if a.asked[kind] != (kind != "dns-01") || len(a.asked) > i+1 {
			t.Errorf("with %s offered, what was looked for is %v", kind, a.asked)
		}
	}
}

// TestResolve: a name is validated where DNS says that it is.
func TestResolve(t *testing.T) {
	here, there := &answerer{}, &answerer{}
	plain, secure := here.serve(t, "127.0.0.1", "0", "0")
	s := Start(t, Options{HTTPPort: plain, TLSPort: secure})
	there.serve(t, "127.0.0.2", strconv.Itoa(plain), strconv.Itoa(secure))
	c := subscribe(t, s, there)
	c.register(t)
	s.Offer("http-01", "tls-alpn-01")
	for _, tt := range []struct {
		what string
		set  func()
		want string
	}{
		{"at 127.0.0.1, where nobody answers", func() {}, "urn:ietf:params:acme:error:"},
		{"at 127.0.0.2, where somebody does", func() { s.Resolve("a.example", "127.0.0.2") }, ""},
		{"nowhere", func() { s.Unresolve("a.example") }, "ould not resolve"},
		{"at 127.0.0.2 again", func() { s.Resolve("a.example", "127.0.0.2") }, ""},
		{"at 127.0.0.3, where nobody listens", func() { s.Resolve("a.example", "127.0.0.3") }, "127.0.0.3"},
	} {
		tt.set()
		_, _, err := c.obtain(t.Context(), t, "a.example")
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("a.example is %s: %v, want %q", tt.what, err, tt.want)
		}
	}
}

// TestCloseAndReset: an authority that was down knows what it knew, one that was reset
// does not, and lives at the time that it was given.
func TestCloseAndReset(t *testing.T) {
	a := &answerer{}
	plain, secure := a.serve(t, "127.0.0.1", "0", "0")
	s := Start(t, Options{HTTPPort: plain, TLSPort: secure})
	c := subscribe(t, s, a)
	c.register(t)
	s.Offer("http-01")
	if _, _, err := c.obtain(t.Context(), t, "a.example"); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if _, _, err := c.obtain(t.Context(), t, "b.example"); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("order of an authority that is down: %v, want a refused connection", err)
	}
	s.Open()
	if _, _, err := c.obtain(t.Context(), t, "b.example"); err != nil {
		t.Errorf("order of an authority that is up again: %v", err)
	}
	const ahead = 30 * 24 * time.Hour
	s.Reset(ahead)
	var problem acme.Problem
	if _, _, err := c.obtain(t.Context(), t, "c.example"); !errors.As(err, &problem) || problem.Type != acme.ProblemTypeAccountDoesNotExist {
		t.Errorf("order of an authority that forgot the account: %v", err)
	}
	c.register(t)
	leaf, between, err := c.obtain(t.Context(), t, "c.example")
	if err != nil {
		t.Fatal(err)
	}
	if early := time.Until(leaf.NotBefore); early < ahead-time.Minute || early > ahead+time.Minute {
		t.Errorf("the certificate is valid in %s, want %s", early, ahead)
	}
	_, err = leaf.Verify(x509.VerifyOptions{Roots: s.Roots(), Intermediates: between, CurrentTime: time.Now().Add(ahead + time.Hour)})
	if err != nil {
		t.Error(err)
	}
}

// TestHold: a request can be caught in the middle, given up, and made again.
func TestHold(t *testing.T) {
	a := &answerer{}
	plain, secure := a.serve(t, "127.0.0.1", "0", "0")
	s := Start(t, Options{HTTPPort: plain, TLSPort: secure})
	c := subscribe(t, s, a)
	c.register(t)
	s.Offer("tls-alpn-01")
	hold := s.Hold(Finalize)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error)
	go func() {
		_, _, err := c.obtain(ctx, t, "a.example")
		ended <- err
	}()
	<-hold.Arrived()
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("an order given up ends with %v", err)
	}
	if n := len(s.Accepted(Finalize)); n != 0 {
		t.Errorf("%d orders were finalized behind what held them", n)
	}
	hold.Release()
	if _, _, err := c.obtain(t.Context(), t, "a.example"); err != nil {
		t.Error(err)
	}
	if n := len(s.Orders()); n != 2 {
		t.Errorf("%d orders, want 2", n)
	}
}

// TestAnswer: the authority says what the test wants it to.
func TestAnswer(t *testing.T) {
	a := &answerer{}
	plain, secure := a.serve(t, "127.0.0.1", "0", "0")
	s := Start(t, Options{HTTPPort: plain, TLSPort: secure, Blocked: []string{"evil.example"}})
	c := subscribe(t, s, a)
	c.register(t)
	s.Offer("http-01")
	s.Answer(NewOrder, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusTooManyRequests)
		_, _ = io.WriteString(w, `{"type":"urn:ietf:params:acme:error:rateLimited","detail":"come again"}`)
	})
	for _, tt := range []struct{ name, want string }{
		{"a.example", acme.ProblemTypeRateLimited},
		{"evil.example", acme.ProblemTypeRejectedIdentifier},
	} {
		var problem acme.Problem
		if _, _, err := c.obtain(t.Context(), t, tt.name); !errors.As(err, &problem) || problem.Type != tt.want {
			t.Errorf("order %s: %v, want %s", tt.name, err, tt.want)
		}
		s.Answer(NewOrder, nil)
	}
}

// TestAccountKeys: with keys, an account without one, or with a wrong one, is refused.
func TestAccountKeys(t *testing.T) {
	const id, key, wrong = "key-1", "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3I", "d3Jvbmctd3Jvbmctd3Jvbmctd3Jvbmctd3Jvbmctd3I"
	s := Start(t, Options{AccountKeys: map[string]string{id: key}})
	for _, tt := range []struct {
		what, id, key, want string
	}{
		{"no key", "", "", acme.ProblemTypeExternalAccountRequired},
		{"a wrong key", id, wrong, acme.ProblemTypeUnauthorized},
		{"an unknown key", "key-2", key, acme.ProblemTypeUnauthorized},
		{"the key", id, key, ""},
	} {
		c := subscribe(t, s, &answerer{})
		if tt.id != "" {
			if err := c.account.SetExternalAccountBinding(t.Context(), c.Client.Client, acme.EAB{KeyID: tt.id, MACKey: tt.key}); err != nil {
				t.Fatal(err)
			}
		}
		var problem acme.Problem
		if _, err := c.NewAccount(t.Context(), c.account); (err == nil) != (tt.want == "") || err != nil && (!errors.As(err, &problem) || problem.Type != tt.want) {
			t.Errorf("an account with %s: %v, want %q", tt.what, err, tt.want)
		}
	}
}
