package certs

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

// Bounds of what can be imported.
const (
	maxChainBytes = 256 << 10
	maxKeyBytes   = 64 << 10
	maxChain      = 20
	leastRSA      = 2048
	mostRSA       = 8192 // crypto/tls' clients accept no larger ones
	// soonOver is the life left below which an import is warned of.
	soonOver = 30 * 24 * time.Hour
)

// ErrImport means that what is imported cannot be used; the error says why, and what to do.
var ErrImport = errors.New("certs: this certificate cannot be imported")

func refused(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrImport, fmt.Errorf(format, args...))
}

// Import stores a certificate for a host, or a wildcard, in place of what it has; chain and
// key are PEM. Every node serves it from then on, and nothing is ordered for the host. It
// returns [ErrImport], [ErrHost], [ErrChanged], or why the register did not take it;
// warnings are what somebody should know of the certificate. No error has anything of the
// key in it.
func (m *Manager) Import(ctx context.Context, host string, chainPEM, keyPEM []byte, who string) (c *orlav1.Certificate, warnings []string, err error) {
	subject := normal(host)
	if err := checkSubject(subject); err != nil {
		return nil, nil, err
	}
	if m.cfg.Register == nil {
		return nil, nil, errors.New("certs: this node shares no register, where imported certificates are kept")
	}
	in, err := examine(subject, chainPEM, keyPEM, time.Now())
	if err != nil {
		return nil, nil, err
	}
	record, err := newRecord(m.cfg.Sealer, subject, in.chain, in.key)
	if err != nil {
		return nil, nil, fmt.Errorf("import certificate of %s: %w", subject, err)
	}
	record.Source, record.Node, record.Who, record.Created = orlav1.CertRecord_SOURCE_IMPORTED, m.cfg.Node, who, timestamppb.Now()
	value, err := proto.Marshal(record)
	if err != nil {
		return nil, nil, fmt.Errorf("import certificate of %s: %w", subject, err)
	}
	var expect uint64
	if before := m.book.cert(subject); before != nil {
		expect = before.revision
	}
	if err := m.cfg.Register.Commit(ctx, subjectKey(certPrefix, subject), value, expect); err != nil {
		return nil, nil, fmt.Errorf("import certificate of %s: %w", subject, err)
	}
	m.forgetFailure(ctx, subject)
	m.log.Info("certificate imported", "host", subject, "issuer", record.GetIssuer(), "until", record.GetNotAfter().AsTime(), "who", who)
	return m.describe(subject, time.Now()), in.warnings, nil
}

// forgetFailure removes what is said of a subject's failed orders.
func (m *Manager) forgetFailure(ctx context.Context, subject string) {
	e := m.book.entry(subjectKey(orderPrefix, subject))
	if e.Value == nil {
		return
	}
	if err := m.cfg.Register.Commit(ctx, e.Key, nil, e.Revision); err != nil {
		m.log.Debug("failed order not forgotten", "host", subject, "error", err)
	}
}

// Remove takes a host's certificate out of the register. It returns what was removed,
// [ErrNoCertificate], [ErrHost], [ErrChanged], or why the register did not take it.
func (m *Manager) Remove(ctx context.Context, host string) (*orlav1.Certificate, error) {
	subject := normal(host)
	if err := checkSubject(subject); err != nil {
		return nil, err
	}
	h := m.book.cert(subject)
	if h == nil {
		if wild := m.book.covering(subject, time.Now()); wild != nil {
			return nil, fmt.Errorf("%w: %s has none of its own, but that of %s; remove it with `orla certs remove '%s'`", ErrNoCertificate, subject, wild.GetSubject(), wild.GetSubject())
		}
		return nil, fmt.Errorf("%w: %s has none that was imported or ordered; see `orla certs`", ErrNoCertificate, subject)
	}
	c := m.describe(subject, time.Now())
	m.forgetFailure(ctx, subject)
	if err := m.cfg.Register.Commit(ctx, subjectKey(certPrefix, subject), nil, h.revision); err != nil {
		return nil, fmt.Errorf("remove certificate of %s: %w", subject, err)
	}
	m.log.Info("certificate removed", "host", subject, "issuer", h.GetIssuer(), "until", h.GetNotAfter().AsTime())
	return c, nil
}

