package peer_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io/fs"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/orla-edge/orla/modules"
	"github.com/orla-edge/orla/modules/peer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// identity returns a TLS configuration for both ends of a cluster's connections.
func identity(t testing.TB) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "cluster"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key, Leaf: cert}},
		RootCAs:      pool, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
	}
}

// serve runs a server on a free port of the loopback and returns its base URL.
func serve(t testing.TB, id *tls.Config, h http.Handler) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := peer.NewServer(h, id, slog.New(slog.DiscardHandler))
	done := make(chan error, 1)
	go func() { done <- s.ServeTLS(l, "", "") }()
	t.Cleanup(func() {
		s.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return "https://" + l.Addr().String()
}

// node serves a new store with the given blobs in it.
func node(t testing.TB, id *tls.Config, blobs ...[]byte) (base string, dir *modules.Dir) {
	t.Helper()
	dir, _ = store(t)
	for _, b := range blobs {
		if _, err := dir.Put(b); err != nil {
			t.Fatal(err)
		}
	}
	return serve(t, id, peer.NewHandler(dir, peer.Limits{})), dir
}

func store(t testing.TB) (dir *modules.Dir, root string) {
	t.Helper()
	root = t.TempDir()
	dir, err := modules.OpenDir(root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := dir.Close(); err != nil {
			t.Error(err)
		}
	})
	return dir, root
}

func client(t testing.TB, id *tls.Config) *http.Client {
	t.Helper()
	c := peer.NewClient(id, 8)
	t.Cleanup(c.CloseIdleConnections)
	return c
}

// fetcher returns a Fetcher into a new store.
func fetcher(t testing.TB, id *tls.Config, peers ...string) (f *peer.Fetcher, dir *modules.Dir, root string) {
	t.Helper()
	dir, root = store(t)
	f = peer.New(peer.Config{Blobs: dir, Client: client(t, id), Peers: func() []string { return peers }})
	return f, dir, root
}

func blob(b []byte) peer.Blob { return peer.Blob{Digest: modules.Sum(b), Size: int64(len(b))} }

func noise(size int) []byte {
	b := make([]byte, size)
	rand.Read(b)
	return b
}

// uploads lists the temporary files of a store.
func uploads(t testing.TB, root string) []string {
	t.Helper()
	names, err := fs.Glob(os.DirFS(filepath.Join(root, "tmp")), "*/blob-*")
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func verify(t testing.TB, dir *modules.Dir, blobs ...peer.Blob) {
	t.Helper()
	for _, b := range blobs {
		if err := dir.Verify(b.Digest); err != nil {
			t.Error(err)
		}
	}
}

// errorLog counts records of level Error.
type errorLog struct {
	slog.Handler
	records chan slog.Record
}

func newErrorLog() errorLog { return errorLog{slog.DiscardHandler, make(chan slog.Record, 100)} }

func (e errorLog) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelError }

func (e errorLog) Handle(_ context.Context, r slog.Record) error {
	e.records <- r
	return nil
}
