package certs

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

// maker makes certificates to import.
type maker struct {
	t    testing.TB
	root *authority
	mid  *authority
	now  time.Time
}

func newMaker(t testing.TB, now time.Time) *maker {
	t.Helper()
	m := &maker{t: t, now: now}
	m.root = m.authority("Test Root", nil, nil)
	m.mid = m.authority("Test Intermediate", m.root, nil)
	return m
}

func (m *maker) key() *ecdsa.PrivateKey {
	m.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		m.t.Fatal(err)
	}
	return key
}

func (m *maker) authority(name string, by *authority, change func(*x509.Certificate)) *authority {
	m.t.Helper()
	key := m.key()
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, NotBefore: m.now.Add(-time.Hour), NotAfter: m.now.Add(1000 * 24 * time.Hour),
		KeyUsage: x509.KeyUsageCertSign, IsCA: true, BasicConstraintsValid: true,
	}
	if change != nil {
		change(template)
	}
	return &authority{cert: m.sign(template, by, key), key: key}
}

// sign makes a certificate; without an authority it signs itself.
func (m *maker) sign(template *x509.Certificate, by *authority, key crypto.Signer) *x509.Certificate {
	m.t.Helper()
	parent, signer := (*x509.Certificate)(nil), key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	cert, err := sign(template, parent, key.Public(), signer)
	if err != nil {
		m.t.Fatal(err)
	}
	return cert
}

