package certs

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

// maxListed is how many certificates one call of List describes.
const maxListed = 1000

var (
	// ErrNoCertificate means that a host has no certificate, and gets none.
	ErrNoCertificate = errors.New("certs: no such certificate")
	// ErrHost means that something is no host name.
	ErrHost = errors.New("certs: no host name")
)

// List describes certificates, from memory. What is asked for is checked by nobody else:
// what is no host name is described as one that nobody serves.
func (m *Manager) List(req *orlav1.ListCertificatesRequest) *orlav1.ListCertificatesResponse {
	now := time.Now()
	res := &orlav1.ListCertificatesResponse{Mode: m.cfg.Mode, Leader: m.Leader(), Now: timestamppb.New(now)}
	limit := int(req.GetLimit())
	if limit == 0 || limit > maxListed {
		limit = maxListed
	}
	if hosts := req.GetHosts(); len(hosts) > 0 {
		for _, host := range hosts[:min(len(hosts), maxListed)] {
			res.Certificates = append(res.Certificates, m.describe(normal(host), now))
		}
		return res
	}
	m.page(res, req, limit, now)
	return res
}

// page fills in those after req's, and, if it asks for the first page, how many there are.
func (m *Manager) page(res *orlav1.ListCertificatesResponse, req *orlav1.ListCertificatesRequest, limit int, now time.Time) {
	subjects := m.subjects()
	first, _ := slices.BinarySearch(subjects, req.GetAfter()+"\x00")
	counts := map[orlav1.Certificate_State]uint64{}
	for _, subject := range subjects[first:] {
		if req.GetAfter() != "" && res.GetAfter() != "" {
			break
		}
		state := m.brief(subject, now).state
		counts[state]++
		switch {
		case len(req.GetStates()) > 0 && !slices.Contains(req.GetStates(), state):
		case len(res.GetCertificates()) < limit:
			res.Certificates = append(res.Certificates, m.describe(subject, now))
		default:
			res.After = res.GetCertificates()[limit-1].GetSubject()
		}
	}
	if req.GetAfter() != "" {
		return
	}
	for state, n := range counts {
		res.Counts = append(res.Counts, &orlav1.CertificateCount{State: state, Count: n})
	}
	slices.SortFunc(res.Counts, func(a, b *orlav1.CertificateCount) int { return int(a.GetState() - b.GetState()) })
}

// Show describes what a host has, with its chain. It returns [ErrHost], or
// [ErrNoCertificate] for a host that has no certificate and that nobody serves.
func (m *Manager) Show(host string) (*orlav1.Certificate, error) {
	subject := normal(host)
	if err := checkSubject(subject); err != nil {
		return nil, err
	}
	now := time.Now()
	c := m.describe(subject, now)
	if len(c.GetNames()) == 0 && !m.serves(subject) {
		return nil, fmt.Errorf("%w: %s has none, and no live release serves it; see `orla certs` and `orla routes`", ErrNoCertificate, subject)
	}
	for _, der := range m.chainOf(subject, now) {
		c.Pem += string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	}
	return c, nil
}

// normal is a host as the keys have it.
func normal(host string) string { return strings.ToLower(strings.TrimSuffix(host, ".")) }

// checkSubject returns ErrHost for what can have no certificate.
func checkSubject(subject string) error {
	if validHost(strings.TrimPrefix(subject, "*.")) {
		return nil
	}
	return fmt.Errorf("%w: %.100q; write a host as in routes, shop.example or *.shop.example, and names of other scripts in their xn-- form", ErrHost, subject)
}

// want returns what is wanted for a subject.
func (m *Manager) want(subject string) (Host, bool) {
	h, ok := (*m.wanted.Load())[subject]
	return h, ok
}

// serves reports whether a live release has the subject, or answers for it.
func (m *Manager) serves(subject string) bool {
	if _, ok := m.want(subject); ok {
		return true
	}
	return isLocal(subject) || m.cfg.Hosts(subject)
}

// internal reports whether a subject's certificate is the internal CA's.
func (m *Manager) internal(subject string) bool { return m.cfg.Mode != ModeACME || isLocal(subject) }

// subjects are all that there is something to say about, in order.
func (m *Manager) subjects() []string {
	var out []string
	m.book.certs.Range(func(subject, _ any) bool {
		out = append(out, subject.(string)) //nolint:forcetypeassert // it holds no others
		return true
	})
	for subject := range *m.wanted.Load() {
		out = append(out, subject)
	}
	m.local.mu.RLock()
	for subject := range m.local.names {
		out = append(out, subject)
	}
	m.local.mu.RUnlock()
	slices.Sort(out)
	return slices.Compact(out)
}

