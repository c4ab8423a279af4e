package release

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/router"
)

const (
	// MaxClientCASize is the most bytes that a release's client CAs may have in PEM,
	// together.
	MaxClientCASize = 64 << 10

	maxClientCAs   = 50 // certificates
	maxHSTS        = 10 * 365 * 24 * time.Hour
	minPreload     = 365 * 24 * time.Hour // what the browsers' lists ask for
	maxCertName    = 1024                 // bytes of match.client_cert
	pemCertificate = "CERTIFICATE"
)

// ClientCAs returns the CAs whose certificates a release's clients may show; nil
// where it does not ask for any. There is no error for what [Validate] accepted.
func ClientCAs(t *orlav1.Tls) ([]*x509.Certificate, error) {
	var all []*x509.Certificate
	for i, text := range t.GetClientCa() {
		certs, _, err := parseCAs([]byte(text))
		if err != nil {
			return nil, fmt.Errorf("read tls.client_ca[%d]: %w", i, err)
		}
		all = append(all, certs...)
	}
	return all, nil
}

// CanonicalCAs returns the certificates of a PEM file as a manifest has them,
// without the text around them. The error says what to do.
func CanonicalCAs(file []byte) (string, error) {
	if len(file) > MaxClientCASize {
		return "", fmt.Errorf("it has more than %d KiB: leave only the CAs that sign clients' certificates", MaxClientCASize>>10)
	}
	_, canonical, err := parseCAs(file)
	return canonical, err
}

// parseCAs reads certificates in PEM, and returns them with their canonical text.
func parseCAs(text []byte) (certs []*x509.Certificate, canonical string, err error) {
	var b bytes.Buffer
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		if strings.HasSuffix(block.Type, "PRIVATE KEY") {
			return nil, "", errors.New("it has a private key, which everybody who may read the release would get: name a file with the CA's certificate alone")
		}
		if block.Type != pemCertificate {
			return nil, "", fmt.Errorf("it has a block %s: leave only blocks %q", quote(block.Type), pemCertificate)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, "", fmt.Errorf("certificate %d cannot be read: %w", len(certs)+1, err)
		}
		if certs = append(certs, c); len(certs) > maxClientCAs {
			return nil, "", fmt.Errorf("it has more than %d certificates: leave only the CAs that sign clients' certificates", maxClientCAs)
		}
		if err := pem.Encode(&b, &pem.Block{Type: pemCertificate, Bytes: block.Bytes}); err != nil {
			return nil, "", err
		}
	}
	if len(certs) == 0 {
		return nil, "", errors.New(`it has no certificate in PEM, which begins with "-----BEGIN CERTIFICATE-----"`)
	}
	return certs, b.String(), nil
}

// tls checks what the manifest says about HTTPS.
func (v *validator) tls() {
	t := v.manifest.GetTls()
	v.hsts("tls.hsts", t.GetHsts())
	named := false
	for _, h := range v.manifest.GetHosts() {
		named = named || !strings.HasPrefix(h, "*")
	}
	if t.GetOnDemand() && !named {
		v.reject("tls.on_demand", "certificates on demand are for hosts that are named, and there are only wildcards; name a host, or remove the line")
	}
	v.clientCAs("tls.client_ca", t.GetClientCa())
}

func (v *validator) hsts(field string, h *orlav1.Hsts) {
	if h == nil {
		return
	}
	age := h.GetMaxAge().AsDuration()
	switch {
	case h.GetMaxAge().CheckValid() != nil || age < 0 || age > maxHSTS || age%time.Second != 0:
		v.reject(field+".max_age", "max_age has to be whole seconds from 0 to 3650d; write one such as \"180d\"")
	case !h.GetPreload():
	case !h.GetIncludeSubdomains():
		v.reject(field+".preload", "preload needs include_subdomains = true: browsers' lists hold for all names below a host")
	case age < minPreload:
		v.reject(field+".preload", "preload needs a max_age of 365d or more, which is what browsers' lists ask for")
	}
}

func (v *validator) clientCAs(field string, texts []string) {
	size, count := 0, 0
	for i, text := range texts {
		if size += len(text); size > MaxClientCASize {
			v.reject(field, "the client CAs have more than %d KiB; leave only those that sign clients' certificates", MaxClientCASize>>10)
			return
		}
		at := fmt.Sprintf("%s[%d]", field, i)
		certs, canonical, err := parseCAs([]byte(text))
		switch {
		case err != nil:
			v.reject(at, "the client CA cannot be used: %v", err)
			continue
		case canonical != text:
			v.reject(at, "there is more than certificates in PEM; leave out what is around them")
		}
		for _, c := range certs {
			v.clientCA(at, c)
		}
		count += len(certs)
	}
	if count > maxClientCAs {
		v.reject(field, "there are %d client CAs, the most is %d; leave only those that sign clients' certificates", count, maxClientCAs)
	}
}

// clientCA checks one certificate. One that has expired after it was deployed hurts
// nobody but those whose certificates it signed.
func (v *validator) clientCA(field string, c *x509.Certificate) {
	name := quote(c.Subject.String())
	switch {
	case !c.BasicConstraintsValid || !c.IsCA || c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageCertSign == 0:
		v.reject(field, "certificate %s is not a CA's, which alone can sign clients' certificates; name the one of the CA that issues them", name)
	case !v.stored && time.Now().After(c.NotAfter):
		v.reject(field, "CA %s expired on %s, so that none of its certificates is valid; name its successor", name, c.NotAfter.Format(time.DateOnly))
	}
}

// clientCert checks a route's condition on the client's certificate.
func (v *validator) clientCert(field, want string) {
	switch {
	case want == "":
	case len(v.manifest.GetTls().GetClientCa()) == 0:
		v.reject(field, "clients are not asked for certificates, since the release trusts no CA of theirs; add [tls] with client_ca = [\"ca.pem\"]")
	case len(want) > maxCertName || !printable(want) || strings.TrimSpace(want) != want:
		v.reject(field, "%s cannot be a name in a certificate; write \"*\" for any, \"none\" for no certificate, or a name such as \"alice.example.com\"", quote(want))
	}
}

// challengePath is where a CA looks for the proof that a host is this node's (RFC
// 8555 §8.3). Nothing below it ever comes to a route.
var challengePath = [...]string{".well-known", "acme-challenge"}

// reserved refuses a pattern that could only match below challengePath.
func (v *validator) reserved(field string, p router.Pattern) {
	segments := strings.Split(p.String(), "/")[1:]
	if v.stored || len(segments) <= len(challengePath) || segments[0] != challengePath[0] || segments[1] != challengePath[1] {
		return
	}
	v.reject(field, "the node itself answers everything below /.well-known/acme-challenge/, for the CA that issues its certificates, so that no request comes to this route; remove it")
}