func (m *maker) leaf(key crypto.Signer, by *authority, change func(*x509.Certificate), names ...string) *x509.Certificate {
	m.t.Helper()
	template := &x509.Certificate{
		DNSNames: names, NotBefore: m.now.Add(-time.Hour), NotAfter: m.now.Add(90 * 24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true,
	}
	if change != nil {
		change(template)
	}
	return m.sign(template, by, key)
}

func pemOf(certs ...*x509.Certificate) []byte {
	var out []byte
	for _, c := range certs {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return out
}

func keyPEM(t testing.TB, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func TestImportIsExamined(t *testing.T) {
	now := time.Now()
	m := newMaker(t, now)
	key := m.key()
	text := keyPEM(t, key)
	good := m.leaf(key, m.mid, nil, "shop.example", "*.shop.example")
	change := func(f func(*x509.Certificate)) []byte {
		return pemOf(m.leaf(key, m.mid, f, "shop.example"), m.mid.cert)
	}
	oldMid := m.authority("Old Intermediate", m.root, func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Minute) })
	lateMid := m.authority("Late Intermediate", m.root, func(c *x509.Certificate) { c.NotBefore = now.Add(time.Hour) })
	twin := m.authority("Test Intermediate", m.root, nil) // the same name, another key
	public := func(c *x509.Certificate) {
		c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 2}, Value: []byte{4, 0}}}
	}
	staple := func(c *x509.Certificate) {
		c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 24}, Value: []byte{0x30, 3, 2, 1, 5}}}
	}
	chain := pemOf(good, m.mid.cert)
	junk := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("TOP SECRET")})
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	untrusted := "clients have to trust that"
	for _, tt := range []struct {
		name, host  string
		chain, key  []byte
		refused     string // empty: it is fit
		length      int
		warnings    []string
		untrustedOK bool
	}{
		{name: "good", host: "shop.example", chain: chain, key: text, length: 2},
		{name: "a name under its wildcard", host: "www.shop.example", chain: chain, key: text, length: 2},
		{name: "its wildcard", host: "*.shop.example", chain: chain, key: text, length: 2},
		{name: "another wildcard", host: "*.example", chain: chain, key: text, refused: "does not cover *.example; it is for shop.example, *.shop.example"},
		{name: "not covered", host: "blog.example", chain: chain, key: text, refused: "does not cover blog.example; it is for shop.example, *.shop.example"},
		{name: "below a name under its wildcard", host: "a.b.shop.example", chain: chain, key: text, refused: "does not cover"},
		{name: "with the root", host: "shop.example", chain: pemOf(good, m.mid.cert, m.root.cert), key: text, length: 2},
		{name: "out of order", host: "shop.example", chain: pemOf(m.root.cert, m.mid.cert, good), key: text, length: 2, warnings: []string{"not in order"}},
		{name: "twice", host: "shop.example", chain: append(slices.Clone(chain), chain...), key: text, length: 2},
		{name: "with what does not belong", host: "shop.example", chain: pemOf(good, m.mid.cert, m.root.cert, oldMid.cert), key: text, length: 2, warnings: []string{"1 of the file's certificates"}},
		{name: "a gap", host: "shop.example", chain: pemOf(good, m.root.cert), key: text, refused: "the chain has a gap: \"CN=Test Intermediate\""},
		{name: "an issuer of that name", host: "shop.example", chain: pemOf(good, twin.cert), key: text, refused: "the file's certificate of that name has not"},
		{name: "no chain", host: "shop.example", chain: pemOf(good), key: text, length: 1},
		{name: "no chain, from a public CA", host: "shop.example", chain: pemOf(m.leaf(key, m.mid, public, "shop.example")), key: text, refused: "the chain is not complete"},
		{name: "signed by itself", host: "shop.example", chain: pemOf(m.leaf(key, nil, nil, "shop.example")), key: text, length: 1, warnings: []string{"signed by itself"}, untrustedOK: true},
		{name: "ends soon", host: "shop.example", chain: change(func(c *x509.Certificate) { c.NotAfter = now.Add(29*24*time.Hour + time.Hour) }), key: text, length: 2, warnings: []string{"ends in 29 days"}},
		{name: "must-staple", host: "shop.example", chain: change(staple), key: text, length: 2, warnings: []string{"must-staple"}},
		{name: "expired", host: "shop.example", chain: change(func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Minute) }), key: text, refused: "has expired"},
		{name: "not yet", host: "shop.example", chain: change(func(c *x509.Certificate) { c.NotBefore = now.Add(time.Hour) }), key: text, refused: "on only"},
		{name: "the chain has expired", host: "shop.example", chain: pemOf(m.leaf(key, oldMid, nil, "shop.example"), oldMid.cert), key: text, refused: "the chain has expired: \"CN=Old Intermediate\""},
		{name: "the chain is not valid yet", host: "shop.example", chain: pemOf(m.leaf(key, lateMid, nil, "shop.example"), lateMid.cert), key: text, refused: "not valid yet"},
		{name: "an authority's", host: "shop.example", chain: change(func(c *x509.Certificate) { c.IsCA = true }), key: text, refused: "one of an authority"},
		{name: "for clients", host: "shop.example", chain: change(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }), key: text, refused: "lacks serverAuth"},
		{name: "for anything", host: "shop.example", chain: change(func(c *x509.Certificate) { c.ExtKeyUsage = nil }), key: text, length: 2},
		{name: "no names", host: "shop.example", chain: change(func(c *x509.Certificate) { c.DNSNames, c.Subject = nil, pkix.Name{CommonName: "shop.example"} }), key: text, refused: "subject alternative names"},
		{name: "another key", host: "shop.example", chain: chain, key: keyPEM(t, m.key()), refused: "the key belongs to another certificate than the one for shop.example"},
		{name: "an encrypted key", host: "shop.example", chain: chain, key: pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte("x")}), refused: "openssl pkey"},
		{name: "an old encrypted key", host: "shop.example", chain: chain, key: pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Headers: map[string]string{"DEK-Info": "AES"}, Bytes: []byte("x")}), refused: "openssl pkey"},
		{name: "a damaged key", host: "shop.example", chain: chain, key: junk, refused: "the key is damaged"},
		{name: "a small RSA key", host: "shop.example", chain: chain, key: keyPEM(t, small), refused: "has 1024 bits"},
		{name: "a curve that browsers lack", host: "shop.example", chain: chain, key: keyPEM(t, p224), refused: "P-224"},
		{name: "files swapped", host: "shop.example", chain: text, key: chain, refused: "the other way round"},
		{name: "no key", host: "shop.example", chain: chain, key: chain, refused: "the other way round"},
		{name: "a key in DER", host: "shop.example", chain: chain, key: []byte{0x30, 0x82}, refused: "-inform der"},
		{name: "a certificate in DER", host: "shop.example", chain: good.Raw, key: text, refused: "-inform der"},
		{name: "a damaged certificate", host: "shop.example", chain: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}), key: text, refused: "certificate 1 of the file is damaged"},
		{name: "too large", host: "shop.example", chain: make([]byte, maxChainBytes+1), key: text, refused: "256 KiB"},
		{name: "too large a key", host: "shop.example", chain: chain, key: make([]byte, maxKeyBytes+1), refused: "64 KiB"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in, err := examine(tt.host, tt.chain, tt.key, now)
			if tt.refused != "" {
				if !errors.Is(err, ErrImport) || !strings.Contains(err.Error(), tt.refused) {
					t.Fatalf("examine: %v, want %q", err, tt.refused)
				}
				if strings.Contains(err.Error(), "SECRET") {
					t.Error("the error has the key")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !in.chain[0].Equal(good) && len(tt.warnings) == 0 && tt.name == "good" || len(in.chain) != tt.length {
				t.Errorf("a chain of %d, want %d", len(in.chain), tt.length)
			}
			want := tt.warnings
			if !tt.untrustedOK {
				want = append(slices.Clone(want), untrusted)
			}
			if len(in.warnings) != len(want) {
				t.Errorf("warnings %q, want %q", in.warnings, want)
			}
			for _, w := range want {
				if !strings.Contains(strings.Join(in.warnings, "\n"), w) {
					t.Errorf("warnings %q, want %q", in.warnings, w)
				}
			}
		})
	}
}

