//go:build linux

package pebble

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// The files that the authority's own server is known by.
const (
	rootFile = "root.pem"
	certFile = "server.pem"
	keyFile  = "server.key"
)

func (s *Server) identityFile(name string) string { return filepath.Join(s.dir, name) }

// makeIdentity makes a root that vouches for one server, both good for any clock that a
// test may have.
func (s *Server) makeIdentity() {
	s.t.Helper()
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "a test's ACME server, root"},
		NotBefore: time.Now().AddDate(-5, 0, 0), NotAfter: time.Now().AddDate(5, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "a test's ACME server"},
		NotBefore: root.NotBefore, NotAfter: root.NotAfter,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	rootKey, leafKey := s.newKey(), s.newKey()
	s.sign(rootFile, root, root, rootKey, rootKey)
	s.sign(certFile, leaf, root, leafKey, rootKey)
	der, err := x509.MarshalPKCS8PrivateKey(leafKey)
	if err != nil {
		s.t.Fatal(err)
	}
	s.writePEM(keyFile, "PRIVATE KEY", der)
}

func (s *Server) newKey() *ecdsa.PrivateKey {
	s.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		s.t.Fatal(err)
	}
	return key
}

func (s *Server) sign(name string, cert, by *x509.Certificate, key, byKey *ecdsa.PrivateKey) {
	s.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, cert, by, key.Public(), byKey)
	if err != nil {
		s.t.Fatal(err)
	}
	s.writePEM(name, "CERTIFICATE", der)
}

func (s *Server) writePEM(name, kind string, der []byte) {
	s.t.Helper()
	text := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	if err := os.WriteFile(s.identityFile(name), text, 0o600); err != nil {
		s.t.Fatal(err)
	}
}
