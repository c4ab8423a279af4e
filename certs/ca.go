package certs

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
)

// The files of the CA.
const (
	rootFile = "root.pem" // the certificate: may be given to anybody
	keyFile  = "root.key" // its private key, PKCS #8, mode 0600
)

const (
	rootLifetime = 10 * 365 * 24 * time.Hour
	// skew is how much a client's clock may be behind ours.
	skew = time.Hour
	// rootWarning is how long before the root's end the log says so.
	rootWarning = 90 * 24 * time.Hour
)

var _ certmagic.Issuer = (*internalCA)(nil)

// internalCA is a certificate authority: a root, which the nodes share, whose key is used
// only to sign intermediates, and this node's intermediate, in memory only, that signs
// the certificates of hosts.
type internalCA struct {
	dir      string
	lifetime time.Duration // of a host's certificate

	mu           sync.Mutex // guards what follows, and is held while it is made or written
	root         *x509.Certificate
	rootPEM      []byte
	key          crypto.Signer
	intermediate *authority
}

// authority is a certificate with its key that signs certificates.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
	pem  []byte
}

func (ca *internalCA) path(name string) string { return filepath.Join(ca.dir, name) }

// openCA reads the CA in cfg.Dir, or makes one if there is none.
func openCA(ctx context.Context, cfg Config) (*internalCA, error) {
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make folder for certificates: %w", err)
	}
	ca := &internalCA{dir: cfg.Dir, lifetime: cfg.Lifetime}
	if err := ca.openKey(ctx, cfg.Logger); err != nil {
		return nil, err
	}
	if err := ca.openRoot(); err != nil {
		return nil, err
	}
	if left := time.Until(ca.root.NotAfter); left < rootWarning {
		cfg.Logger.WarnContext(ctx, "the CA's root expires soon: make a new one with `orla certs rotate-root`, and have clients trust it",
			"certificate", ca.path(rootFile), "expires", ca.root.NotAfter)
	}
	return ca, nil
}

// openKey reads the root's key, or makes one if there is neither a key nor a
// certificate.
func (ca *internalCA) openKey(ctx context.Context, log *slog.Logger) error {
	file := ca.path(keyFile)
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(ca.path(rootFile)); err == nil {
			return fmt.Errorf("certs: %s is missing, but %s is there: restore the key from a backup, "+
				"or remove the certificate to make a new CA, which clients have to trust anew", file, ca.path(rootFile))
		}
		return ca.makeKey()
	}
	if err != nil {
		return fmt.Errorf("read the CA's key: %w", err)
	}
	ca.key, err = parseKey(text)
	if err != nil {
		return damaged(file, ca.path(rootFile), err)
	}
	info, err := os.Stat(file)
	if err != nil {
		return fmt.Errorf("read the CA's key: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		log.WarnContext(ctx, "others could read the CA's key: its mode is now 0600", "file", file, "mode", info.Mode().String())
		if err := os.Chmod(file, 0o600); err != nil {
			log.WarnContext(ctx, "change mode of the CA's key", "error", err)
		}
	}
	return nil
}

func newRootKey() (crypto.Signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the CA's key: %w", err)
	}
	return key, nil
}

func (ca *internalCA) makeKey() error {
	key, err := newRootKey()
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("encode the CA's key: %w", err)
	}
	ca.key = key
	return writeFile(ca.path(keyFile), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
}

// openRoot reads the root's certificate. If it is not there, one is made for the
// key: its subject comes from the key, so that clients that trust an earlier one
// trust this one.
func (ca *internalCA) openRoot() error {
	file := ca.path(rootFile)
	text, err := os.ReadFile(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return ca.makeRoot()
	case err != nil:
		return fmt.Errorf("read the CA's root: %w", err)
	}
	if ca.root, err = parseCertificate(text); err == nil {
		err = checkRoot(ca.root, ca.key)
	}
	if err != nil {
		return damaged(file, ca.path(keyFile), err)
	}
	ca.rootPEM = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.root.Raw})
	return nil
}

func (ca *internalCA) makeRoot() (err error) {
	if ca.root, err = newRoot(ca.key); err != nil {
		return err
	}
	ca.rootPEM = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.root.Raw})
	return writeFile(ca.path(rootFile), ca.rootPEM, 0o644)
}

// newRoot returns a root for a key, which signs it.
func newRoot(key crypto.Signer) (*x509.Certificate, error) {
	id, err := keyID(key.Public())
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		Subject:               pkix.Name{Organization: []string{"Orla"}, CommonName: "Orla internal CA " + hex.EncodeToString(id[:4])},
		NotBefore:             now.Add(-skew),
		NotAfter:              now.Add(rootLifetime),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true, IsCA: true, MaxPathLen: 1,
		SubjectKeyId: id,
	}
	root, err := sign(template, nil, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make the CA's root: %w", err)
	}
	return root, nil
}

