package dispatch

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/router"
)

// authority is a CA of its own.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{}
	self := &x509.Certificate{BasicConstraintsValid: true, IsCA: true, KeyUsage: x509.KeyUsageCertSign, Subject: pkix.Name{CommonName: t.Name()}}
	leaf := (&authority{}).issue(t, self)
	a.cert, a.key = leaf.Leaf, leaf.PrivateKey.(*ecdsa.PrivateKey)
	return a
}

// issue signs c, or has it sign itself if the authority is empty.
func (a *authority) issue(t *testing.T, c *x509.Certificate) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if c.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62)); err != nil {
		t.Fatal(err)
	}
	c.NotBefore = time.Now().Add(-time.Hour)
	if c.NotAfter.IsZero() {
		c.NotAfter = time.Now().Add(time.Hour)
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func (a *authority) client(t *testing.T, names ...string) *tls.Certificate {
	t.Helper()
	c := a.issue(t, &x509.Certificate{DNSNames: names, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	return &c
}

func (a *authority) tls() *orlav1.Tls {
	return &orlav1.Tls{ClientCa: []string{string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}))}}
}

func certRoute(path, want, body string) *orlav1.Route {
	r := respondRoute(path, body)
	r.Match.ClientCert = want
	return r
}

// edge is a dispatcher behind TLS, which asks for certificates as a node does.
type edge struct {
	addr string
	root *x509.CertPool
}

func newEdge(t *testing.T, d *Dispatcher, hosts ...string) *edge {
	t.Helper()
	ca := newAuthority(t)
	cert := ca.issue(t, &x509.Certificate{DNSNames: hosts, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	srv := httptest.NewUnstartedServer(d)
	base := &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2", "http/1.1"}, MinVersion: tls.VersionTLS12}
	base.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		pool := d.ClientCAs(router.CleanHost(hello.ServerName))
		if pool == nil {
			return nil, nil
		}
		c := base.Clone()
		c.ClientAuth, c.ClientCAs = tls.VerifyClientCertIfGiven, pool
		return c, nil
	}
	srv.TLS = base
	srv.EnableHTTP2 = true
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	t.Cleanup(srv.Close)
	e := &edge{addr: srv.Listener.Addr().String(), root: x509.NewCertPool()}
	e.root.AddCert(ca.cert)
	return e
}

// client returns a client whose connections are all made for sni. cert may be nil.
func (e *edge) client(t *testing.T, h2 bool, sni string, cert *tls.Certificate, sessions tls.ClientSessionCache) *http.Client {
	t.Helper()
	c := &tls.Config{RootCAs: e.root, ServerName: sni, ClientSessionCache: sessions, MinVersion: tls.VersionTLS12}
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		if cert == nil {
			return new(tls.Certificate), nil
		}
		return cert, nil
	}
	tr := &http.Transport{TLSClientConfig: c, ForceAttemptHTTP2: h2}
	dialer := new(net.Dialer)
	tr.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return dialer.DialContext(ctx, network, e.addr)
	}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// get returns the answer's protocol, status and body.
func get(t *testing.T, c *http.Client, url string) (proto string, status int, body string) {
	t.Helper()
	res, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.Proto, res.StatusCode, strings.TrimSpace(string(b))
}

