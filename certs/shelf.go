package certs

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

var _ certmagic.Storage = (*shelf)(nil)

// shelf is certmagic's storage on the register: the three files of a certificate are one
// entry, which is written when the last of them comes, so that no node sees a certificate
// with another's key. Reads are from memory. Of certmagic's locks it keeps those between
// orders of this node; what keeps nodes apart is the lease that only one of them has.
type shelf struct {
	locks
	book     *book
	register Register
	node     string

	mu     sync.Mutex // guards staged
	staged map[string][]byte
}

func newShelf(b *book, r Register, node string) *shelf {
	return &shelf{book: b, register: r, node: node, staged: map[string][]byte{}}
}

// errNoFile: certmagic asks for a file that is none of a certificate's.
var errNoFile = errors.New("certs: no file of a certificate")

// files are the extensions of a certificate's files.
const (
	fileKey  = ".key"
	fileCert = ".crt"
	fileMeta = ".json"
)

// place is where a file of certmagic's belongs.
type place struct {
	issuer  string // as in the key
	subject string
	file    string // its extension; empty: all of them
}

// placeOf reads "certificates/ISSUER/SUBJECT/SUBJECT.EXT", or the folder of that.
func placeOf(key string) (place, error) {
	parts := strings.Split(key, "/")
	if len(parts) < 3 || len(parts) > 4 || parts[0] != "certificates" {
		return place{}, fmt.Errorf("%w: %q", errNoFile, key)
	}
	p := place{issuer: parts[1], subject: parts[2]}
	if rest, ok := strings.CutPrefix(p.subject, "wildcard_"); ok {
		p.subject = "*" + rest
	}
	if len(parts) == 4 {
		if p.file = path.Ext(parts[3]); parts[3] != parts[2]+p.file {
			return place{}, fmt.Errorf("%w: %q", errNoFile, key)
		}
	}
	return p, nil
}

// Store implements [certmagic.Storage].
func (s *shelf) Store(ctx context.Context, key string, value []byte) error {
	p, err := placeOf(key)
	if err != nil {
		return err
	}
	folder := path.Dir(key)
	s.mu.Lock()
	if p.file != fileMeta {
		s.staged[folder+p.file] = value
		s.mu.Unlock()
		return nil
	}
	keyPEM, chain := s.staged[folder+fileKey], s.staged[folder+fileCert]
	delete(s.staged, folder+fileKey)
	delete(s.staged, folder+fileCert)
	s.mu.Unlock()
	record, err := s.record(p, keyPEM, chain, value)
	if err != nil {
		return fmt.Errorf("store certificate of %q: %w", p.subject, err)
	}
	return s.put(ctx, record)
}

// put writes a record over what there is.
func (s *shelf) put(ctx context.Context, record *orlav1.CertRecord) error {
	value, err := proto.Marshal(record)
	if err != nil {
		return err
	}
	var expect uint64
	if before := s.book.cert(record.GetSubject()); before != nil {
		if before.GetSource() == orlav1.CertRecord_SOURCE_IMPORTED {
			return fmt.Errorf("store certificate of %q: one was imported meanwhile", record.GetSubject())
		}
		expect = before.revision
	}
	return s.register.Commit(ctx, subjectKey(certPrefix, record.GetSubject()), value, expect)
}

func (s *shelf) record(p place, keyPEM, chainPEM, meta []byte) (*orlav1.CertRecord, error) {
	chain, err := parseChain(chainPEM)
	if err != nil {
		return nil, err
	}
	key, err := certmagic.PEMDecodePrivateKey(keyPEM)
	if err != nil {
		return nil, errors.New("its private key is damaged") // the cause could quote it
	}
	if err := matches(chain[0], key); err != nil {
		return nil, err
	}
	record, err := newRecord(s.book.sealer, p.subject, chain, key)
	if err != nil {
		return nil, err
	}
	record.Source, record.Directory, record.Meta, record.Node = orlav1.CertRecord_SOURCE_ACME, p.issuer, meta, s.node
	record.Created, record.RenewAt = timestamppb.Now(), timestamppb.New(renewalOf(chain[0], meta))
	return record, nil
}

