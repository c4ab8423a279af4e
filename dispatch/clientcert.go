package dispatch

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"time"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/router"
)

// fieldClientCert tells upstreams and guests of the client's certificate (RFC 9440
// §2.2). The server has taken the client's own off the request.
const fieldClientCert = "Client-Cert"

// trust is whom a release lets speak for clients' names.
type trust struct {
	cas   []*x509.Certificate
	pool  *x509.CertPool
	known map[string]bool // by the DER of each CA
}

// newTrust returns nil if there are no CAs.
func newTrust(cas []*x509.Certificate) *trust {
	if len(cas) == 0 {
		return nil
	}
	t := &trust{cas: cas, pool: x509.NewCertPool(), known: make(map[string]bool, len(cas))}
	for _, c := range cas {
		t.pool.AddCert(c)
		t.known[string(c.Raw)] = true
	}
	return t
}

// verified returns the certificate that a client has shown, if the release trusts it
// now; else nil. That the handshake has verified it is not enough: the connection may
// have been made for another app, resume another app's session, be older than the
// release, or than the certificate's end.
func (t *trust) verified(state *tls.ConnectionState, now time.Time) *x509.Certificate {
	if t == nil || state == nil {
		return nil
	}
	for _, chain := range state.VerifiedChains {
		if len(chain) > 0 && t.known[string(chain[len(chain)-1].Raw)] && valid(chain, now) {
			return chain[0]
		}
	}
	return nil
}

func valid(chain []*x509.Certificate, now time.Time) bool {
	for _, c := range chain {
		if now.After(c.NotAfter) || now.Before(c.NotBefore) {
			return false
		}
	}
	return true
}

// facts returns what a match looks at of a certificate: its DNS names, as they are
// and in lower case, its URIs and e-mail addresses; the common name only of one
// without subject alternative names, as clients of old have them.
func facts(c *x509.Certificate) *router.ClientCert {
	if c == nil {
		return nil
	}
	if len(c.DNSNames)+len(c.URIs)+len(c.EmailAddresses)+len(c.IPAddresses) == 0 {
		if c.Subject.CommonName == "" {
			return &router.ClientCert{}
		}
		return &router.ClientCert{Names: []string{c.Subject.CommonName}}
	}
	names := make([]string, 0, len(c.DNSNames)+len(c.URIs)+len(c.EmailAddresses))
	for _, name := range c.DNSNames {
		names = append(names, name)
		if lower := strings.ToLower(name); lower != name {
			names = append(names, lower)
		}
	}
	for _, u := range c.URIs {
		names = append(names, u.String())
	}
	return &router.ClientCert{Names: append(names, c.EmailAddresses...)}
}

// pass tells the target of the client's certificate where its route asks for one, and
// keeps from it what a route before has said.
func pass(h http.Header, rt *route, c *x509.Certificate) {
	if want := rt.spec.GetMatch().GetClientCert(); c == nil || want == "" || want == router.NoClientCert {
		delete(h, fieldClientCert)
		return
	}
	h[fieldClientCert] = []string{":" + base64.StdEncoding.EncodeToString(c.Raw) + ":"}
}

// errUntrusted is why a certificate that a client has shown counts for nothing.
var errUntrusted = errors.New("client certificate is not of a CA of this release, or not valid now")

// certProblem says why the client's certificate, cert if the release trusts it, has kept a
// request from every route, as far as the match knows; nil if it has not. It is for the
// log: who has no certificate is not to learn that there is a route, and is answered as if
// there were none.
func certProblem(r *http.Request, cert *x509.Certificate, reason string) error {
	switch {
	case reason == "":
		return nil
	case cert == nil && r.TLS != nil && len(r.TLS.PeerCertificates) > 0:
		return errUntrusted
	}
	return errors.New(reason)
}

// ClientCAs returns the CAs whose certificates the clients of a host may show in the
// handshake; nil if they are not to be asked. host is canonical, as
// [router.CleanHost] returns it, or an IPv6 address without its brackets. The handshake has to let clients without a
// certificate in, for routes decide what they may do
// ([tls.VerifyClientCertIfGiven]). It reads memory only, and takes no lock.
func (d *Dispatcher) ClientCAs(host string) *x509.CertPool {
	if strings.IndexByte(host, ':') >= 0 && host[0] != '[' {
		host = "[" + host + "]"
	}
	h, _, ok := d.table.Load().hosts.Lookup(host)
	switch {
	case !ok:
		return nil
	case h.split != nil:
		return h.split.clients
	case h.release.https.trust == nil:
		return nil
	}
	return h.release.https.trust.pool
}

// clientCAs returns the CAs of all releases of a group: which of them a client gets
// is not known in the handshake. nil if there are none.
func (g Group) clientCAs() *x509.CertPool {
	var all []*x509.Certificate
	for _, s := range g {
		if t := s.Release.https.trust; t != nil {
			all = append(all, t.cas...)
		}
	}
	if t := newTrust(all); t != nil {
		return t.pool
	}
	return nil
}

// asks reports whether a release's routes depend on the client's certificate.
func asks(m *orlav1.Manifest) bool {
	for _, r := range m.GetRoutes() {
		if r.GetMatch().GetClientCert() != "" {
			return true
		}
	}
	return false
}
