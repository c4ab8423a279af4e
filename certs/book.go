package certs

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/mholt/acmez/v3/acme"
	"google.golang.org/protobuf/proto"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

// book is the register's entries about TLS in memory: what handshakes, challenges and
// lists read. It is filled by Manager.Apply only.
type book struct {
	sealer Sealer

	certs      sync.Map // subject → *held
	challenges sync.Map // challengeName → acme.Challenge

	mu      sync.Mutex // guards what follows
	rest    map[string]Entry
	changed chan struct{} // closed with the next change
}

func newBook(s Sealer) *book {
	return &book{sealer: s, rest: map[string]Entry{}, changed: make(chan struct{})}
}

// held is a certificate of the register. It is parsed when a handshake first asks for it:
// a node with a hundred thousand starts at once, and has few of them in use.
type held struct {
	*orlav1.CertRecord
	revision uint64

	once sync.Once
	tls  *tls.Certificate
	err  error
}

// subjectKey is the register's key of a subject's certificate below prefix; a wildcard is
// written as in the keys of host claims.
func subjectKey(prefix, subject string) string {
	if rest, ok := strings.CutPrefix(subject, "*."); ok {
		return prefix + "_wild." + rest
	}
	return prefix + subject
}

// challengeName is what a challenge is found by, and a part of its key.
func challengeName(kind, identifier string) string { return kind + "." + strings.ToLower(identifier) }

// apply takes changes over. What cannot be decoded is left out and named.
func (b *book) apply(full bool, entries []Entry) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if full {
		b.keepOnlyLocked(entries)
	}
	var errs []error
	for _, e := range entries {
		if err := b.putLocked(e); err != nil {
			errs = append(errs, fmt.Errorf("certs: decode entry %q: %w", e.Key, err))
		}
	}
	close(b.changed)
	b.changed = make(chan struct{})
	return errors.Join(errs...)
}

// keepOnlyLocked forgets what is not among the entries.
func (b *book) keepOnlyLocked(entries []Entry) {
	keys := make(map[string]bool, len(entries))
	for _, e := range entries {
		keys[e.Key] = true
	}
	for key := range b.rest {
		if !keys[key] {
			delete(b.rest, key)
		}
	}
	b.certs.Range(func(subject, _ any) bool {
		if !keys[subjectKey(certPrefix, subject.(string))] { //nolint:forcetypeassert // it holds no others
			b.certs.Delete(subject)
		}
		return true
	})
	b.challenges.Range(func(name, _ any) bool {
		if !keys[challengePrefix+name.(string)] { //nolint:forcetypeassert // it holds no others
			b.challenges.Delete(name)
		}
		return true
	})
}

func (b *book) putLocked(e Entry) error {
	switch {
	case strings.HasPrefix(e.Key, certPrefix):
		return b.putCertLocked(e)
	case strings.HasPrefix(e.Key, challengePrefix):
		if err := b.putChallengeLocked(e); err != nil {
			return err
		}
	}
	if e.Value == nil {
		delete(b.rest, e.Key)
		return nil
	}
	b.rest[e.Key] = e
	return nil
}

func (b *book) putCertLocked(e Entry) error {
	subject := strings.TrimPrefix(e.Key, certPrefix)
	if rest, ok := strings.CutPrefix(subject, "_wild."); ok {
		subject = "*." + rest
	}
	if e.Value == nil {
		b.certs.Delete(subject)
		return nil
	}
	record := new(orlav1.CertRecord)
	if err := proto.Unmarshal(e.Value, record); err != nil {
		return err
	}
	b.certs.Store(subject, &held{CertRecord: record, revision: e.Revision})
	return nil
}

func (b *book) putChallengeLocked(e Entry) error {
	name := strings.TrimPrefix(e.Key, challengePrefix)
	if e.Value == nil {
		b.challenges.Delete(name)
		return nil
	}
	challenge, _, err := decodeChallenge(e.Value)
	if err != nil {
		return err
	}
	b.challenges.Store(name, challenge)
	return nil
}

// cert returns a subject's certificate, nil if there is none.
func (b *book) cert(subject string) *held {
	h, ok := b.certs.Load(subject)
	if !ok {
		return nil
	}
	return h.(*held) //nolint:forcetypeassert // it holds no others
}

// covering returns the best certificate for a host: one that has not expired before one
// that has, its own before a wildcard. Nil: none.
func (b *book) covering(host string, now time.Time) *held {
	own := b.cert(host)
	if own != nil && now.Before(own.GetNotAfter().AsTime()) {
		return own
	}
	if _, parent, ok := strings.Cut(host, "."); ok {
		if wild := b.cert("*." + parent); wild != nil && (own == nil || now.Before(wild.GetNotAfter().AsTime())) {
			return wild
		}
	}
	return own
}

// challenge returns a challenge that an order waits for.
func (b *book) challenge(kind, identifier string) (acme.Challenge, bool) {
	c, ok := b.challenges.Load(challengeName(kind, identifier))
	if !ok {
		return acme.Challenge{}, false
	}
	return c.(acme.Challenge), true //nolint:forcetypeassert // it holds no others
}

// entry returns an entry that is no certificate; at revision 0 and without a value there
// is none.
func (b *book) entry(key string) Entry {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.rest[key]
}

// entries returns the entries that are no certificates and whose keys begin with prefix.
func (b *book) entries(prefix string) []Entry {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []Entry
	for key, e := range b.rest {
		if strings.HasPrefix(key, prefix) {
			out = append(out, e)
		}
	}
	return out
}

// next returns a channel that is closed with the next change.
func (b *book) next() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.changed
}

// certificate parses h, once.
func (h *held) certificate(s Sealer) (*tls.Certificate, error) {
	h.once.Do(func() { h.tls, h.err = h.parse(s) })
	return h.tls, h.err
}

func (h *held) parse(s Sealer) (*tls.Certificate, error) {
	key, err := h.privateKey(s)
	if err != nil {
		return nil, err
	}
	if len(h.GetChain()) == 0 {
		return nil, fmt.Errorf("read certificate of %q: its entry has no chain", h.GetSubject())
	}
	leaf, err := x509.ParseCertificate(h.GetChain()[0])
	if err != nil {
		return nil, fmt.Errorf("read certificate of %q: %w", h.GetSubject(), err)
	}
	if err := matches(leaf, key); err != nil {
		return nil, fmt.Errorf("read certificate of %q: %w", h.GetSubject(), err)
	}
	return &tls.Certificate{Certificate: h.GetChain(), PrivateKey: key, Leaf: leaf}, nil
}

func (h *held) privateKey(s Sealer) (crypto.Signer, error) {
	der, err := s.Open(h.GetKey(), subjectKey(certPrefix, h.GetSubject()))
	if err != nil {
		return nil, fmt.Errorf("open key of %q: %w", h.GetSubject(), err)
	}
	return parsePKCS8(der)
}

// parsePKCS8 reads a private key. Its error does not quote it.
func parsePKCS8(der []byte) (crypto.Signer, error) {
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, errors.New("it is damaged: no PKCS #8 key")
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, errors.New("it is damaged: a key that cannot sign")
	}
	return signer, nil
}

// matches says whether a certificate belongs to a key.
func matches(leaf *x509.Certificate, key crypto.Signer) error {
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(leaf.PublicKey) {
		return errors.New("the certificate does not belong to the key")
	}
	return nil
}