func TestKindsOfKeys(t *testing.T) {
	m := newMaker(t, time.Now())
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ecKey := m.key()
	ecDER, err := x509.MarshalECPrivateKey(ecKey)
	if err != nil {
		t.Fatal(err)
	}
	params := pem.EncodeToMemory(&pem.Block{Type: "EC PARAMETERS", Bytes: []byte{6, 0}})
	for name, tt := range map[string]struct {
		key  crypto.Signer
		text []byte
	}{
		"RSA":              {rsaKey, keyPEM(t, rsaKey)},
		"RSA, PKCS #1":     {rsaKey, pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(rsaKey)})},
		"ECDSA":            {ecKey, keyPEM(t, ecKey)},
		"ECDSA of openssl": {ecKey, append(params, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: ecDER})...)},
		"Ed25519":          {edKey, keyPEM(t, edKey)},
	} {
		if _, err := examine("a.example", pemOf(m.leaf(tt.key, m.mid, nil, "a.example"), m.mid.cert), tt.text, m.now); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestImport: an imported certificate wins, on every node; nothing is ordered or renewed
// for its host until it is removed.
func TestImport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t, 24*time.Hour, "shop.example", "www.shop.example")
		first, _ := g.add("n1", func(c *Config) { c.lease = time.Hour }) // weeks are to pass
		edge, _ := g.add("e1", func(c *Config) { c.Lead = false })
		for _, m := range []*Manager{first, edge} {
			g.manage(m, Host{Name: "shop.example"}, Host{Name: "www.shop.example"})
		}
		time.Sleep(time.Second)
		if n := g.ca.issued.Load(); n != 2 {
			t.Fatalf("%d issued, want 2", n)
		}
		made := newMaker(t, time.Now())
		key := made.key()
		leaf := made.leaf(key, made.mid, nil, "shop.example")
		c, warnings, err := first.Import(t.Context(), "Shop.example.", pemOf(leaf, made.mid.cert), keyPEM(t, key), "ci")
		if err != nil {
			t.Fatal(err)
		}
		if c.GetSource() != orlav1.Certificate_SOURCE_IMPORTED || c.GetFingerprint() != fingerprint(leaf) || c.GetWho() != "ci" || len(warnings) != 1 {
			t.Errorf("imported %v, warnings %q", c, warnings)
		}
		time.Sleep(40 * 24 * time.Hour) // past the other's renewals
		for _, m := range []*Manager{first, edge} {
			cert, err := m.certificate(t.Context(), "shop.example")
			if err != nil || cert == nil || !cert.Leaf.Equal(leaf) {
				t.Errorf("served: %v, %v", cert, err)
			}
		}
		if err := first.Renew(t.Context(), "shop.example"); !errors.Is(err, ErrNotWanted) || !strings.Contains(err.Error(), "import a new one") {
			t.Errorf("Renew of an imported one: %v", err)
		}
		removed, err := first.Remove(t.Context(), "shop.example")
		if err != nil || removed.GetFingerprint() != fingerprint(leaf) {
			t.Fatal(removed, err)
		}
		time.Sleep(time.Second)
		cert, err := edge.certificate(t.Context(), "shop.example")
		if err != nil || cert == nil || cert.Leaf.Equal(leaf) {
			t.Errorf("after it was removed: %v, %v", cert, err)
		}
		if _, err := first.Remove(t.Context(), "no.example"); !errors.Is(err, ErrNoCertificate) {
			t.Errorf("Remove of none: %v", err)
		}
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains([]byte(g.log.String()), der) || strings.Contains(g.log.String(), "PRIVATE") {
			t.Error("the log has a key")
		}
	})
}