// standing is how a subject's certificate is, in brief.
type standing struct {
	state  orlav1.Certificate_State
	held   *held             // of the register; nil: none
	leaf   *x509.Certificate // of the internal CA; nil: none
	until  time.Time         // zero: there is none
	failed *orlav1.CertOrder // nil: not
}

// brief says how a subject's certificate is.
func (m *Manager) brief(subject string, now time.Time) standing {
	s := standing{held: m.book.covering(subject, now)}
	if s.held != nil {
		s.until = s.held.GetNotAfter().AsTime()
		s.state = stateOf(s.held.GetNotBefore().AsTime(), s.until, now)
		if own := s.held.GetSubject() == subject; !own {
			s.state = orlav1.Certificate_STATE_COVERED
		} else if s.held.imported() {
			return s
		}
		s.failed = m.book.failure(subject)
		return s
	}
	if m.internal(subject) {
		if cert := m.local.peek(subject); cert != nil {
			s.leaf, s.until = cert, cert.NotAfter
			s.state = stateOf(cert.NotBefore, cert.NotAfter, now)
			return s
		}
		s.state = orlav1.Certificate_STATE_ON_DEMAND
		if !m.serves(subject) {
			s.state = orlav1.Certificate_STATE_NOT_ORDERED
		}
		return s
	}
	if m.refused(subject) == nil {
		s.failed = m.book.failure(subject)
	}
	s.state = m.missing(subject, s.failed)
	return s
}

// missing is the state of a subject that has no certificate from an ACME server.
func (m *Manager) missing(subject string, failed *orlav1.CertOrder) orlav1.Certificate_State {
	want, wanted := m.want(subject)
	switch {
	case m.notOrdered(subject) != "":
		return orlav1.Certificate_STATE_NOT_ORDERED
	case failed != nil:
		return orlav1.Certificate_STATE_FAILED
	case wanted && want.OnDemand:
		return orlav1.Certificate_STATE_ON_DEMAND
	}
	return orlav1.Certificate_STATE_PENDING
}

// notOrdered says why no certificate is ordered for a subject; empty: one is.
func (m *Manager) notOrdered(subject string) string {
	_, wanted := m.want(subject)
	wildcard := strings.HasPrefix(subject, "*")
	switch {
	case subject == "*" || wildcard && strings.Count(subject, ".") < 2:
		return "clients accept no certificate for so wide a wildcard: name the hosts that are to have one"
	case !wanted && !m.cfg.Hosts(subject):
		return "no live release serves it"
	case !wanted && m.belowWildcard(subject):
		return "it is served by a wildcard route only, and that has no certificate: name it among an app's hosts, or import one for it"
	case wildcard && m.refused(subject) != nil:
		return m.refused(subject).GetError()
	}
	return ""
}

// refused returns the entry in which the node that orders says that it does not order for a
// subject, nil if there is none. All nodes go by it: one that does not order cannot know.
func (m *Manager) refused(subject string) *orlav1.CertOrder {
	if said := m.book.failure(subject); said != nil && said.GetAttempts() == 0 {
		return said
	}
	return nil
}

// belowWildcard reports whether a wildcard that is served covers the subject.
func (m *Manager) belowWildcard(subject string) bool {
	for rest := subject; ; {
		_, parent, ok := strings.Cut(rest, ".")
		if !ok {
			_, all := m.want("*")
			return all
		}
		if _, ok := m.want("*." + parent); ok {
			return true
		}
		rest = parent
	}
}

// stateOf is the state of a certificate that is there.
func stateOf(from, until, now time.Time) orlav1.Certificate_State {
	switch left := until.Sub(now); {
	case left <= 0:
		return orlav1.Certificate_STATE_EXPIRED
	case left < until.Sub(from)/4:
		return orlav1.Certificate_STATE_EXPIRING
	default:
		return orlav1.Certificate_STATE_VALID
	}
}

// describe says all that there is to say about a subject, but for its chain.
func (m *Manager) describe(subject string, now time.Time) *orlav1.Certificate {
	s := m.brief(subject, now)
	c := &orlav1.Certificate{Subject: subject, State: s.state, Failure: s.failed}
	switch {
	case s.held != nil:
		m.describeHeld(c, s.held)
	case s.leaf != nil:
		c.Source, c.Issuer = orlav1.Certificate_SOURCE_INTERNAL, s.leaf.Issuer.CommonName
		c.Names = namesOf(s.leaf)
		c.RenewAt = timestamppb.New(thirdLeft(s.leaf.NotBefore, s.leaf.NotAfter))
		describeLeaf(c, s.leaf)
	case m.internal(subject):
		c.Source = orlav1.Certificate_SOURCE_INTERNAL
		c.Reason = "the internal CA issues it in the first handshake"
		if s.state == orlav1.Certificate_STATE_NOT_ORDERED {
			c.Reason = "no live release serves it"
		}
	default:
		c.Source, c.Reason = orlav1.Certificate_SOURCE_ACME, m.notOrdered(subject)
		if s.state == orlav1.Certificate_STATE_PENDING {
			c.Reason = m.waitsFor()
		}
	}
	return c
}

