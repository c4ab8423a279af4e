package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// TLSConfig returns the configuration of a server for HTTP/1.1 and HTTP/2: TLS
// 1.2 and above, session tickets with rotating keys, and for the rest Go's
// defaults, among them its post-quantum key exchange. A name that is not served
// is answered with the alert unrecognized_name (RFC 6066 §3). It answers CAs that
// want a TLS-ALPN-01 challenge solved, too.
func (m *Manager) TLSConfig() *tls.Config {
	c := m.configs.Load().plain.Clone()
	c.GetConfigForClient = m.configFor
	return c
}

// configs are the configurations of handshakes, made anew when the ticket keys change.
type configs struct {
	plain *tls.Config
	asked sync.Map // *x509.CertPool → *tls.Config that asks for a client's certificate
	keys  [][32]byte
}

func (m *Manager) newConfigs(keys [][32]byte) *configs {
	c := &configs{keys: keys, plain: &tls.Config{
		GetCertificate: m.getCertificate,
		NextProtos:     []string{"h2", "http/1.1"},
		MinVersion:     tls.VersionTLS12,
	}}
	if len(keys) > 0 {
		c.plain.SetSessionTicketKeys(keys)
	}
	return c
}

// asking returns the configuration that asks for a certificate that one of pool has
// signed.
func (c *configs) asking(pool *x509.CertPool) *tls.Config {
	if found, ok := c.asked.Load(pool); ok {
		return found.(*tls.Config) //nolint:forcetypeassert // it holds no others
	}
	own := c.plain.Clone()
	own.ClientAuth, own.ClientCAs = tls.VerifyClientCertIfGiven, pool
	if len(c.keys) > 0 {
		own.SetSessionTicketKeys(c.keys)
	}
	found, _ := c.asked.LoadOrStore(pool, own)
	return found.(*tls.Config) //nolint:forcetypeassert // it holds no others
}

// configFor is [tls.Config]'s callback.
func (m *Manager) configFor(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	if asksALPN(hello) {
		return m.alpnConfig(hello)
	}
	c := m.configs.Load()
	if m.cfg.ClientCAs != nil {
		if pool := m.cfg.ClientCAs(subjectOf(hello)); pool != nil {
			return c.asking(pool), nil
		}
	}
	return c.plain, nil
}

// getCertificate is [tls.Config]'s callback. No certificate and no error means
// unrecognized_name.
func (m *Manager) getCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	return m.certificate(hello.Context(), subjectOf(hello))
}

// certificate returns the one for a subject of subjectOf, or nil if it is not
// served.
func (m *Manager) certificate(ctx context.Context, subject string) (*tls.Certificate, error) {
	own := subject != "" && isLocal(subject)
	if subject == "" || !own && !m.cfg.Hosts(subject) {
		return nil, nil
	}
	if cert := m.shared(subject); cert != nil {
		return cert, nil
	}
	if own || m.cfg.Mode != ModeACME {
		return m.local.certificate(ctx, subject)
	}
	if err := m.demand(ctx, subject); err != nil {
		return nil, fmt.Errorf("certificate of %q: %w", subject, err)
	}
	return m.shared(subject), nil
}

// shared returns the certificate that the register has for a host, nil if it has none. One
// that has expired is better than none, and worse than one of the internal CA.
func (m *Manager) shared(host string) *tls.Certificate {
	now := time.Now()
	h := m.book.covering(host, now)
	if h == nil || m.cfg.Mode == ModeInternal && now.After(h.GetNotAfter().AsTime()) {
		return nil
	}
	cert, err := h.certificate(m.cfg.Sealer)
	if err != nil {
		m.unreadable.Do(func() { m.log.Error("certificate cannot be used", "host", host, "error", err) })
		return nil
	}
	return cert
}

// Has reports whether the register has a valid certificate for a host, in lower case
// and without port: one of its own or a wildcard's. It reads memory only.
func (m *Manager) Has(host string) bool {
	now := time.Now()
	held := m.book.covering(host, now)
	return held != nil && now.Before(held.GetNotAfter().AsTime())
}

// subjectOf returns the host that the client named, the address that it
// connected to if it named none or an address, or "" if neither is one that can
// have a certificate.
func subjectOf(hello *tls.ClientHelloInfo) string {
	host := strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))
	named, err := netip.ParseAddr(host)
	if host != "" && err != nil {
		if !validHost(host) {
			return ""
		}
		return host
	}
	local := localAddr(hello.Conn)
	if !local.IsValid() || host != "" && named.Unmap() != local {
		return "" // not ours: strangers could name any
	}
	return local.String()
}

// localAddr returns the address of this end of c.
func localAddr(c net.Conn) netip.Addr {
	if c == nil {
		return netip.Addr{}
	}
	switch a := c.LocalAddr().(type) {
	case *net.TCPAddr:
		return a.AddrPort().Addr().Unmap().WithZone("")
	case *net.UDPAddr:
		return a.AddrPort().Addr().Unmap().WithZone("")
	}
	return netip.Addr{}
}

// isLocal reports whether subject names this machine, wherever it is: localhost
// and names below it (RFC 6761 §6.3), or an address, which subjectOf has found
// to be ours.
func isLocal(subject string) bool {
	if subject == "localhost" || strings.HasSuffix(subject, ".localhost") {
		return true
	}
	_, err := netip.ParseAddr(subject)
	return err == nil
}

// Longest host and label in bytes (RFC 1035 §2.3.4).
const (
	maxHost  = 253
	maxLabel = 63
)

// validHost reports whether s, in lower case, is a host name.
func validHost(s string) bool {
	if s == "" || len(s) > maxHost {
		return false
	}
	label := 0
	for _, c := range []byte(s) {
		switch {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_':
			label++
		case c == '.' && label > 0:
			label = 0
			continue
		default:
			return false
		}
		if label > maxLabel {
			return false
		}
	}
	return label > 0
}
