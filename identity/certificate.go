package identity

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"sync"
	"time"
)

// Names in certificates, for clients to ask for: a hub, or any node.
const (
	hubName  = "hub.orla.internal"
	nodeName = "node.orla.internal"
)

const (
	// Clocks may be far apart, or wrong until the network is there.
	before = 7 * 24 * time.Hour
	life   = 30 * 24 * time.Hour
	renew  = life / 2
)

// authority returns the key that signs the certificates of a role.
func (s Secret) authority(of Role) ed25519.PrivateKey {
	from := s.edge
	if of == Hub {
		from = s.root
	}
	return ed25519.NewKeyFromSeed(derive(from, "authority "+string(of)))
}

// root returns the authority of a role for a pool. An edge knows the public key of
// the hubs' only: a pool needs no more, and does not look at the signature.
func (s Secret) rootOf(of Role) (*x509.Certificate, error) {
	public := s.hubCA
	signer := ed25519.NewKeyFromSeed(make([]byte, size)) // its signature is never checked
	if of == Edge {
		public = s.authority(Edge).Public().(ed25519.PublicKey) //nolint:forcetypeassert // of an ed25519 key
	}
	if s.root != nil || of == Edge {
		signer = s.authority(of)
	}
	id := sha256.Sum256(public)
	t := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{Organization: []string{"Orla"}, CommonName: "cluster authority for " + string(of) + "s"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign, SubjectKeyId: id[:20],
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, public, signer)
	if err != nil {
		return nil, fmt.Errorf("make the cluster's authority: %w", err)
	}
	return x509.ParseCertificate(der)
}

// Node is a node's identity: a certificate that renews itself, and the authorities
// that it believes. Its methods may be called concurrently.
type Node struct {
	name  string
	role  Role
	key   *ecdsa.PrivateKey
	sign  crypto.Signer
	roots map[Role]*x509.Certificate

	mu   sync.Mutex // guards leaf
	leaf *tls.Certificate
}

// Node returns the identity of a node. A hub's needs a hub's secret.
func (s Secret) Node(name string, role Role) (*Node, error) {
	if s.IsZero() {
		return nil, ErrSecret
	}
	if role == Hub && s.root == nil {
		return nil, errors.New("this is an edge's secret, with which a node cannot be a hub: leave out --cluster-listen, or use the hubs' secret")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a node's key: %w", err)
	}
	n := &Node{name: name, role: role, key: key, sign: s.authority(role), roots: map[Role]*x509.Certificate{}}
	for _, of := range []Role{Hub, Edge} {
		if n.roots[of], err = s.rootOf(of); err != nil {
			return nil, err
		}
	}
	_, err = n.certificate()
	return n, err
}

// Name returns the node's name.
func (n *Node) Name() string { return n.name }

// Role returns the node's role.
func (n *Node) Role() Role { return n.role }

// certificate returns one that is good for a while.
func (n *Node) certificate() (*tls.Certificate, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := time.Now()
	if n.leaf != nil && now.Before(n.leaf.Leaf.NotAfter.Add(-renew)) && now.After(n.leaf.Leaf.NotBefore) {
		return n.leaf, nil
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	names := []string{nodeName}
	if n.role == Hub {
		names = append(names, hubName)
	}
	t := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{Organization: []string{"Orla"}, CommonName: n.name}, DNSNames: names,
		NotBefore: now.Add(-before), NotAfter: now.Add(life), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, t, n.roots[n.role], n.key.Public(), n.sign)
	if err != nil {
		return nil, fmt.Errorf("make a node's certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("make a node's certificate: %w", err)
	}
	n.leaf = &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: n.key, Leaf: leaf}
	return n.leaf, nil
}

func (n *Node) pool(roles ...Role) *x509.CertPool {
	pool := x509.NewCertPool()
	for _, of := range roles {
		pool.AddCert(n.roots[of])
	}
	return pool
}

// Server returns the configuration of a listener that only nodes with one of the
// roles reach.
func (n *Node) Server(accept ...Role) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: n.pool(accept...),
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return n.certificate() },
	}
}

// Client returns the configuration of a connection to a node: a hub, or, with
// [Edge], any.
func (n *Node) Client(to Role) *tls.Config {
	c := &tls.Config{
		MinVersion: tls.VersionTLS13, ServerName: hubName, RootCAs: n.pool(Hub),
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return n.certificate() },
	}
	if to == Edge {
		c.ServerName, c.RootCAs = nodeName, n.pool(Hub, Edge)
	}
	return c
}

// Both returns the configuration of a listener that dials too, as NATS servers do
// between each other: hubs only.
func (n *Node) Both() *tls.Config {
	c := n.Server(Hub)
	client := n.Client(Hub)
	c.ServerName, c.RootCAs, c.GetClientCertificate = client.ServerName, client.RootCAs, client.GetClientCertificate
	return c
}

// Peer returns the name and role of the node at the other end of a connection that
// [Node.Server] accepted.
func (n *Node) Peer(state *tls.ConnectionState) (name string, role Role, ok bool) {
	if state == nil || len(state.VerifiedChains) == 0 {
		return "", "", false
	}
	chain := state.VerifiedChains[0]
	top := chain[len(chain)-1]
	for of, root := range n.roots {
		if bytes.Equal(top.RawSubjectPublicKeyInfo, root.RawSubjectPublicKeyInfo) {
			return chain[0].Subject.CommonName, of, true
		}
	}
	return "", "", false
}