func TestClientCertDecidesTheRoute(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	d := newDispatcher(t)
	swap(t, d, 1,
		secured(t, d, 1, "app", ca.tls(), []string{"a.test"},
			certRoute("/*", "alice.example", "alice"), certRoute("/*", "*", "somebody"), certRoute("/*", "none", "nobody")),
		secured(t, d, 1, "open", nil, []string{"b.test"}, respondRoute("/*", "open")))
	e := newEdge(t, d, "a.test", "b.test")
	expired := ca.issue(t, &x509.Certificate{DNSNames: []string{"alice.example"}, NotAfter: time.Now().Add(-time.Minute), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	for _, tt := range []struct {
		name    string
		cert    *tls.Certificate
		host    string
		refused bool // the handshake is
		want    string
	}{
		{"a name", ca.client(t, "alice.example"), "a.test", false, "alice"},
		{"a name in another spelling", ca.client(t, "Alice.Example"), "a.test", false, "alice"},
		{"another name", ca.client(t, "bob.example"), "a.test", false, "somebody"},
		{"no certificate", nil, "a.test", false, "nobody"},
		{"another CA's", other.client(t, "alice.example"), "a.test", true, ""},
		{"an expired one", &expired, "a.test", true, ""},
		{"a host that does not ask", ca.client(t, "alice.example"), "b.test", false, "open"},
	} {
		for _, h2 := range []bool{false, true} {
			c := e.client(t, h2, "", tt.cert, nil)
			if tt.refused {
				if res, err := c.Get("https://" + tt.host + "/"); err == nil {
					res.Body.Close()
					t.Errorf("%s: the handshake went well: %s", tt.name, res.Status)
				}
				continue
			}
			proto, status, body := get(t, c, "https://"+tt.host+"/")
			if body != tt.want || status != 200 || (proto == "HTTP/2.0") != h2 {
				t.Errorf("%s: %s over %s = %d %q, want 200 %q", tt.name, tt.host, proto, status, body, tt.want)
			}
		}
	}
}

func TestMisdirectedOverConnections(t *testing.T) {
	ca := newAuthority(t)
	d := newDispatcher(t)
	swap(t, d, 1,
		secured(t, d, 1, "one", ca.tls(), []string{"a.test", "www.a.test"}, certRoute("/*", "*", "one, somebody"), respondRoute("/*", "one, nobody")),
		secured(t, d, 1, "two", ca.tls(), []string{"b.test"}, certRoute("/*", "*", "two, somebody"), respondRoute("/*", "two, nobody")))
	e := newEdge(t, d, "a.test", "www.a.test", "b.test")
	for _, h2 := range []bool{false, true} {
		c := e.client(t, h2, "a.test", ca.client(t, "alice.example"), nil)
		for _, tt := range []struct {
			host   string
			status int
			body   string
		}{
			{"a.test", 200, "one, somebody"},
			{"www.a.test", 200, "one, somebody"},
			{"b.test", 421, "this connection was made for another host; use one of its own"},
			{"a.test", 200, "one, somebody"},
		} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://a.test/", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Host = tt.host
			res, err := c.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			if body := text(res); res.StatusCode != tt.status || body != tt.body || (res.ProtoMajor == 2) != h2 {
				t.Errorf("%s over %s of a.test = %d %q, want %d %q", tt.host, res.Proto, res.StatusCode, body, tt.status, tt.body)
			}
			res.Body.Close()
		}
	}
}

// oneSession is a cache that offers every server the session of whichever was
// there before.
type oneSession struct {
	mu    sync.Mutex // guards state
	state *tls.ClientSessionState
}

func (o *oneSession) Get(string) (*tls.ClientSessionState, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.state, o.state != nil
}

func (o *oneSession) Put(_ string, state *tls.ClientSessionState) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if state != nil {
		o.state = state
	}
}

func TestClientCertOfAnotherAppsSession(t *testing.T) {
	one, two := newAuthority(t), newAuthority(t)
	d := newDispatcher(t)
	routes := []*orlav1.Route{certRoute("/*", "*", "somebody"), respondRoute("/*", "nobody")}
	swap(t, d, 1,
		secured(t, d, 1, "one", one.tls(), []string{"a.test"}, routes...),
		secured(t, d, 1, "two", two.tls(), []string{"b.test"}, routes...))
	e := newEdge(t, d, "a.test", "b.test")
	sessions := new(oneSession)
	if _, _, body := get(t, e.client(t, false, "a.test", one.client(t, "alice"), sessions), "https://a.test/"); body != "somebody" {
		t.Fatalf("the first connection: %q", body)
	}
	if sessions.state == nil {
		t.Fatal("the first connection left no session")
	}
	if _, _, body := get(t, e.client(t, false, "b.test", nil, sessions), "https://b.test/"); body != "nobody" {
		t.Errorf("a session of another app with its certificate: %q, want nobody", body)
	}
}

