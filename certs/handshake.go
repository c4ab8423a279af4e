package certs

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/caddyserver/certmagic"
)

// errBudget is what a handshake fails with that asks for one new name too many.
var errBudget = errors.New("certs: too many new names at a time")

// getCertificate is [tls.Config]'s callback. No certificate and no error means
// unrecognized_name.
func (m *Manager) getCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	return m.certificate(hello.Context(), subjectOf(hello))
}

// certificate returns the one for a subject of subjectOf, or nil if it is not
// served.
func (m *Manager) certificate(ctx context.Context, subject string) (*tls.Certificate, error) {
	if subject == "" || !isLocal(subject) && !m.cfg.Hosts(subject) {
		return nil, nil
	}
	if cert := m.lookup(subject); cert != nil {
		return cert, nil
	}
	err := m.ensure(ctx, subject, false)
	switch {
	case err == nil:
		return m.lookup(subject), nil
	case errors.Is(err, errBudget):
		m.warned.Do(func() {
			m.log.Warn("certificates on demand are at their limit", "per_second", m.cfg.OnDemandRate)
		})
	default:
		m.log.Error("issue certificate in handshake", "host", subject, "error", err)
	}
	return nil, err
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

// lookup returns the certificate for host or for the wildcard above it, nil if
// there is none.
func (m *Manager) lookup(host string) *tls.Certificate {
	if cert := m.use(host); cert != nil {
		return cert
	}
	_, parent, ok := strings.Cut(host, ".")
	if !ok {
		return nil
	}
	return m.use("*." + parent)
}

func (m *Manager) use(subject string) *tls.Certificate {
	m.mu.RLock()
	n := m.names[subject]
	m.mu.RUnlock()
	if n == nil {
		return nil
	}
	n.used.Store(time.Now().UnixNano())
	return m.valid(subject)
}

// valid returns subject's certificate from memory, nil if there is none or it
// has expired.
func (m *Manager) valid(subject string) *tls.Certificate {
	now := time.Now()
	var best *certmagic.Certificate
	for _, c := range m.cache.AllMatchingCertificates(subject) {
		if c.Leaf == nil || now.After(c.Leaf.NotAfter) || c.Names[0] != subject {
			continue
		}
		if best == nil || c.Leaf.NotAfter.After(best.Leaf.NotAfter) {
			best = &c
		}
	}
	if best == nil {
		return nil
	}
	return &best.Certificate
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
