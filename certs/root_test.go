package certs

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

// trusts reports whether a client that trusts root only takes a node's certificate.
func trusts(t *testing.T, root []byte, m *Manager, host string) bool {
	t.Helper()
	cert, err := m.certificate(context.Background(), host)
	if err != nil || cert == nil {
		t.Fatalf("certificate of %q: %v, %v", host, cert, err)
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AppendCertsFromPEM(root)
	for _, der := range cert.Certificate[1:] {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		between.AddCert(c)
	}
	_, err = cert.Leaf.Verify(x509.VerifyOptions{DNSName: host, Roots: roots, Intermediates: between})
	return err == nil
}

// TestRootIsShared: who trusts one node's CA trusts all, whatever they had before.
func TestRootIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t, 24*time.Hour, "shop.example", "asked.example")
		var nodes []*Manager
		dirs := map[string]string{}
		own := map[string][]byte{}
		for _, name := range []string{"n1", "n2", "e1"} {
			dirs[name] = filepath.Join(t.TempDir(), "certs")
			alone := open(t, Config{Dir: dirs[name]})
			own[name] = alone.Root()
			m, _ := g.add(name, func(c *Config) { internalMode(c); c.Dir, c.Lead = dirs[name], name != "e1" })
			g.manage(m, Host{Name: "shop.example"})
			if _, err := m.certificate(t.Context(), "asked.example"); err != nil {
				t.Fatal(err)
			}
			nodes = append(nodes, m)
			synctest.Wait()
		}
		time.Sleep(time.Minute)
		root := own["n1"] // it led first
		for i, m := range nodes {
			name := []string{"n1", "n2", "e1"}[i]
			if !bytes.Equal(m.Root(), root) || m.Fingerprint() != nodes[0].Fingerprint() {
				t.Errorf("%s: another root", name)
			}
			for _, host := range []string{"shop.example", "asked.example", "localhost"} {
				if !trusts(t, root, m, host) {
					t.Errorf("%s: %s's certificate is not of the shared root", name, host)
				}
			}
			onDisk, err := os.ReadFile(m.RootPath())
			if err != nil || !bytes.Equal(onDisk, root) {
				t.Errorf("%s: another root on disk: %v", name, err)
			}
			if again := open(t, Config{Dir: dirs[name]}); !bytes.Equal(again.Root(), root) {
				t.Errorf("%s: another root when started without the others", name)
			}
			if name == "n1" {
				continue
			}
			for file, mode := range map[string]os.FileMode{rootFile: 0o644, keyFile: 0o600, rootFile + oldSuffix: 0o644, keyFile + oldSuffix: 0o600} {
				info, err := os.Stat(filepath.Join(dirs[name], file))
				if err != nil || info.Mode().Perm() != mode {
					t.Errorf("%s: %s: %v, %v, want mode %v", name, file, info, err, mode)
				}
			}
			if kept, err := os.ReadFile(filepath.Join(dirs[name], rootFile+oldSuffix)); err != nil || !bytes.Equal(kept, own[name]) {
				t.Errorf("%s: its own root is not kept: %v", name, err)
			}
		}
		late, _ := g.add("n4", internalMode)
		if !bytes.Equal(late.Root(), root) {
			t.Error("a node that comes later has another root before it serves")
		}
	})
}

// TestReissueRaces: handshakes go on while the CA is replaced, and no certificate of the
// one before stays.
func TestReissueRaces(t *testing.T) {
	hosts := []string{"a.example", "b.example", "c.example", "d.example"}
	m := open(t, Config{OnDemandRate: 10_000}, hosts...)
	if err := m.Manage(t.Context(), named(hosts[:2]...)); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	for _, host := range hosts {
		running.Go(func() {
			for ctx.Err() == nil {
				if cert, err := m.certificate(ctx, host); (cert == nil || err != nil) && ctx.Err() == nil {
					t.Errorf("%s: %v, %v", host, cert, err)
				}
			}
		})
	}
	for range 5 {
		root, key := open(t, Config{}).local.ca.own()
		if changed, err := m.local.ca.adopt(root, key); !changed || err != nil {
			t.Fatal(changed, err)
		}
		m.local.reissue(ctx)
		if strays := m.local.strays(); len(strays) > 0 {
			t.Errorf("%q are of the CA before", strays)
		}
	}
	stop()
	running.Wait()
	for _, host := range hosts {
		if !trusts(t, m.Root(), m, host) {
			t.Errorf("%s: of a CA before", host)
		}
	}
}

