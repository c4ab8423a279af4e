package certs

import (
	"bytes"
	"crypto/x509"
	"testing"
)

// TestNoRevocation: a host's certificate says that there is no revocation of it (RFC 9608
// §2), those of the CA do not, and clients that do not know the extension pass it over.
func TestNoRevocation(t *testing.T) {
	m := open(t, Config{})
	cert, err := m.certificate(t.Context(), "localhost")
	if err != nil || cert == nil {
		t.Fatal(cert, err)
	}
	root, _ := m.local.ca.own()
	chain := append(cert.Certificate, root.Raw)
	for i, der := range chain {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		said := false
		for _, e := range c.Extensions {
			if !e.Id.Equal(noRevocation().Id) {
				continue
			}
			said = true
			if e.Critical || !bytes.Equal(e.Value, []byte{5, 0}) {
				t.Errorf("%q: critical %t, value %x, want NULL that is not critical", c.Subject, e.Critical, e.Value)
			}
		}
		if said == c.IsCA || len(c.CRLDistributionPoints)+len(c.OCSPServer)+len(c.UnhandledCriticalExtensions) > 0 {
			t.Errorf("certificate %d of %d, %q: says that there is no revocation: %t; or where to ask: %v %v", i+1, len(chain), c.Subject, said, c.CRLDistributionPoints, c.OCSPServer)
		}
	}
	if !trusts(t, m.Root(), m, "localhost") {
		t.Error("the certificate does not verify")
	}
}