// newRecord makes a record of what a certificate says of itself; its private key sealed.
func newRecord(s Sealer, subject string, chain []*x509.Certificate, key any) (*orlav1.CertRecord, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, errors.New("the private key cannot be encoded") // the cause could quote it
	}
	sealed, err := s.Seal(der, subjectKey(certPrefix, subject))
	if err != nil {
		return nil, err
	}
	leaf := chain[0]
	record := &orlav1.CertRecord{
		Subject: subject, Key: sealed, Names: leaf.DNSNames, Issuer: leaf.Issuer.CommonName,
		NotBefore: timestamppb.New(leaf.NotBefore), NotAfter: timestamppb.New(leaf.NotAfter),
	}
	for _, ip := range leaf.IPAddresses {
		record.Names = append(record.Names, ip.String())
	}
	for _, c := range chain {
		record.Chain = append(record.Chain, c.Raw)
	}
	return record, nil
}

// renewalOf says when a certificate is to be renewed: when its CA says so (RFC 9773), or
// when a third of its life is left.
func renewalOf(leaf *x509.Certificate, meta []byte) time.Time {
	var resource struct {
		Issuer struct {
			Renewal *struct {
				Selected time.Time `json:"_selectedTime"`
			} `json:"renewal_info"`
		} `json:"issuer_data"`
	}
	if json.Unmarshal(meta, &resource) == nil && resource.Issuer.Renewal != nil {
		if at := resource.Issuer.Renewal.Selected; at.After(leaf.NotBefore) && at.Before(leaf.NotAfter) {
			return at
		}
	}
	return thirdLeft(leaf.NotBefore, leaf.NotAfter)
}

func thirdLeft(from, until time.Time) time.Time { return until.Add(-until.Sub(from) / 3) }

func parseChain(text []byte) ([]*x509.Certificate, error) {
	var chain []*x509.Certificate
	for rest := text; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("it is damaged: %w", err)
		}
		chain = append(chain, cert)
	}
	if len(chain) == 0 {
		return nil, errNoPEM
	}
	return chain, nil
}

// find returns the record at a place.
func (s *shelf) find(key string) (place, *held, error) {
	p, err := placeOf(key)
	if err != nil {
		return p, nil, err
	}
	h := s.book.cert(p.subject)
	if h == nil || h.GetSource() != orlav1.CertRecord_SOURCE_ACME || h.GetDirectory() != p.issuer {
		return p, nil, fmt.Errorf("find %q: %w", key, fs.ErrNotExist)
	}
	return p, h, nil
}

// Load implements [certmagic.Storage].
func (s *shelf) Load(_ context.Context, key string) ([]byte, error) {
	p, h, err := s.find(key)
	if err != nil {
		return nil, err
	}
	switch p.file {
	case fileMeta:
		return h.GetMeta(), nil
	case fileCert:
		var chain []byte
		for _, der := range h.GetChain() {
			chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
		}
		return chain, nil
	case fileKey:
		der, err := s.book.sealer.Open(h.GetKey(), subjectKey(certPrefix, p.subject))
		if err != nil {
			return nil, err
		}
		return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
	}
	return nil, fmt.Errorf("load %q: %w", key, fs.ErrNotExist)
}

// Delete implements [certmagic.Storage]. A file alone is not deleted: the others would be
// of no use.
func (s *shelf) Delete(ctx context.Context, key string) error {
	p, err := placeOf(key)
	if err != nil || p.file != "" {
		s.mu.Lock()
		delete(s.staged, path.Dir(key)+p.file) // of a certificate that could not be stored
		s.mu.Unlock()
		return err
	}
	_, h, err := s.find(key)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return s.register.Commit(ctx, subjectKey(certPrefix, p.subject), nil, h.revision)
}

// Exists implements [certmagic.Storage].
func (s *shelf) Exists(_ context.Context, key string) bool {
	_, h, err := s.find(key)
	return err == nil && h != nil
}

// List implements [certmagic.Storage]. Nothing asks for it: what there is says the book.
func (*shelf) List(_ context.Context, dir string, _ bool) ([]string, error) {
	return nil, fmt.Errorf("list %q: %w", dir, fs.ErrNotExist)
}

// Stat implements [certmagic.Storage].
func (s *shelf) Stat(ctx context.Context, key string) (certmagic.KeyInfo, error) {
	value, err := s.Load(ctx, key)
	if err != nil {
		return certmagic.KeyInfo{}, err
	}
	_, h, err := s.find(key)
	if err != nil {
		return certmagic.KeyInfo{}, err
	}
	return certmagic.KeyInfo{Key: key, Modified: h.GetCreated().AsTime(), Size: int64(len(value)), IsTerminal: true}, nil
}