// incoming is what examine has found fit.
type incoming struct {
	chain    []*x509.Certificate // the leaf first, without the root
	key      crypto.Signer
	warnings []string
}

func (in *incoming) warn(format string, args ...any) {
	in.warnings = append(in.warnings, fmt.Sprintf(format, args...))
}

// examine looks at what is to be imported.
func examine(subject string, chainPEM, keyPEM []byte, now time.Time) (*incoming, error) {
	all, err := readChain(chainPEM)
	if err != nil {
		return nil, err
	}
	in := new(incoming)
	if in.key, err = readKey(keyPEM); err != nil {
		return nil, err
	}
	if err := in.order(all); err != nil {
		return nil, err
	}
	if err := checkLeaf(subject, in.chain[0], now); err != nil {
		return nil, err
	}
	for i, c := range in.chain[1:] {
		if err := checkIssuer(c, in.chain[i], now); err != nil {
			return nil, err
		}
	}
	if err := in.checkTrust(now); err != nil {
		return nil, err
	}
	if left := in.chain[0].NotAfter.Sub(now); left < soonOver {
		in.warn("it ends in %d days, at %s, and nobody renews it", int(left.Hours()/24), date(in.chain[0].NotAfter))
	}
	return in, nil
}

func date(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

// readChain reads certificates in any order, each once.
func readChain(text []byte) ([]*x509.Certificate, error) {
	if len(text) > maxChainBytes {
		return nil, refused("the certificate's file has more than %d KiB; pass one with the certificate and its chain only", maxChainBytes>>10)
	}
	var all []*x509.Certificate
	keys := false
	for rest := text; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			keys = keys || strings.HasSuffix(block.Type, "PRIVATE KEY")
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, refused("certificate %d of the file is damaged (%w); get the file anew from whoever issued it", len(all)+1, err)
		}
		if slices.ContainsFunc(all, cert.Equal) {
			continue
		}
		if all = append(all, cert); len(all) > maxChain {
			return nil, refused("the file has more than %d certificates; pass one with the certificate and its chain only", maxChain)
		}
	}
	switch {
	case len(all) == 0 && keys:
		return nil, refused("the certificate's file has a private key, and no certificate; are --cert and --key the other way round?")
	case len(all) == 0:
		return nil, refused("the certificate's file has no certificate in PEM, which begins with -----BEGIN CERTIFICATE-----; for DER: openssl x509 -inform der -in FILE -out cert.pem; for PKCS #12: openssl pkcs12 -in FILE -nokeys -out cert.pem")
	}
	return all, nil
}

// readKey reads a private key. Its errors have nothing of it in them.
func readKey(text []byte) (crypto.Signer, error) {
	if len(text) > maxKeyBytes {
		return nil, refused("the key's file has more than %d KiB; pass one with the key only", maxKeyBytes>>10)
	}
	certs := false
	for rest := text; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		certs = certs || block.Type == "CERTIFICATE"
		if !strings.HasSuffix(block.Type, "PRIVATE KEY") {
			continue
		}
		if block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "" {
			return nil, refused("the key is encrypted with a passphrase, which a node cannot type; decrypt it first: openssl pkey -in FILE -out plain.pem")
		}
		return decodeKey(block)
	}
	if certs {
		return nil, refused("the key's file has a certificate, and no private key; are --cert and --key the other way round?")
	}
	return nil, refused("the key's file has no private key in PEM, which begins with -----BEGIN PRIVATE KEY-----; for DER: openssl pkey -inform der -in FILE -out key.pem; for PKCS #12: openssl pkcs12 -in FILE -nocerts -noenc -out key.pem")
}