func TestTrust(t *testing.T) {
	one, two := newAuthority(t), newAuthority(t)
	now := time.Now()
	leaf := one.client(t, "alice").Leaf
	chain := []*x509.Certificate{leaf, one.cert}
	foreign := []*x509.Certificate{two.client(t, "alice").Leaf, two.cert}
	for _, tt := range []struct {
		name   string
		trust  *trust
		chains [][]*x509.Certificate
		now    time.Time
		want   bool
	}{
		{"a chain to its CA", newTrust([]*x509.Certificate{one.cert}), [][]*x509.Certificate{chain}, now, true},
		{"one of several chains", newTrust([]*x509.Certificate{one.cert}), [][]*x509.Certificate{foreign, chain}, now, true},
		{"a chain to another CA", newTrust([]*x509.Certificate{one.cert}), [][]*x509.Certificate{foreign}, now, false},
		{"the CA in its middle", newTrust([]*x509.Certificate{one.cert}), [][]*x509.Certificate{{leaf, one.cert, two.cert}}, now, false},
		{"no chain", newTrust([]*x509.Certificate{one.cert}), nil, now, false},
		{"an empty chain", newTrust([]*x509.Certificate{one.cert}), [][]*x509.Certificate{{}}, now, false},
		{"expired since the handshake", newTrust([]*x509.Certificate{one.cert}), [][]*x509.Certificate{chain}, now.Add(2 * time.Hour), false},
		{"a clock set back", newTrust([]*x509.Certificate{one.cert}), [][]*x509.Certificate{chain}, now.Add(-2 * time.Hour), false},
		{"no CA", newTrust(nil), [][]*x509.Certificate{chain}, now, false},
	} {
		got := tt.trust.verified(&tls.ConnectionState{VerifiedChains: tt.chains, PeerCertificates: chain}, tt.now)
		if (got != nil) != tt.want || got != nil && !got.Equal(leaf) {
			t.Errorf("%s: verified = %v, want one: %t", tt.name, got != nil, tt.want)
		}
	}
	if got := newTrust([]*x509.Certificate{one.cert}).verified(nil, now); got != nil {
		t.Error("verified of a plain connection is a certificate")
	}
}

func TestFacts(t *testing.T) {
	spiffe := &url.URL{Scheme: "spiffe", Host: "example.com", Path: "/Billing"}
	named := pkix.Name{CommonName: "Alice Example"}
	for _, tt := range []struct {
		name string
		cert *x509.Certificate
		want *router.ClientCert
	}{
		{"none", nil, nil},
		{"a common name", &x509.Certificate{Subject: named}, &router.ClientCert{Names: []string{"Alice Example"}}},
		{"no name", &x509.Certificate{}, &router.ClientCert{}},
		{"no common name beside others", &x509.Certificate{Subject: named, DNSNames: []string{"a.example"}}, &router.ClientCert{Names: []string{"a.example"}}},
		{"no common name beside an address", &x509.Certificate{Subject: named, IPAddresses: []net.IP{net.IPv4zero}}, &router.ClientCert{}},
		{
			"all kinds",
			&x509.Certificate{DNSNames: []string{"A.example", "b.example"}, URIs: []*url.URL{spiffe}, EmailAddresses: []string{"Alice@example.com"}},
			&router.ClientCert{Names: []string{"A.example", "a.example", "b.example", "spiffe://example.com/Billing", "Alice@example.com"}},
		},
	} {
		got := facts(tt.cert)
		if (got == nil) != (tt.want == nil) || got != nil && !slices.Equal(got.Names, tt.want.Names) {
			t.Errorf("%s: facts = %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestClientCertReachesTheTarget(t *testing.T) {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, strings.Join(r.Header["Client-Cert"], " | "))
	}))
	defer upstream.Close()
	proxied := func(path, want string) *orlav1.Route {
		return &orlav1.Route{
			Match:  &orlav1.Match{Path: path, ClientCert: want},
			Target: &orlav1.Route_Proxy{Proxy: &orlav1.Proxy{To: []string{upstream.URL}}},
		}
	}
	removed := proxied("/removed", "*")
	removed.RequestHeaders = &orlav1.HeaderChanges{Remove: []string{"client-cert"}}
	ca := newAuthority(t)
	d := newDispatcher(t)
	swap(t, d, 1, secured(t, d, 1, "app", ca.tls(), []string{"a.test"},
		proxied("/any", "*"), proxied("/named", "alice"), proxied("/free", ""), proxied("/none", "none"), removed,
		&orlav1.Route{Match: &orlav1.Match{Path: "/on", ClientCert: "*"}, Rewrite: "/free"},
		&orlav1.Route{Match: &orlav1.Match{Path: "/on/asked", ClientCert: "*"}, Rewrite: "/any"}))
	e := newEdge(t, d, "a.test")
	cert := ca.client(t, "alice")
	field := ":" + base64.StdEncoding.EncodeToString(cert.Certificate[0]) + ":"
	with, without := e.client(t, true, "", cert, nil), e.client(t, true, "", nil, nil)
	for _, tt := range []struct {
		client *http.Client
		path   string
		status int
		want   string
	}{
		{with, "/any", 200, field},
		{with, "/named", 200, field},
		{with, "/free", 200, ""},
		{with, "/removed", 200, ""},
		{with, "/on", 200, ""},
		{with, "/on/asked", 200, field},
		{with, "/none", 404, "not found"},
		{without, "/none", 200, ""},
		{without, "/any", 404, "not found"},
	} {
		if _, status, got := get(t, tt.client, "https://a.test"+tt.path); status != tt.status || got != tt.want {
			t.Errorf("%s = %d %q, want %d %q", tt.path, status, got, tt.status, tt.want)
		}
	}
}