// TestImportDuringAnOrder: the order does not put its certificate in the place of one that
// was imported while it went on.
func TestImportDuringAnOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t, 24*time.Hour, "shop.example")
		g.ca.delay = 10 * time.Second
		m, _ := g.add("n1", nil)
		g.manage(m, Host{Name: "shop.example"})
		time.Sleep(5 * time.Second)
		made := newMaker(t, time.Now())
		key := made.key()
		leaf := made.leaf(key, made.mid, nil, "shop.example")
		if _, _, err := m.Import(t.Context(), "shop.example", pemOf(leaf, made.mid.cert), keyPEM(t, key), "ci"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if n := g.ca.issued.Load(); n != 1 {
			t.Fatalf("%d issued, want the order to have ended", n)
		}
		if c, err := m.Show("shop.example"); err != nil || c.GetFingerprint() != fingerprint(leaf) || c.GetFailure() != nil {
			t.Errorf("%v, %v", c, err)
		}
	})
}

// TestRenewAsks: a node that does not lead has the leader renew, and waits for what it sees
// itself.
func TestRenewAsks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t, 24*time.Hour, "shop.example")
		leader, _ := g.add("n1", nil)
		edge, _ := g.add("e1", func(c *Config) { c.Lead, c.Ask = false, leader.Wish })
		for _, m := range []*Manager{leader, edge} {
			g.manage(m, Host{Name: "shop.example"})
		}
		time.Sleep(time.Second)
		synctest.Wait()
		g.ca.delay = 30 * time.Second // much longer than an answer takes
		before := digestOf(edge.book.cert("shop.example"))
		var both sync.WaitGroup
		for range 2 {
			both.Go(func() {
				if err := edge.Renew(t.Context(), "shop.example"); err != nil {
					t.Error(err)
				}
				if digestOf(edge.book.cert("shop.example")) == before {
					t.Error("the old certificate")
				}
			})
		}
		both.Wait()
		if n := g.ca.issued.Load(); n != 2 {
			t.Errorf("%d issued, want one order for both", n)
		}
		down := errors.New("the CA is on fire")
		g.ca.fails.Store(&down)
		if err := edge.Renew(t.Context(), "shop.example"); err == nil || !strings.Contains(err.Error(), "on fire; it is tried again at") {
			t.Errorf("Renew from a CA that is down: %v", err)
		}
		if err := edge.Renew(t.Context(), "no.example"); !errors.Is(err, ErrNotWanted) || !strings.Contains(err.Error(), "no live release") {
			t.Errorf("Renew of a host that is not served: %v", err)
		}
		if err := edge.Renew(t.Context(), "localhost"); !errors.Is(err, ErrNotWanted) || !strings.Contains(err.Error(), "by itself") {
			t.Errorf("Renew of a local name: %v", err)
		}
	})
}

func FuzzImport(f *testing.F) {
	m := newMaker(f, time.Now())
	key := m.key()
	f.Add("shop.example", pemOf(m.leaf(key, m.mid, nil, "shop.example"), m.mid.cert), keyPEM(f, key))
	f.Add("*.shop.example", pemOf(m.mid.cert, m.root.cert), []byte("-----BEGIN EC PRIVATE KEY-----\n-----END EC PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, host string, chain, key []byte) {
		subject := normal(host)
		if checkSubject(subject) != nil {
			return
		}
		in, err := examine(subject, chain, key, m.now)
		if err != nil {
			if !errors.Is(err, ErrImport) {
				t.Errorf("examine: %v", err)
			}
			return
		}
		if matches(in.chain[0], in.key) != nil || len(in.chain) > maxChain || !covers(in.chain[0], subject) {
			t.Errorf("accepted for %q: %v", subject, in.chain[0].Subject)
		}
	})
}
