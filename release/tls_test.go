package release

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

// clientCA returns a CA's certificate in PEM, changed by change.
func clientCA(tb testing.TB, change func(*x509.Certificate)) string {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Clients"}, NotAfter: time.Now().Add(time.Hour),
		BasicConstraintsValid: true, IsCA: true, KeyUsage: x509.KeyUsageCertSign,
	}
	if change != nil {
		change(c)
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		tb.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: pemCertificate, Bytes: der}))
}

func TestValidateRejectsTLS(t *testing.T) {
	ca := clientCA(t, nil)
	with := func(tls *orlav1.Tls) func(*orlav1.Manifest) { return func(m *orlav1.Manifest) { m.Tls = tls } }
	hsts := func(h *orlav1.Hsts) func(*orlav1.Manifest) { return with(&orlav1.Tls{Hsts: h}) }
	cas := func(texts ...string) func(*orlav1.Manifest) { return with(&orlav1.Tls{ClientCa: texts}) }
	cert := func(want string, texts ...string) func(*orlav1.Manifest) {
		return func(m *orlav1.Manifest) {
			m.Routes[2].Match.ClientCert, m.Tls = want, &orlav1.Tls{ClientCa: texts}
		}
	}
	block := func(kind string) string { return "-----BEGIN " + kind + "-----\nAAAA\n-----END " + kind + "-----\n" }
	const year = 365 * 24 * time.Hour
	checkRejects(t, []reject{
		{"hsts without an age", hsts(&orlav1.Hsts{}), "tls.hsts.max_age", "whole seconds from 0 to 3650d"},
		{"hsts of a negative age", hsts(&orlav1.Hsts{MaxAge: durationpb.New(-time.Second)}), "tls.hsts.max_age", "whole seconds"},
		{"hsts of an endless age", hsts(&orlav1.Hsts{MaxAge: durationpb.New(11 * year)}), "tls.hsts.max_age", "whole seconds"},
		{"hsts of half a second", hsts(&orlav1.Hsts{MaxAge: durationpb.New(time.Second / 2)}), "tls.hsts.max_age", "whole seconds"},
		{"hsts of an impossible age", hsts(&orlav1.Hsts{MaxAge: &durationpb.Duration{Seconds: 1 << 62}}), "tls.hsts.max_age", "whole seconds"},
		{"preload without subdomains", hsts(&orlav1.Hsts{MaxAge: durationpb.New(year), Preload: true}), "tls.hsts.preload", "needs include_subdomains"},
		{"preload for less than a year", hsts(&orlav1.Hsts{MaxAge: durationpb.New(year - time.Second), Preload: true, IncludeSubdomains: true}), "tls.hsts.preload", "365d or more"},
		{"on demand for wildcards", func(m *orlav1.Manifest) {
			m.Hosts, m.Tls = []string{"*", "*.shop.example"}, &orlav1.Tls{OnDemand: true}
		}, "tls.on_demand", "name a host"},

		{"no PEM", cas(ca, "x"), "tls.client_ca[1]", "no certificate in PEM"},
		{"an empty CA", cas(""), "tls.client_ca[0]", "no certificate in PEM"},
		{"text around it", cas("x\n" + ca), "tls.client_ca[0]", "leave out what is around"},
		{"a private key", cas(ca + block("PRIVATE KEY")), "tls.client_ca[0]", "private key"},
		{"an EC private key", cas(block("EC PRIVATE KEY") + ca), "tls.client_ca[0]", "private key"},
		{"another block", cas(block("X509 CRL")), "tls.client_ca[0]", `"X509 CRL"`},
		{"no certificate", cas(block("CERTIFICATE")), "tls.client_ca[0]", "cannot be read"},
		{"no CA", cas(clientCA(t, func(c *x509.Certificate) { c.IsCA = false })), "tls.client_ca[0]", "is not a CA's"},
		{"no basic constraints", cas(clientCA(t, func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = false, false })), "tls.client_ca[0]", "is not a CA's"},
		{"a CA that may not sign", cas(clientCA(t, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign })), "tls.client_ca[0]", "is not a CA's"},
		{"an expired CA", cas(clientCA(t, func(c *x509.Certificate) { c.NotAfter = time.Unix(0, 0) })), "tls.client_ca[0]", "expired on 1970-01-01"},
		{"many CAs", cas(strings.Repeat(ca, 30), strings.Repeat(ca, 30)), "tls.client_ca", "there are 60 client CAs, the most is 50"},
		{"many CAs in one", cas(strings.Repeat(ca, 51)), "tls.client_ca[0]", "more than 50"},
		{"much text", cas(ca, strings.Repeat("a", MaxClientCASize)), "tls.client_ca", "more than 64 KiB"},

		{"a condition without CAs", cert("*"), "routes[2].match.client_cert", "add [tls] with client_ca"},
		{"no certificate without CAs", cert("none"), "routes[2].match.client_cert", "add [tls] with client_ca"},
		{"a name with a line feed", cert("a\nb", ca), "routes[2].match.client_cert", "cannot be a name"},
		{"a name with a space at its end", cert("a ", ca), "routes[2].match.client_cert", "cannot be a name"},
		{"a long name", cert(strings.Repeat("a", 2000), ca), "routes[2].match.client_cert", "cannot be a name"},
	})
}

