package certs

import (
	"context"
	"crypto/x509"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/orla-edge/orla/internal/pebble"
)

// TestWildcardFromPebble: a real authority gives a wildcard for a record that a dynamic
// update brought, and the record goes again.
func TestWildcardFromPebble(t *testing.T) {
	ca, names := pebble.Start(t, pebble.Options{}), newNameServer(t)
	names.also = ca.SetTXT
	solver, err := LoadDNS(DNSUpdate, names.settings(t), []string{names.addr})
	if err != nil {
		t.Fatal(err)
	}
	register := newShared()
	m := open(t, Config{
		Mode: ModeACME, Dir: filepath.Join(t.TempDir(), "certs"), Node: "n1", Register: register.as("n1"), Sealer: testKey(t), Lead: true,
		ACME: ACME{Directories: []Directory{{URL: ca.Directory()}}, RootFile: ca.RootFile(), DNS: solver},
	}, "shop.zone.test")
	register.managers = append(register.managers, m)
	var running sync.WaitGroup
	defer running.Wait()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	running.Go(func() { m.Run(ctx) })
	if err := m.Manage(ctx, named("*.zone.test")); err != nil {
		t.Fatal(err)
	}
	limit := time.After(time.Minute)
	for m.book.cert("*.zone.test") == nil {
		select {
		case <-m.book.next():
			if failed := m.book.failure("*.zone.test"); failed != nil {
				t.Fatalf("%s\n%s", failed.GetError(), ca.Log())
			}
		case <-limit:
			t.Fatal("no certificate after a minute")
		}
	}
	cert, err := m.certificate(ctx, "shop.zone.test")
	if err != nil || cert == nil {
		t.Fatal(cert, err)
	}
	between := x509.NewCertPool()
	for _, der := range cert.Certificate[1:] {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		between.AddCert(c)
	}
	if _, err := cert.Leaf.Verify(x509.VerifyOptions{DNSName: "any.zone.test", Roots: ca.Roots(), Intermediates: between}); err != nil {
		t.Error(err)
	}
	if left := names.values("_acme-challenge." + testZone); len(left) > 0 {
		t.Errorf("records are left: %q", left)
	}
}