func TestClientCAs(t *testing.T) {
	one, two := newAuthority(t), newAuthority(t)
	d := newDispatcher(t)
	route := respondRoute("/*", "x")
	swap(t, d, 1,
		secured(t, d, 1, "one", one.tls(), []string{"a.test", "*.a.test"}, route),
		secured(t, d, 1, "six", two.tls(), []string{"[::1]"}, route),
		secured(t, d, 1, "open", nil, []string{"*"}, route))
	if err := d.Swap(2, []Group{{
		{secured(t, d, 1, "split", one.tls(), []string{"s.test"}, route), 5000},
		{secured(t, d, 2, "split", two.tls(), []string{"s.test"}, route), 5000},
	}, {
		{secured(t, d, 1, "half", nil, []string{"h.test"}, route), 9999},
		{secured(t, d, 2, "half", two.tls(), []string{"h.test"}, route), 1},
	}, {
		{secured(t, d, 1, "neither", nil, []string{"n.test"}, route), 5000},
		{secured(t, d, 2, "neither", nil, []string{"n.test"}, route), 5000},
	}}, nil); err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string][]*authority{
		"a.test": {one}, "x.a.test": {one}, "b.test": nil, "": nil, "s.test": {one, two}, "h.test": {two}, "n.test": nil,
		"::1": {two}, "[::1]": {two},
	} {
		got := d.ClientCAs(host)
		if want == nil {
			if got != nil {
				t.Errorf("ClientCAs(%q) is a pool, want nil", host)
			}
			continue
		}
		pool := x509.NewCertPool()
		for _, a := range want {
			pool.AddCert(a.cert)
		}
		if !pool.Equal(got) {
			t.Errorf("ClientCAs(%q) is not the pool of %d CAs", host, len(want))
		}
	}
	if n := testing.AllocsPerRun(100, func() { d.ClientCAs("x.a.test") }); n != 0 {
		t.Errorf("ClientCAs allocates %v times", n)
	}
	swap(t, d, 3, secured(t, d, 2, "one", nil, []string{"a.test"}, route))
	if d.ClientCAs("a.test") != nil {
		t.Error("ClientCAs of a release that has none any more is a pool")
	}
}

func TestSplitTrustsByRelease(t *testing.T) {
	one, two := newAuthority(t), newAuthority(t)
	d := newDispatcher(t)
	routes := []*orlav1.Route{certRoute("/*", "*", "somebody"), respondRoute("/*", "nobody")}
	if err := d.Swap(1, []Group{{
		{secured(t, d, 1, "app", one.tls(), []string{"a.test"}, routes...), 5000},
		{secured(t, d, 2, "app", two.tls(), []string{"a.test"}, routes...), 5000},
	}}, nil); err != nil {
		t.Fatal(err)
	}
	e := newEdge(t, d, "a.test")
	c := e.client(t, true, "", one.client(t, "alice"), nil)
	for cookie, want := range map[string]string{"orla-split=0": "somebody", "orla-split=9999": "nobody"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://a.test/", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Cookie", cookie)
		res, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if got := text(res); got != want {
			t.Errorf("with %s = %q, want %q", cookie, got, want)
		}
		res.Body.Close()
	}
}

func TestBuildRefusesBrokenClientCAs(t *testing.T) {
	d := newDispatcher(t)
	_, err := d.Build(t.Context(), Spec{Number: 1, Manifest: &orlav1.Manifest{Name: "app", Hosts: []string{"*"}, Tls: &orlav1.Tls{ClientCa: []string{"x"}}}})
	if err == nil || !strings.Contains(err.Error(), "tls.client_ca[0]") {
		t.Errorf("Build = %v, want a complaint about tls.client_ca[0]", err)
	}
}