// damaged says what to do about a file of the CA.
func damaged(file, other string, err error) error {
	return fmt.Errorf("certs: %s: %w: restore it from a backup, or remove it and %s to make a new CA, which clients have to trust anew", file, err, other)
}

func checkRoot(root *x509.Certificate, key crypto.Signer) error {
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	switch {
	case !ok || !public.Equal(root.PublicKey):
		return errors.New("it does not belong to the key")
	case !root.IsCA:
		return errors.New("it is no CA's certificate")
	case time.Now().After(root.NotAfter):
		return fmt.Errorf("it expired on %s", root.NotAfter.Format(time.DateOnly))
	}
	return nil
}

// IssuerKey implements [certmagic.Issuer].
func (*internalCA) IssuerKey() string { return "internal" }

// Issue implements [certmagic.Issuer].
func (ca *internalCA) Issue(_ context.Context, request *x509.CertificateRequest) (*certmagic.IssuedCertificate, error) {
	if err := request.CheckSignature(); err != nil {
		return nil, fmt.Errorf("check certificate request: %w", err)
	}
	by, err := ca.signer()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	leaf, err := sign(&x509.Certificate{
		DNSNames: request.DNSNames, IPAddresses: request.IPAddresses,
		NotBefore:             now.Add(-skew),
		NotAfter:              earlier(now.Add(ca.lifetime), by.cert.NotAfter),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		ExtraExtensions:       []pkix.Extension{noRevocation()},
	}, by.cert, request.PublicKey, by.key)
	if err != nil {
		return nil, fmt.Errorf("sign certificate: %w", err)
	}
	chain := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Raw})
	return &certmagic.IssuedCertificate{Certificate: append(chain, by.pem...)}, nil
}

// noRevocation is the extension noRevAvail: there is nobody to ask whether a certificate
// that lives for days was revoked. It must be neither critical, nor in a CA's certificate
// (RFC 9608 §2).
func noRevocation() pkix.Extension {
	return pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 56}, Value: asn1.NullBytes}
}

// signer returns the intermediate, a new one if a certificate that it signed
// now could outlive it.
func (ca *internalCA) signer() (*authority, error) {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	if ca.intermediate != nil && time.Until(ca.intermediate.cert.NotAfter) > ca.lifetime {
		return ca.intermediate, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the intermediate's key: %w", err)
	}
	id, err := keyID(key.Public())
	if err != nil {
		return nil, err
	}
	now := time.Now()
	cert, err := sign(&x509.Certificate{
		Subject:               pkix.Name{Organization: []string{"Orla"}, CommonName: "Orla internal CA, intermediate " + hex.EncodeToString(id[:4])},
		NotBefore:             now.Add(-skew),
		NotAfter:              earlier(now.Add(5*ca.lifetime), ca.root.NotAfter),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true, IsCA: true, MaxPathLenZero: true,
		SubjectKeyId: id,
	}, ca.root, key.Public(), ca.key)
	if err != nil {
		return nil, fmt.Errorf("make the intermediate: %w", err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
	ca.intermediate = &authority{cert: cert, key: key, pem: text}
	return ca.intermediate, nil
}

// sign makes a certificate with a serial number of its own; a nil parent means
// that it signs itself.
func sign(template, parent *x509.Certificate, public crypto.PublicKey, by crypto.Signer) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, by)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// keyID is a subject key identifier (RFC 7093 §2).
func keyID(public crypto.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return nil, fmt.Errorf("encode public key: %w", err)
	}
	sum := sha256.Sum256(der)
	return sum[:20], nil
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

var errNoPEM = errors.New("it is damaged: no PEM block of the expected type")

func parseKey(text []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, errNoPEM
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("it is damaged: no PKCS #8 key") // the cause could quote it
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, errors.New("it is damaged: a key that cannot sign")
	}
	return signer, nil
}

func parseCertificate(text []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errNoPEM
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("it is damaged: %w", err)
	}
	return cert, nil
}

// Fingerprint returns the SHA-256 fingerprint of a certificate in PEM as browsers
// show it: "AB:CD:…".
func Fingerprint(text []byte) (string, error) {
	cert, err := parseCertificate(bytes.TrimSpace(text))
	if err != nil {
		return "", fmt.Errorf("certs: read certificate: %w", err)
	}
	return fingerprint(cert), nil
}

func fingerprint(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	pairs := make([]string, len(sum))
	for i, b := range sum {
		pairs[i] = fmt.Sprintf("%02X", b)
	}
	return strings.Join(pairs, ":")
}

// writeFile writes a file such that after a crash it is there in full or not at
// all.
func writeFile(name string, content []byte, mode fs.FileMode) error {
	dir := filepath.Dir(name)
	f, err := os.CreateTemp(dir, ".new-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", name, err), os.Remove(f.Name()))
	}
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync folder of %s: %w", name, err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync folder of %s: %w", name, err)
	}
	return nil
}