// TestCrashWhileAdopting: whatever files a crash leaves, the node starts, and adopts then.
func TestCrashWhileAdopting(t *testing.T) {
	old, shared := open(t, Config{}), open(t, Config{})
	read := func(m *Manager, name string) []byte {
		text, err := os.ReadFile(m.local.ca.path(name))
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	root, key := shared.local.ca.own()
	for _, tt := range []struct {
		name  string
		files map[string][]byte
	}{
		{"before", map[string][]byte{rootFile: read(old, rootFile), keyFile: read(old, keyFile)}},
		{"root removed", map[string][]byte{keyFile: read(old, keyFile)}},
		{"key written", map[string][]byte{keyFile: read(shared, keyFile)}},
		{"after", map[string][]byte{rootFile: read(shared, rootFile), keyFile: read(shared, keyFile)}},
	} {
		dir := t.TempDir()
		for name, text := range tt.files {
			if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		m := open(t, Config{Dir: dir})
		if _, err := m.local.ca.adopt(root, key); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if !bytes.Equal(m.Root(), shared.Root()) || !trusts(t, shared.Root(), m, "localhost") {
			t.Errorf("%s: another root", tt.name)
		}
	}
}

// TestUnusableRoot: a node goes on with its own CA; one that has expired is replaced.
func TestUnusableRoot(t *testing.T) {
	for _, tt := range []struct {
		name    string
		record  func(g *group, m *Manager) *orlav1.CertRoot
		replace bool
	}{
		{"damaged", func(*group, *Manager) *orlav1.CertRoot {
			return &orlav1.CertRoot{Certificate: []byte("x"), Key: []byte("y")}
		}, false},
		{"another cluster's", func(_ *group, m *Manager) *orlav1.CertRoot { return rootRecord(t, m, testKey(t)) }, false},
		{"another's key", func(g *group, m *Manager) *orlav1.CertRoot {
			r := rootRecord(t, m, g.key)
			r.Certificate = newTestCA(t, time.Hour).ca.root.Raw
			return r
		}, false},
		{"expired", func(g *group, m *Manager) *orlav1.CertRoot {
			r := rootRecord(t, m, g.key)
			time.Sleep(rootLifetime + time.Hour)
			return r
		}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGroup(t, 24*time.Hour)
				value, err := proto.Marshal(tt.record(g, open(t, Config{})))
				if err != nil {
					t.Fatal(err)
				}
				if err := g.as("x").Commit(t.Context(), rootKey, value, 0); err != nil {
					t.Fatal(err)
				}
				m, _ := g.add("n1", internalMode)
				root := m.Root()
				time.Sleep(time.Minute)
				if !bytes.Equal(m.Root(), root) || !trusts(t, root, m, "localhost") {
					t.Error("not its own root")
				}
				if replaced := !bytes.Equal(m.book.entry(rootKey).Value, value); replaced != tt.replace {
					t.Errorf("replaced %v, want %v", replaced, tt.replace)
				}
			})
		})
	}
}

func rootRecord(t *testing.T, m *Manager, s Sealer) *orlav1.CertRoot {
	t.Helper()
	root, key := m.local.ca.own()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := s.Seal(der, rootKey)
	if err != nil {
		t.Fatal(err)
	}
	return &orlav1.CertRoot{Certificate: root.Raw, Key: sealed}
}

// TestGrow: what a node has sealed while it was alone, all can open once it is among
// others, even if another leads: nobody has to trust anything anew.
func TestGrow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t, 24*time.Hour, "shop.example")
		cluster, alone := g.key, testKey(t)
		dir := filepath.Join(t.TempDir(), "certs")
		g.key = alone
		solo, stop := g.add("n1", func(c *Config) { c.Dir = dir })
		g.manage(solo, Host{Name: "shop.example"})
		time.Sleep(time.Minute)
		before, err := solo.certificate(t.Context(), "shop.example")
		if err != nil || before == nil {
			t.Fatal(before, err)
		}
		account := &orlav1.CertAccount{Directory: "https://ca.example/dir"}
		if account.Key, err = alone.Seal([]byte("account"), accountPrefix+"x"); err != nil {
			t.Fatal(err)
		}
		value, err := proto.Marshal(account)
		if err != nil {
			t.Fatal(err)
		}
		if err := g.as("n1").Commit(t.Context(), accountPrefix+"x", value, 0); err != nil {
			t.Fatal(err)
		}
		root := solo.Root()
		stop()
		g.mu.Lock()
		g.managers = nil
		g.mu.Unlock()

		g.key = cluster
		other, _ := g.add("n2", nil) // leads, and can open nothing yet
		synctest.Wait()
		if bytes.Equal(other.Root(), root) {
			t.Fatal("n2 could open what n1 has sealed with its own key")
		}
		g.setCut("n1", true) // for a while
		again, _ := g.add("n1", func(c *Config) { c.Dir, c.OldSealer = dir, alone })
		if cert, err := again.certificate(t.Context(), "shop.example"); err != nil || !bytes.Equal(cert.Certificate[0], before.Certificate[0]) {
			t.Errorf("n1 has another certificate: %v", err)
		}
		time.Sleep(time.Minute)
		g.setCut("n1", false)
		time.Sleep(time.Minute)
		for i, m := range []*Manager{again, other} {
			if !bytes.Equal(m.Root(), root) {
				t.Errorf("n%d: another root", i+1)
			}
			if cert, err := m.certificate(t.Context(), "shop.example"); err != nil || cert == nil || !bytes.Equal(cert.Certificate[0], before.Certificate[0]) {
				t.Errorf("n%d: another certificate: %v", i+1, err)
			}
			if keys := m.configs.Load().keys; len(keys) == 0 || !slices.Equal(keys, again.configs.Load().keys) {
				t.Errorf("n%d: %d keys of session tickets, want as many as n1", i+1, len(keys))
			}
		}
		if g.ca.issued.Load() != 1 {
			t.Errorf("%d certificates ordered, want 1", g.ca.issued.Load())
		}
		var sealedAnew orlav1.CertAccount
		if err := proto.Unmarshal(other.book.entry(accountPrefix+"x").Value, &sealedAnew); err != nil {
			t.Fatal(err)
		}
		if text, err := cluster.Open(sealedAnew.GetKey(), accountPrefix+"x"); err != nil || string(text) != "account" {
			t.Errorf("the account's key: %q, %v", text, err)
		}
		for _, e := range other.book.sealedSince(0) {
			if resealed(e, sealing{cluster, alone}) != nil {
				t.Errorf("%s is still sealed with n1's own key", e.Key)
			}
		}
	})
}

