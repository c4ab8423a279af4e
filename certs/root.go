package certs

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

// oldSuffix is that of the files of the CA that a node had before it adopted another.
const oldSuffix = ".old"

// adoptRoot makes the CA that the nodes share this node's.
func (m *Manager) adoptRoot() {
	e := m.book.entry(rootKey)
	if e.Value == nil {
		return
	}
	root, key, err := m.openRoot(e.Value)
	if err != nil {
		m.log.Warn("the nodes' CA cannot be used: this node goes on with its own", "error", err)
		return
	}
	switch changed, err := m.local.ca.adopt(root, key); {
	case err != nil:
		m.log.Error("the nodes' CA is used, but was not written to this node's disk", "error", err)
	case changed:
		m.log.Info("the nodes' CA is this node's now; its own is kept beside it", "fingerprint", fingerprint(root), "file", m.local.ca.path(rootFile))
	default:
		return
	}
	m.local.doubt()
}

// openRoot reads the entry of the CA.
func (m *Manager) openRoot(value []byte) (*x509.Certificate, crypto.Signer, error) {
	var record orlav1.CertRoot
	if err := proto.Unmarshal(value, &record); err != nil {
		return nil, nil, fmt.Errorf("read the nodes' CA: %w", err)
	}
	root, err := x509.ParseCertificate(record.GetCertificate())
	if err != nil {
		return nil, nil, fmt.Errorf("read the nodes' CA: %w", err)
	}
	der, err := m.cfg.Sealer.Open(record.GetKey(), rootKey)
	if err != nil {
		return nil, nil, fmt.Errorf("open the key of the nodes' CA: %w", err)
	}
	key, err := parsePKCS8(der)
	if err == nil {
		err = checkRoot(root, key)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read the nodes' CA: %w", err)
	}
	return root, key, nil
}

// leadRoot makes this node's CA that of all nodes if they have none, or one that has
// expired, until it is or ctx ends.
func (m *Manager) leadRoot(ctx context.Context) {
	tick := time.NewTicker(ticketLook)
	defer tick.Stop()
	for {
		err := m.publishRoot(ctx)
		if err == nil {
			return
		}
		if ctx.Err() == nil {
			m.log.Warn("the CA is not shared with the other nodes yet; will try again", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (m *Manager) publishRoot(ctx context.Context) error {
	e := m.book.entry(rootKey)
	if e.Value != nil && !expiredRoot(e.Value) {
		return nil
	}
	value, err := m.sealRoot(m.local.ca.own())
	if err != nil {
		return err
	}
	err = m.cfg.Register.Commit(ctx, rootKey, value, e.Revision)
	if errors.Is(err, ErrChanged) {
		return nil // another node was first
	}
	return err
}

// sealRoot makes the entry of a CA.
func (m *Manager) sealRoot(root *x509.Certificate, key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, errors.New("encode the CA's key: it cannot be")
	}
	sealed, err := m.cfg.Sealer.Seal(der, rootKey)
	if err != nil {
		return nil, fmt.Errorf("seal the CA's key: %w", err)
	}
	return proto.Marshal(&orlav1.CertRoot{Certificate: root.Raw, Key: sealed})
}

// RotateRoot makes a new root, with a new key, for the internal CA of all nodes. Each of
// them adopts it and issues its certificates anew as soon as it hears of it; the one that
// was is kept as when another node's is adopted. With DryRun it only tells which there is.
// It returns [ErrChanged], or why the register did not take it; then nothing has changed.
func (m *Manager) RotateRoot(ctx context.Context, req *orlav1.RotateRootRequest) (*orlav1.RotateRootResponse, error) {
	if m.cfg.Register == nil {
		return nil, fmt.Errorf("certs: this node has a CA of its own, for it shares no key with others: stop it, remove %s and %s, and start it again to make a new one",
			m.local.ca.path(rootFile), m.local.ca.path(keyFile))
	}
	e := m.book.entry(rootKey)
	former, _ := m.local.ca.own()
	res := &orlav1.RotateRootResponse{Former: describeRoot(former)}
	if req.GetDryRun() {
		return res, nil
	}
	key, err := newRootKey()
	if err != nil {
		return nil, err
	}
	root, err := newRoot(key)
	if err != nil {
		return nil, err
	}
	value, err := m.sealRoot(root, key)
	if err != nil {
		return nil, err
	}
	if err := m.cfg.Register.Commit(ctx, rootKey, value, e.Revision); err != nil {
		return nil, fmt.Errorf("replace the root of the nodes' CA: %w", err)
	}
	res.Root = describeRoot(root)
	m.log.Info("the nodes' CA has a new root", "fingerprint", fingerprint(root), "former", fingerprint(former))
	return res, nil
}

func describeRoot(root *x509.Certificate) *orlav1.RootCertificate {
	return &orlav1.RootCertificate{
		Name: root.Subject.CommonName, Fingerprint: fingerprint(root), NotAfter: timestamppb.New(root.NotAfter),
		Pem: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Raw})),
	}
}