// waitsFor says what a certificate waits for that is to be ordered.
func (m *Manager) waitsFor() string {
	if leader := m.Leader(); leader != "" {
		return "node " + leader + " orders it"
	}
	return "no node orders certificates yet: a hub with --tls acme does"
}

func (m *Manager) describeHeld(c *orlav1.Certificate, h *held) {
	c.Source = orlav1.Certificate_SOURCE_ACME
	if h.imported() {
		c.Source = orlav1.Certificate_SOURCE_IMPORTED
	}
	if h.GetSubject() != c.GetSubject() {
		c.CoveredBy = h.GetSubject()
	}
	c.Names, c.Issuer, c.Directory, c.Node, c.Created, c.Who = h.GetNames(), h.GetIssuer(), h.GetDirectory(), h.GetNode(), h.GetCreated(), h.GetWho()
	c.RenewAt, c.NotBefore, c.NotAfter = h.GetRenewAt(), h.GetNotBefore(), h.GetNotAfter()
	if c.GetSource() == orlav1.Certificate_SOURCE_ACME && !m.serves(h.GetSubject()) {
		c.RenewAt, c.Reason = nil, "no live release serves it: it is not renewed"
	}
	leaf, err := h.leaf()
	if err != nil {
		c.State, c.Reason = orlav1.Certificate_STATE_UNUSABLE, err.Error()+"; remove it with `orla certs remove "+h.GetSubject()+"`"
		return
	}
	describeLeaf(c, leaf)
	if err := h.broken(m.cfg.Sealer); err != nil {
		c.State, c.Reason = orlav1.Certificate_STATE_UNUSABLE, err.Error()+"; import it anew, or remove it with `orla certs remove "+h.GetSubject()+"`"
	}
}

func describeLeaf(c *orlav1.Certificate, leaf *x509.Certificate) {
	c.Serial, c.Fingerprint = hex.EncodeToString(leaf.SerialNumber.Bytes()), fingerprint(leaf)
	c.NotBefore, c.NotAfter = timestamppb.New(leaf.NotBefore), timestamppb.New(leaf.NotAfter)
}

// imported reports whether h, which may be nil, is one that a person has brought.
func (h *held) imported() bool {
	return h != nil && h.GetSource() == orlav1.CertRecord_SOURCE_IMPORTED
}

// leaf parses the certificate itself. It keeps nothing.
func (h *held) leaf() (*x509.Certificate, error) {
	if len(h.GetChain()) == 0 {
		return nil, errors.New("its entry has no chain")
	}
	leaf, err := x509.ParseCertificate(h.GetChain()[0])
	if err != nil {
		return nil, fmt.Errorf("it is damaged: %w", err)
	}
	return leaf, nil
}

// broken says why the certificate cannot be used; nil: it can. Unlike
// [held.certificate] it keeps nothing: to look at a certificate does not load it.
func (h *held) broken(s Sealer) error {
	_, err := h.parse(s)
	return err
}

// namesOf are the names that a certificate is for.
func namesOf(leaf *x509.Certificate) []string {
	names := slices.Clone(leaf.DNSNames)
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	return names
}

// chainOf returns the chain that clients of a host get.
func (m *Manager) chainOf(subject string, now time.Time) [][]byte {
	if h := m.book.covering(subject, now); h != nil {
		return h.GetChain()
	}
	if cert := m.local.valid(subject); cert != nil && m.internal(subject) {
		return cert.Certificate
	}
	return nil
}

// peek returns a name's certificate of the internal CA, or that of the wildcard above it;
// nil: none. It does not count as use.
func (l *local) peek(host string) *x509.Certificate {
	_, parent, _ := strings.Cut(host, ".")
	for _, subject := range []string{host, "*." + parent} {
		if cert := l.valid(subject); cert != nil {
			return cert.Leaf
		}
	}
	return nil
}

// digestOf tells certificates apart.
func digestOf(h *held) [sha256.Size]byte {
	if h == nil || len(h.GetChain()) == 0 {
		return [sha256.Size]byte{}
	}
	return sha256.Sum256(h.GetChain()[0])
}
