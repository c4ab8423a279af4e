package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// writeCertificate HOST CERT KEY makes a certificate that signs itself, and its key.
func writeCertificate(ts *testscript.TestScript, _ bool, args []string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ts.Check(err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), DNSNames: args[:1], NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(90 * 24 * time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	ts.Check(err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	ts.Check(os.WriteFile(ts.MkAbs(args[2]), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600))
}

func TestCertNotes(t *testing.T) {
	failed := &certFailureShape{Error: "the CA is down", Attempts: 2, Node: "n1"}
	for _, tt := range []struct {
		cert          certShape
		note, missing string
	}{
		{certShape{Host: "a", State: "failed", Failure: failed}, "a: the CA is down (attempt 2 by n1; next try at -)", "a: no certificate yet: the CA is down; it is tried again at -"},
		{certShape{Host: "*.a", State: "not ordered", Reason: "it takes --acme-dns"}, "*.a: it takes --acme-dns", "*.a: no certificate: it takes --acme-dns"},
		{certShape{Host: "a", State: "pending", Reason: "node n1 orders it"}, "", "a: no certificate yet (node n1 orders it); see: orla certs show a"},
		{certShape{Host: "a", State: "on demand"}, "", "a: its certificate is ordered at the first handshake"},
		{certShape{Host: "a", State: "unusable", Reason: "damaged"}, "a: damaged", "a: no certificate that can be used (unusable): damaged"},
		{certShape{Host: "a", State: "expired"}, "", "a: no certificate that can be used (expired): see: orla certs show a"},
	} {
		if got := tt.cert.note(); got != tt.note {
			t.Errorf("note of %s = %q, want %q", tt.cert.State, got, tt.note)
		}
		if got := tt.cert.missing(); got != tt.missing {
			t.Errorf("missing of %s = %q, want %q", tt.cert.State, got, tt.missing)
		}
	}
}
