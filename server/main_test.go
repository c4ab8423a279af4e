package server

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// running is a Server on loopback.
type running struct {
	*Server
	http, https string // addresses
	roots       *x509.CertPool
	log         *logBuffer

	stop func() // starts the drain
	done chan struct{}
	err  error // of Run, once done is closed
}

// start runs a server with a plain and a TLS listener until the test ends.
func start(t *testing.T, cfg Config) *running {
	t.Helper()
	r := &running{log: &logBuffer{}, done: make(chan struct{})}
	plain, err := Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	secure, err := Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cert, roots := newCertificate(t)
	cfg.HTTP, cfg.HTTPS = []net.Listener{plain}, []net.Listener{secure}
	cfg.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2", "http/1.1"}}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.NewJSONHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	if cfg.DrainIdle == 0 {
		cfg.DrainIdle = 20 * time.Millisecond
	}
	if cfg.DrainTimeout == 0 {
		cfg.DrainTimeout = 5 * time.Second
	}
	if r.Server, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	r.http, r.https, r.roots = plain.Addr().String(), secure.Addr().String(), roots
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	r.stop = cancel
	go func() {
		defer close(r.done)
		r.err = r.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-r.done
		if r.err != nil {
			t.Errorf("Run = %v, want nil", r.err)
		}
	})
	return r
}

func newCertificate(t testing.TB) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"localhost", "a.test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, roots
}

// client returns a client of its own connections; proto is "h1" or "h2".
func (r *running) client(t *testing.T, proto string) *http.Client {
	t.Helper()
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: r.roots}, Protocols: new(http.Protocols)}
	if proto == "h2" {
		tr.Protocols.SetHTTP2(true)
	} else {
		tr.Protocols.SetHTTP1(true)
	}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{
		Transport: tr, Timeout: 20 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// dial opens a raw connection, with TLS and this protocol if alpn is not empty.
func (r *running) dial(t *testing.T, alpn string) net.Conn {
	t.Helper()
	var c net.Conn
	var err error
	if alpn == "" {
		c, err = net.Dial("tcp", r.http)
	} else {
		c, err = tls.Dial("tcp", r.https, &tls.Config{RootCAs: r.roots, NextProtos: []string{alpn}})
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(15 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}

// responses reads what the server answers until it closes the connection.
func responses(t *testing.T, c net.Conn) (all []*http.Response, bodies []string) {
	t.Helper()
	br := bufio.NewReader(c)
	for {
		if _, err := br.Peek(1); err != nil {
			return all, bodies
		}
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatalf("read response %d: %v", len(all)+1, err)
		}
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatalf("read body %d: %v", len(all)+1, err)
		}
		all, bodies = append(all, resp), append(bodies, string(b))
	}
}

// logBuffer keeps log records and wakes whoever waits for one.
type logBuffer struct {
	mu   sync.Mutex
	cond *sync.Cond
	buf  bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.cond != nil {
		b.cond.Broadcast()
	}
	return b.buf.Write(p)
}

// await returns the first record with this message that also has these values.
func (b *logBuffer) await(t *testing.T, message string, with map[string]any) map[string]any {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.cond == nil {
		b.cond = sync.NewCond(&b.mu)
	}
	limit := time.AfterFunc(10*time.Second, b.cond.Broadcast)
	defer limit.Stop()
	end := time.Now().Add(10 * time.Second)
	for {
		for line := range strings.Lines(b.buf.String()) {
			var rec map[string]any
			if err := json.Unmarshal([]byte(line), &rec); err != nil {
				t.Fatalf("log line %q: %v", line, err)
			}
			if rec["msg"] == message && contains(rec, with) {
				return rec
			}
		}
		if time.Now().After(end) {
			t.Fatalf("no log record %q with %v in:\n%s", message, with, b.buf.String())
		}
		b.cond.Wait()
	}
}

func contains(rec, with map[string]any) bool {
	for k, v := range with {
		if rec[k] != v {
			return false
		}
	}
	return true
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// echo answers with what it got.
func echo(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, "cut", http.StatusBadGateway)
		return
	}
	w.Header().Set("Echo-Target", r.RequestURI)
	w.Header().Set("Echo-Path", r.URL.EscapedPath())
	w.Header().Set("Echo-Host", r.Host)
	for name := range r.Header {
		w.Header().Add("Echo-Fields", name)
	}
	_, _ = w.Write(b)
}