func decodeKey(block *pem.Block) (crypto.Signer, error) {
	var key any
	var err error
	switch block.Type {
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	default:
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	}
	if err != nil {
		return nil, refused("the key is damaged, or of a kind that is not known; it has to be an RSA, ECDSA or Ed25519 key in PEM") // the cause could quote it
	}
	switch k := key.(type) {
	case *rsa.PrivateKey:
		if bits := k.N.BitLen(); bits < leastRSA || bits > mostRSA {
			return nil, refused("the RSA key has %d bits; it has to have %d to %d: have the certificate issued for another key", bits, leastRSA, mostRSA)
		}
		return k, nil
	case *ecdsa.PrivateKey:
		if !slices.Contains([]elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()}, k.Curve) {
			return nil, refused("the key is of the curve %s, which clients do not accept; have the certificate issued for a key of P-256, P-384 or P-521", k.Curve.Params().Name)
		}
		return k, nil
	case ed25519.PrivateKey:
		return k, nil
	}
	return nil, refused("the key is of a kind that TLS does not use; it has to be an RSA, ECDSA or Ed25519 key")
}

// order finds the certificate that belongs to the key, and puts the rest behind it, each
// before the one that has signed it.
func (in *incoming) order(all []*x509.Certificate) error {
	at := slices.IndexFunc(all, func(c *x509.Certificate) bool { return matches(c, in.key) == nil })
	if at < 0 {
		first := all[0]
		if leaf := slices.IndexFunc(all, func(c *x509.Certificate) bool { return !c.IsCA }); leaf >= 0 {
			first = all[leaf]
		}
		return refused("the key belongs to another certificate than the one for %s; pass the key that was made for that one", some(namesOrSubject(first)))
	}
	in.chain = []*x509.Certificate{all[at]}
	rest := slices.Delete(slices.Clone(all), at, at+1)
	for len(rest) > 0 && !selfSigned(in.chain[len(in.chain)-1]) {
		last := in.chain[len(in.chain)-1]
		next := slices.IndexFunc(rest, func(c *x509.Certificate) bool {
			return bytes.Equal(c.RawSubject, last.RawIssuer) && last.CheckSignatureFrom(c) == nil
		})
		if next < 0 {
			if named := slices.IndexFunc(rest, func(c *x509.Certificate) bool { return bytes.Equal(c.RawSubject, last.RawIssuer) }); named >= 0 {
				return refused("the certificate for %s says that %q has signed it, and the file's certificate of that name has not; get the chain anew from whoever issued it", some(namesOrSubject(last)), last.Issuer)
			}
			return refused("the chain has a gap: %q, which has signed the certificate for %s, is not in the file, but %q is; get the full chain from whoever issued it", last.Issuer, some(namesOrSubject(last)), rest[0].Subject)
		}
		in.chain = append(in.chain, rest[next])
		rest = slices.Delete(rest, next, next+1)
	}
	if !slices.EqualFunc(in.chain, all[:len(in.chain)], (*x509.Certificate).Equal) {
		in.warn("the file's certificates were not in order, the host's own first: they are now")
	}
	if len(rest) > 0 {
		in.warn("%d of the file's certificates are no part of the chain, and were left out", len(rest))
	}
	if last := in.chain[len(in.chain)-1]; len(in.chain) > 1 && selfSigned(last) {
		if err := in.chain[len(in.chain)-2].CheckSignatureFrom(last); err == nil {
			in.chain = in.chain[:len(in.chain)-1] // clients have the root, or do not trust it
		}
	}
	return nil
}

func selfSigned(c *x509.Certificate) bool {
	return bytes.Equal(c.RawSubject, c.RawIssuer) && c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) == nil
}