func TestValidateAcceptsTLS(t *testing.T) {
	expired := clientCA(t, func(c *x509.Certificate) { c.NotAfter = time.Unix(0, 0) })
	m := shop()
	m.Tls = &orlav1.Tls{
		OnDemand: true, ClientCa: []string{clientCA(t, nil) + clientCA(t, nil), clientCA(t, func(c *x509.Certificate) { c.KeyUsage = 0 })},
		Hsts: &orlav1.Hsts{MaxAge: durationpb.New(365 * 24 * time.Hour), IncludeSubdomains: true, Preload: true},
	}
	for i, want := range []string{"*", "none", "Alice Example", "spiffe://example.com/billing", "alice@example.com"} {
		m.Routes[i].Match.ClientCert = want
	}
	if ps := Validate(m); ps != nil {
		t.Errorf("Validate: %v", ps)
	}
	if certs, err := ClientCAs(m.Tls); err != nil || len(certs) != 3 {
		t.Errorf("ClientCAs = %d certificates, %v, want 3", len(certs), err)
	}
	m.Tls.ClientCa = []string{expired}
	if ps := ValidateStored(m); ps != nil {
		t.Errorf("ValidateStored of a CA that has expired meanwhile: %v", ps)
	}
}

func TestValidateReservesTheChallengePath(t *testing.T) {
	for path, refused := range map[string]bool{
		"/.well-known/acme-challenge/*": true, "/.well-known/acme-challenge/{token}": true, "/.well-known/acme-challenge/": true,
		"/.well-known/acme-challenge/a/b": true, "/%2Ewell-known/acme-challenge/*": true,
		"/.well-known/acme-challenge": false, "/.well-known/*": false, "/{dir}/acme-challenge/*": false, "/.well-known/{x}/*": false,
		"/a/.well-known/acme-challenge/*": false, "/.well-known/ACME-challenge/*": false,
	} {
		m := shop()
		m.Routes[4].Match.Path = path
		ps := Validate(m)
		got := len(ps) == 1 && ps[0].Field == "routes[4].match.path" && strings.Contains(ps[0].Message, "no request comes to this route")
		if got != refused || !refused && ps != nil {
			t.Errorf("Validate with %s = %v, want it refused: %t", path, ps, refused)
		}
		if ps := ValidateStored(m); ps != nil {
			t.Errorf("ValidateStored with %s = %v: what is live has to stay so", path, ps)
		}
	}
}

// FuzzCanonicalCAs holds that what is made of a file is accepted as it is, and has
// the file's certificates.
func FuzzCanonicalCAs(f *testing.F) {
	ca := clientCA(f, nil)
	f.Add([]byte(ca))
	f.Add([]byte("text\n" + strings.ReplaceAll(ca, "\n", "\r\n") + "more" + ca))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nA: b\n\nAAAA\n-----END CERTIFICATE-----"))
	f.Fuzz(func(t *testing.T, file []byte) {
		canonical, err := CanonicalCAs(file)
		if err != nil {
			return
		}
		certs, again, err := parseCAs([]byte(canonical))
		if err != nil || again != canonical {
			t.Fatalf("%q becomes %q, which becomes %q, %v", file, canonical, again, err)
		}
		before, _, err := parseCAs(file)
		if err != nil || len(before) != len(certs) {
			t.Fatalf("%q has %d certificates, %q has %d, %v", file, len(before), canonical, len(certs), err)
		}
		for i := range certs {
			if !bytes.Equal(certs[i].Raw, before[i].Raw) {
				t.Fatalf("certificate %d of %q changed", i, file)
			}
		}
	})
}
