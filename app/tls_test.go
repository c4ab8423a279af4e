package app_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/orla-edge/orla/app"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

// clientCA returns the certificate of a new CA in PEM.
func clientCA(tb testing.TB) string {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Clients"}, NotAfter: time.Now().Add(time.Hour),
		BasicConstraintsValid: true, IsCA: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		tb.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func TestTLSIsPacked(t *testing.T) {
	first, second, third := clientCA(t), clientCA(t), clientCA(t)
	for _, tt := range []struct {
		name, tls string
		want      *orlav1.Tls
	}{
		{"nothing", "", nil},
		{"an empty table", "[tls]\n", nil},
		{"defaults written out", "[tls]\non_demand = false\n", nil},
		{"no redirect", "[tls]\nredirect = false\n", &orlav1.Tls{Redirect: new(false)}},
		{"hsts", "[tls]\nhsts = { max_age = \"180d\", include_subdomains = true }\n", &orlav1.Tls{Hsts: &orlav1.Hsts{MaxAge: durationpb.New(180 * 24 * time.Hour), IncludeSubdomains: true}}},
		{"hsts taken back", "[tls]\nhsts = { max_age = \"0d\" }\n", &orlav1.Tls{Hsts: &orlav1.Hsts{MaxAge: durationpb.New(0)}}},
		{"on demand", "[tls]\non_demand = true\n", &orlav1.Tls{OnDemand: true}},
		{"CAs", "[tls]\nclient_ca = [\"keys/ca.pem\", \"\"\"\n" + third + "\"\"\"]\n", &orlav1.Tls{ClientCa: []string{first + second, third}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, filepath.Join(dir, "keys", "ca.pem"), "Two CAs:\n"+first+"and\n"+strings.ReplaceAll(second, "\n", "\r\n"))
			write(t, filepath.Join(dir, "public", "index.html"), "x")
			write(t, filepath.Join(dir, app.AppFile), "name = \"shop\"\nhosts = [\"shop.example\"]\n[site]\n"+tt.tls)
			write(t, filepath.Join(dir, app.RoutesFile), "name = \"edge\"\nhosts = [\"shop.example\"]\n"+tt.tls+"\n[[routes]]\nmatch.path = \"/r\"\nrespond = {}\n")
			p, err := app.Pack(t.Context(), app.Options{Path: dir})
			if err != nil {
				t.Fatal(err)
			}
			set, err := app.Routes(dir)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range []*orlav1.Manifest{p.Manifest, set.Manifest} {
				if diff := cmp.Diff(tt.want, m.GetTls(), protocmp.Transform()); diff != "" {
					t.Errorf("%s: tls differs, - want + got:\n%s", m.GetName(), diff)
				}
			}
		})
	}
}

func TestClientCAIsNoFileOfTheSite(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "ca.pem"), clientCA(t))
	write(t, filepath.Join(dir, "index.html"), "x")
	write(t, filepath.Join(dir, app.AppFile), "name = \"shop\"\n[site]\ndir = \".\"\n[tls]\nclient_ca = [\"ca.pem\"]\n")
	p, err := app.Pack(t.Context(), app.Options{Path: dir})
	if err != nil {
		t.Fatal(err)
	}
	if files := p.Manifest.GetSite().GetFiles(); len(files) != 1 || files[0].GetPath() != "/index.html" {
		t.Errorf("the site has %v, want /index.html alone", files)
	}
}