// checkLeaf says why a certificate is none for a host.
func checkLeaf(subject string, leaf *x509.Certificate, now time.Time) error {
	switch {
	case leaf.IsCA:
		return refused("the certificate is one of an authority (%q), not of a host; have a certificate issued for %s", leaf.Subject, subject)
	case now.After(leaf.NotAfter):
		return refused("the certificate has expired, at %s; import its successor", date(leaf.NotAfter))
	case now.Before(leaf.NotBefore):
		return refused("the certificate is valid from %s on only; import it then, or check this node's clock", date(leaf.NotBefore))
	case len(leaf.DNSNames) == 0:
		return refused("the certificate has no names of hosts in it (subject alternative names), only %q, which clients do not look at; have one issued that names %s", leaf.Subject, subject)
	case !covers(leaf, subject):
		return refused("the certificate does not cover %s; it is for %s", subject, some(namesOf(leaf)))
	case !forServers(leaf):
		return refused("the certificate is not for servers: its extended key usage lacks serverAuth; have one issued that has it")
	case leaf.SignatureAlgorithm == x509.SHA1WithRSA || leaf.SignatureAlgorithm == x509.ECDSAWithSHA1:
		return refused("the certificate is signed with SHA-1, which clients do not accept; have it issued anew")
	}
	return nil
}

// covers reports whether a certificate is good for a host, or for a wildcard.
func covers(leaf *x509.Certificate, subject string) bool {
	if strings.HasPrefix(subject, "*.") {
		return slices.ContainsFunc(leaf.DNSNames, func(name string) bool { return strings.EqualFold(name, subject) })
	}
	return leaf.VerifyHostname(subject) == nil
}

func forServers(leaf *x509.Certificate) bool {
	return len(leaf.ExtKeyUsage)+len(leaf.UnknownExtKeyUsage) == 0 ||
		slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageServerAuth) || slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageAny)
}

// checkIssuer says why c cannot be the one that has signed the certificate before it.
func checkIssuer(c, before *x509.Certificate, now time.Time) error {
	switch {
	case now.After(c.NotAfter):
		return refused("the chain has expired: %q, which has signed the certificate for %s, ended at %s; get the present chain from whoever issued it", c.Subject, some(namesOrSubject(before)), date(c.NotAfter))
	case now.Before(c.NotBefore):
		return refused("the chain is not valid yet: %q begins at %s; check this node's clock", c.Subject, date(c.NotBefore))
	}
	return nil
}

const (
	// oidSCTs is the extension with the logs' receipts that public CAs put into what they
	// issue (RFC 6962 §3.3).
	oidSCTs = "1.3.6.1.4.1.11129.2.4.2"
	// oidFeature is the one by which a certificate demands stapling (RFC 7633).
	oidFeature = "1.3.6.1.5.5.7.1.24"
)

// checkTrust looks whether clients will accept the chain, as far as that can be known here.
func (in *incoming) checkTrust(now time.Time) error {
	leaf := in.chain[0]
	if has(leaf, oidFeature) {
		in.warn("it demands OCSP stapling (must-staple), which this server does not do: some clients will refuse it")
	}
	between := x509.NewCertPool()
	for _, c := range in.chain[1:] {
		between.AddCert(c)
	}
	_, err := leaf.Verify(x509.VerifyOptions{Intermediates: between, CurrentTime: now})
	switch {
	case err == nil:
	case selfSigned(leaf):
		in.warn("it is signed by itself: clients have to trust this very certificate")
	case len(in.chain) == 1 && has(leaf, oidSCTs):
		return refused("the chain is not complete: %q, which has signed the certificate, is missing; pass the file with the full chain, which CAs call fullchain.pem or bundle", leaf.Issuer)
	default:
		in.warn("this node knows no root that has signed %q, the last of the chain: clients have to trust that; if it comes from a public CA, the chain is not complete", in.chain[len(in.chain)-1].Issuer.String())
	}
	return nil
}

func has(c *x509.Certificate, id string) bool {
	return slices.ContainsFunc(c.Extensions, func(e pkix.Extension) bool { return e.Id.String() == id })
}

// namesOrSubject are a certificate's names, or who it is.
func namesOrSubject(c *x509.Certificate) []string {
	if names := namesOf(c); len(names) > 0 {
		return names
	}
	return []string{c.Subject.String()}
}

// some lists the first of many names.
func some(names []string) string {
	const most = 10
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}