// TestRotateRoot: a new root takes the old one's place on every node, whichever of them is
// told to, and no certificate of the old one is left; who was away has it when it is back.
func TestRotateRoot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t, 24*time.Hour, "shop.example", "asked.example")
		hosts := []string{"shop.example", "asked.example", "localhost"}
		nodes, stops := map[string]*Manager{}, map[string]func(){}
		start := func(name, dir string) {
			m, stop := g.add(name, func(c *Config) { internalMode(c); c.Dir, c.Lead = dir, name != "e1" })
			g.manage(m, Host{Name: "shop.example"})
			nodes[name], stops[name] = m, stop
		}
		away := filepath.Join(t.TempDir(), "certs")
		for _, name := range []string{"n1", "n2", "n3", "e1"} {
			dir := filepath.Join(t.TempDir(), "certs")
			if name == "n3" {
				dir = away
			}
			start(name, dir)
		}
		time.Sleep(time.Minute)
		old := nodes["n1"].Root()
		for name, m := range nodes {
			for _, host := range hosts {
				if !trusts(t, old, m, host) {
					t.Fatalf("%s: %s's certificate is not of the shared root", name, host)
				}
			}
		}
		g.leave("n3", stops["n3"])

		told, err := nodes["n2"].RotateRoot(t.Context(), &orlav1.RotateRootRequest{DryRun: true})
		if err != nil || told.GetRoot() != nil || told.GetFormer().GetFingerprint() != nodes["n1"].Fingerprint() {
			t.Errorf("asked only: %v, %v", told, err)
		}
		g.setCut("n2", true)
		if res, err := nodes["n2"].RotateRoot(t.Context(), &orlav1.RotateRootRequest{}); !errors.Is(err, errCut) {
			t.Errorf("without the register: %v, %v", res, err)
		}
		g.setCut("n2", false)
		for name, m := range nodes {
			if !bytes.Equal(m.Root(), old) {
				t.Errorf("%s: another root, though nothing was to change", name)
			}
		}

		res, err := nodes["n2"].RotateRoot(t.Context(), &orlav1.RotateRootRequest{}) // it does not lead
		if err != nil || res.GetFormer().GetPem() != string(old) {
			t.Fatalf("RotateRoot = %v, %v", res, err)
		}
		synctest.Wait()
		start("n3", away)
		start("n4", filepath.Join(t.TempDir(), "certs"))
		synctest.Wait()
		root := []byte(res.GetRoot().GetPem())
		for name, m := range nodes {
			if !bytes.Equal(m.Root(), root) || m.Fingerprint() != res.GetRoot().GetFingerprint() {
				t.Errorf("%s: not the new root", name)
			}
			if strays := m.local.strays(); len(strays) > 0 {
				t.Errorf("%s: %q are of the old root", name, strays)
			}
			for _, host := range hosts {
				if !trusts(t, root, m, host) || trusts(t, old, m, host) {
					t.Errorf("%s: %s's certificate is not of the new root", name, host)
				}
			}
			if onDisk, err := os.ReadFile(m.RootPath()); err != nil || !bytes.Equal(onDisk, root) {
				t.Errorf("%s: another root on disk: %v", name, err)
			}
		}
		_, key := nodes["n1"].local.ca.own()
		private, err := key.(*ecdsa.PrivateKey).Bytes()
		if err != nil || bytes.Contains(nodes["n1"].book.entry(rootKey).Value, private) {
			t.Errorf("the register holds the root's key as it is: %v", err)
		}
	})
}

// TestRotateRootAlone: a node that shares nothing is told what to do instead.
func TestRotateRootAlone(t *testing.T) {
	m := open(t, Config{})
	if res, err := m.RotateRoot(t.Context(), &orlav1.RotateRootRequest{}); err == nil || !strings.Contains(err.Error(), m.RootPath()) {
		t.Errorf("RotateRoot = %v, %v", res, err)
	}
}