// expiredRoot reports whether an entry's CA has expired. One that cannot be read has not:
// another node may know better.
func expiredRoot(value []byte) bool {
	var record orlav1.CertRoot
	if proto.Unmarshal(value, &record) != nil {
		return false
	}
	root, err := x509.ParseCertificate(record.GetCertificate())
	return err == nil && time.Now().After(root.NotAfter)
}

// own returns the root and its key.
func (ca *internalCA) own() (*x509.Certificate, crypto.Signer) {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	return ca.root, ca.key
}

// pem returns the root in PEM.
func (ca *internalCA) pem() []byte {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	return ca.rootPEM
}

// adopt makes this CA one with that root and key, in memory even if the error says that
// it could not be written. It reports whether it was another.
func (ca *internalCA) adopt(root *x509.Certificate, key crypto.Signer) (changed bool, err error) {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	if root.Equal(ca.root) {
		return false, nil
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Raw})
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err == nil {
		err = ca.replaceFiles(text, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	}
	ca.root, ca.rootPEM, ca.key, ca.intermediate = root, text, key, nil
	return true, err
}

// replaceFiles writes another root and its key, and keeps what there was. After a crash
// at any point there is a key with its certificate, or without: then one is made for it.
func (ca *internalCA) replaceFiles(root, key []byte) error {
	for file, mode := range map[string]fs.FileMode{rootFile: 0o644, keyFile: 0o600} {
		text, err := os.ReadFile(ca.path(file))
		if err == nil {
			err = writeFile(ca.path(file+oldSuffix), text, mode)
		}
		if err != nil {
			return fmt.Errorf("keep the CA that was: %w", err)
		}
	}
	if err := os.Remove(ca.path(rootFile)); err != nil {
		return fmt.Errorf("replace the CA: %w", err)
	}
	if err := writeFile(ca.path(keyFile), key, 0o600); err != nil {
		return err
	}
	return writeFile(ca.path(rootFile), root, 0o644)
}

// doubt has the certificates looked at that another CA may have issued.
func (l *local) doubt() {
	select {
	case l.doubts <- struct{}{}:
	default:
	}
}

// reissue issues anew, or leaves to handshakes, what another CA has issued.
func (l *local) reissue(ctx context.Context) {
	for _, subject := range l.strays() {
		if ctx.Err() != nil {
			return
		}
		l.mu.RLock()
		n := l.names[subject]
		l.mu.RUnlock()
		l.forget(subject)
		if n == nil || !n.managed {
			continue
		}
		if err := l.ensure(ctx, subject, true); err != nil && ctx.Err() == nil {
			l.log.Error("issue certificate of the nodes' CA", "host", subject, "error", err)
		}
	}
}

// strays returns the names whose certificate is not of the CA as it is now.
func (l *local) strays() (out []string) {
	l.mu.RLock()
	subjects := make([]string, 0, len(l.names))
	for subject := range l.names {
		subjects = append(subjects, subject)
	}
	l.mu.RUnlock()
	root, _ := l.ca.own()
	own := map[string]bool{} // whether an intermediate, in DER, is of this root
	for _, subject := range subjects {
		cert := l.valid(subject)
		if cert == nil || len(cert.Certificate) < 2 {
			continue
		}
		by := string(cert.Certificate[1])
		is, known := own[by]
		if !known {
			intermediate, err := x509.ParseCertificate(cert.Certificate[1])
			is = err == nil && intermediate.CheckSignatureFrom(root) == nil
			own[by] = is
		}
		if !is {
			out = append(out, subject)
		}
	}
	return out
}
