package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// clientCA makes a CA, its certificate in PEM, and a client's certificate of it.
func clientCA(t *testing.T, name string) (ca string, client tls.Certificate) {
	t.Helper()
	rootKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Clients of " + name}, NotAfter: time.Now().Add(time.Hour),
		BasicConstraintsValid: true, IsCA: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: []string{name}, NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	rootDER, err := x509.CreateCertificate(rand.Reader, root, root, rootKey.Public(), rootKey)
	if err != nil {
		t.Fatal(err)
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, root, key.Public(), rootKey)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: rootDER})), tls.Certificate{Certificate: [][]byte{leafDER}, PrivateKey: key}
}

// browser reaches the node under every name, trusts its CA, and follows no redirect.
func browser(t *testing.T, n *node, cert *tls.Certificate) *http.Client {
	t.Helper()
	root, err := os.ReadFile(filepath.Join(n.data, "certs", "root.pem"))
	if err != nil {
		t.Fatal(err)
	}
	c := &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
	c.RootCAs.AppendCertsFromPEM(root)
	if cert != nil {
		c.Certificates = []tls.Certificate{*cert}
	}
	dialer := new(net.Dialer)
	tr := &http.Transport{TLSClientConfig: c, ForceAttemptHTTP2: true}
	tr.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		to := strings.TrimPrefix(n.https, "https://")
		if strings.HasSuffix(addr, ":80") {
			to = strings.TrimPrefix(n.http, "http://")
		}
		return dialer.DialContext(ctx, network, to)
	}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// TestWhatAReleaseSaysAboutHTTPS: redirects, HSTS, client certificates and misdirected
// requests, from the file to the wire.
func TestWhatAReleaseSaysAboutHTTPS(t *testing.T) {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "certificate %t", strings.HasPrefix(r.Header.Get("Client-Cert"), ":MII"))
	}))
	defer upstream.Close()
	ca, alice := clientCA(t, "alice.example")
	_, stranger := clientCA(t, "alice.example")
	dir := t.TempDir()
	writeTree(t, dir, map[string]string{
		"shop/ca.pem": ca,
		"shop/routes.toml": `name = "shop"
hosts = ["shop.test"]
[tls]
redirect  = true
hsts      = { max_age = "180d", include_subdomains = true }
client_ca = ["ca.pem"]
[[routes]]
match = { path = "/partners/*", client_cert = "alice.example" }
proxy = { to = ["` + upstream.URL + `"] }
[[routes]]
match = { path = "/" }
proxy = { to = ["` + upstream.URL + `"] }
`,
		"blog/routes.toml": "name = \"blog\"\nhosts = [\"blog.test\"]\n[[routes]]\nrespond = { body = \"blog\" }\n",
	})
	n := start(t, filepath.Join(dir, "data"))
	for _, set := range []string{"shop", "blog"} {
		if out, err := n.orla("routes", "push", filepath.Join(dir, set, "routes.toml")); err != nil {
			t.Fatalf("push %s: %v\n%s", set, err, out)
		}
	}
	known, nobody := browser(t, n, &alice), browser(t, n, nil)
	const hsts = "max-age=15552000; includeSubDomains"
	for _, tt := range []struct {
		name      string
		client    *http.Client
		url, host string // host: other than the URL's
		want      string
	}{
		{"plain HTTP", nobody, "http://shop.test/partners/x?y", "", "308 https://shop.test/partners/x?y"},
		{"plain HTTP of a release that says nothing", nobody, "http://blog.test/", "", "200 blog"},
		{"challenges", nobody, "http://shop.test/.well-known/acme-challenge/x", "", "404 no such challenge"},
		{"challenges over HTTPS", nobody, "https://shop.test/.well-known/acme-challenge/x", "", "404 no such challenge"},
		{"HTTPS", nobody, "https://shop.test/", "", "200 certificate false " + hsts},
		{"an error", nobody, "https://shop.test/none", "", "404 not found " + hsts},
		{"HTTPS of a release that says nothing", nobody, "https://blog.test/", "", "200 blog"},
		{"no certificate", nobody, "https://shop.test/partners/x", "", "404 not found " + hsts},
		{"a certificate", known, "https://shop.test/partners/x", "", "200 certificate true " + hsts},
		{"a route that does not ask", known, "https://shop.test/", "", "200 certificate false " + hsts},
		{"a host of another app", known, "https://shop.test/", "blog.test", "421 this connection was made for another host; use one of its own"},
		{"the other way", nobody, "https://blog.test/", "shop.test", "421 this connection was made for another host; use one of its own"},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, tt.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = tt.host
		req.Header.Set("Client-Cert", ":MIIforged:")
		res, err := tt.client.Do(req)
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		text := strings.TrimSpace(string(body))
		if to := res.Header.Get("Location"); to != "" {
			text = to
		}
		got := strings.TrimSpace(fmt.Sprint(res.StatusCode, " ", text, " ", res.Header.Get("Strict-Transport-Security")))
		if got != tt.want {
			t.Errorf("%s: %s = %q, want %q", tt.name, tt.url, got, tt.want)
		}
	}
	if out, err := n.orla("routes", "explain", "http://shop.test/partners/../partners/x?y"); err != nil || !strings.Contains(out, "redirect 308 https://shop.test/partners/x?y, before any route") {
		t.Errorf("explain: %v\n%s", err, out)
	}
	if out, err := n.orla("routes", "explain", "https://shop.test/partners/x", "--client-cert", "alice.example"); err != nil || strings.Contains(out, "308") || !strings.Contains(out, "answer proxy") {
		t.Errorf("explain with a certificate: %v\n%s", err, out)
	}
	if res, err := browser(t, n, &stranger).Get("https://shop.test/"); err == nil {
		res.Body.Close()
		t.Errorf("a certificate of a CA that is not the release's: %s, want the handshake refused", res.Status)
	}
}
