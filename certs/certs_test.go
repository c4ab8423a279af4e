package certs

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// open makes a Manager for hosts, patterns as in routes, until the test ends.
func open(t testing.TB, cfg Config, hosts ...string) *Manager {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = filepath.Join(t.TempDir(), "certs")
	}
	if cfg.Hosts == nil {
		cfg.Hosts = func(host string) bool { return served(hosts, host) }
	}
	m, err := New(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

func named(names ...string) []Host {
	hosts := make([]Host, len(names))
	for i, name := range names {
		hosts[i].Name = name
	}
	return hosts
}

func served(patterns []string, host string) bool {
	for _, p := range patterns {
		suffix, wildcard := strings.CutPrefix(p, "*")
		if p == host || wildcard && strings.HasSuffix(host, suffix) {
			return true
		}
	}
	return false
}

// listen serves handshakes until the test ends.
func listen(t testing.TB, m *Manager) net.Addr {
	t.Helper()
	ln, err := tls.Listen("tcp", "127.0.0.1:0", m.TLSConfig())
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				_ = c.(*tls.Conn).Handshake()
				_, _ = io.Copy(io.Discard, c)
				c.Close()
			})
		}
	})
	t.Cleanup(func() { ln.Close(); wg.Wait() })
	return ln.Addr()
}

// handshake connects as a client that trusts the root and expects name.
func handshake(t testing.TB, m *Manager, addr net.Addr, name string) (tls.ConnectionState, error) {
	t.Helper()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(m.Root()) {
		t.Fatal("Root is no certificate")
	}
	c, err := tls.Dial("tcp", addr.String(), &tls.Config{ServerName: name, RootCAs: roots, NextProtos: []string{"h2", "http/1.1"}})
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer c.Close()
	return c.ConnectionState(), nil
}

func TestHandshake(t *testing.T) {
	hosts := []string{"shop.example", "*.wild.example", "*.tld"}
	m := open(t, Config{}, hosts...)
	if err := m.Manage(t.Context(), named(hosts...)); err != nil {
		t.Fatal(err)
	}
	addr := listen(t, m)
	for _, tt := range []struct{ name, cert string }{
		{"localhost", "localhost"},
		{"foo.localhost", "foo.localhost"},
		{"a.b.localhost", "a.b.localhost"},
		{"127.0.0.1", "127.0.0.1"}, // no SNI
		{"shop.example", "shop.example"},
		{"SHOP.example", "shop.example"},
		{"a.wild.example", "*.wild.example"},
		{"b.wild.example", "*.wild.example"},
		{"a.b.wild.example", "a.b.wild.example"}, // a wildcard certificate covers one label
		{"one.tld", "one.tld"},                   // and clients refuse one for a whole top-level domain
	} {
		state, err := handshake(t, m, addr, tt.name)
		if err != nil {
			t.Errorf("handshake with %s: %v", tt.name, err)
			continue
		}
		leaf := state.PeerCertificates[0]
		subjects := append([]string(nil), leaf.DNSNames...)
		for _, ip := range leaf.IPAddresses {
			subjects = append(subjects, ip.String())
		}
		if fmt.Sprint(subjects) != "["+tt.cert+"]" {
			t.Errorf("handshake with %s: certificate for %v, want %s", tt.name, subjects, tt.cert)
		}
		if state.NegotiatedProtocol != "h2" || state.Version != tls.VersionTLS13 || state.CurveID != tls.X25519MLKEM768 {
			t.Errorf("handshake with %s: %s, %x, %v", tt.name, state.NegotiatedProtocol, state.Version, state.CurveID)
		}
	}
}

func TestUnknownHostsAreRefused(t *testing.T) {
	m := open(t, Config{}, "shop.example")
	if err := m.Manage(t.Context(), named("shop.example")); err != nil {
		t.Fatal(err)
	}
	addr := listen(t, m)
	before := m.local.count()
	for _, name := range []string{"evil.example", "wild.example", "x.shop.example", "shop.example.evil", "localhost.evil", "notlocalhost"} {
		_, err := handshake(t, m, addr, name)
		if err == nil || !strings.Contains(err.Error(), "unrecognized name") {
			t.Errorf("handshake with %s: %v, want the alert unrecognized_name", name, err)
		}
	}
	if m.local.count() != before || len(m.local.store.subjects()) != before {
		t.Errorf("%d names, %d stored, want %d", m.local.count(), len(m.local.store.subjects()), before)
	}
}

func TestSubjectOf(t *testing.T) {
	local := addrConn{addr: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 443}}
	local6 := addrConn{addr: &net.TCPAddr{IP: net.ParseIP("fe80::1"), Port: 443, Zone: "eth0"}}
	for _, tt := range []struct {
		sni  string
		conn net.Conn
		want string
	}{
		{"Shop.Example", local, "shop.example"},
		{"shop.example.", local, "shop.example"},
		{"", local, "192.0.2.1"},
		{"", local6, "fe80::1"},
		{"", nil, ""},
		{"192.0.2.1", local, "192.0.2.1"},
		{"192.0.2.2", local, ""},
		{"*.example", local, ""},
		{"a..b", local, ""},
		{".", local, "192.0.2.1"},
		{"-", local, "-"},
		{"../../etc", local, ""},
		{"a b", local, ""},
		{"é.example", local, ""},
		{strings.Repeat("a", 64) + ".example", local, ""},
		{strings.Repeat("a.", 127) + "example", local, ""},
	} {
		if got := subjectOf(&tls.ClientHelloInfo{ServerName: tt.sni, Conn: tt.conn}); got != tt.want {
			t.Errorf("subjectOf(%q) = %q, want %q", tt.sni, got, tt.want)
		}
	}
}

type addrConn struct {
	net.Conn
	addr net.Addr
}

func (c addrConn) LocalAddr() net.Addr { return c.addr }

func FuzzSubjectOf(f *testing.F) {
	for _, s := range []string{"a.example", "", "[::1]", "*", "..", "::1%eth0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, sni string) {
		got := subjectOf(&tls.ClientHelloInfo{ServerName: sni})
		if got != "" && !validHost(got) {
			t.Errorf("subjectOf(%q) = %q", sni, got)
		}
	})
}

func TestRacingHandshakesShareACertificate(t *testing.T) {
	m := open(t, Config{}, "*")
	addr := listen(t, m)
	serials := make(chan string, 8)
	var wg sync.WaitGroup
	for range cap(serials) {
		wg.Go(func() {
			state, err := handshake(t, m, addr, "new.example")
			if err != nil {
				t.Error(err)
				return
			}
			serials <- state.PeerCertificates[0].SerialNumber.String()
		})
	}
	wg.Wait()
	close(serials)
	seen := map[string]bool{}
	for s := range serials {
		seen[s] = true
	}
	if len(seen) != 1 {
		t.Errorf("%d certificates for one name, want 1", len(seen))
	}
}

func TestOnDemandIsBounded(t *testing.T) {
	m := open(t, Config{MaxOnDemand: 3, OnDemandRate: 1}, "*", "shop.example")
	if err := m.Manage(t.Context(), named("shop.example", "*")); err != nil {
		t.Fatal(err)
	}
	issued := 0
	for i := range 30 {
		cert, err := m.certificate(t.Context(), fmt.Sprintf("h%d.example", i))
		if err == nil && cert != nil {
			issued++
		} else if !errors.Is(err, errBudget) {
			t.Fatal(err)
		}
	}
	if issued < 10 || issued > 15 {
		t.Errorf("%d certificates at once, want about 10", issued)
	}
	if m.local.count() != 4 || len(m.local.store.subjects()) != 4 || len(m.local.store.files) != 12 {
		t.Errorf("%d names, %d stored in %d files, want 3 on demand and 1 managed", m.local.count(), len(m.local.store.subjects()), len(m.local.store.files))
	}
	// What was used last is still there, and costs no budget.
	for _, host := range []string{"shop.example", fmt.Sprintf("h%d.example", issued-1)} {
		if cert, err := m.certificate(t.Context(), host); cert == nil || err != nil {
			t.Errorf("%s: %v, want its certificate", host, err)
		}
	}
}

func TestManageIsTheWholeState(t *testing.T) {
	m := open(t, Config{MaxManaged: 3}, "*")
	for _, tt := range []struct {
		hosts []string
		want  []string
		bad   string // in the error
	}{
		{[]string{"a.example", "b.example"}, []string{"a.example", "b.example"}, ""},
		{[]string{"b.example", "*.c.example", "*", "*.tld"}, []string{"b.example", "*.c.example"}, ""},
		{[]string{"B.example", "no host", "x..y"}, []string{"b.example"}, `"no host"`},
		{[]string{"1.example", "2.example", "3.example", "4.example"}, []string{"1.example", "2.example", "3.example"}, ""},
		{nil, nil, ""},
	} {
		err := m.Manage(t.Context(), named(tt.hosts...))
		if (err == nil) != (tt.bad == "") || err != nil && !strings.Contains(err.Error(), tt.bad) {
			t.Errorf("Manage(%q) = %v", tt.hosts, err)
		}
		if m.local.count() != len(tt.want) || len(m.local.store.subjects()) != len(tt.want) {
			t.Errorf("Manage(%q): %d names, %d stored, want %d", tt.hosts, m.local.count(), len(m.local.store.subjects()), len(tt.want))
		}
		for _, subject := range tt.want {
			if m.local.valid(subject) == nil {
				t.Errorf("Manage(%q): no certificate for %s", tt.hosts, subject)
			}
		}
	}
}

// The clock is virtual: certmagic's maintenance runs for months.
func TestRenewal(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		m := open(t, Config{Dir: dir}, "*")
		defer m.Close()
		hosts := []string{"managed.example", "demand.example"}
		if err := m.Manage(t.Context(), named(hosts[:1]...)); err != nil {
			t.Fatal(err)
		}
		last := map[string]string{}
		renewed := map[string]int{}
		for range 60 { // days: longer than an intermediate lives
			for _, host := range hosts {
				cert, err := m.certificate(t.Context(), host)
				if err != nil || cert == nil {
					t.Fatalf("%s after %v: %v", host, time.Now(), err)
				}
				verify(t, m, cert, host)
				if left := time.Until(cert.Leaf.NotAfter); left < 2*24*time.Hour {
					t.Fatalf("%s has %v left: not renewed", host, left)
				}
				if serial := cert.Leaf.SerialNumber.String(); serial != last[host] {
					last[host] = serial
					renewed[host]++
				}
			}
			time.Sleep(24 * time.Hour)
		}
		for _, host := range hosts {
			if renewed[host] < 12 || renewed[host] > 15 {
				t.Errorf("%s: %d certificates in 60 days, want one each 4.7 days", host, renewed[host])
			}
		}
		if len(m.local.store.subjects()) != 2 {
			t.Errorf("%d subjects stored, want 2", len(m.local.store.subjects()))
		}
	})
}

// A machine that slept wakes up with certificates that have expired.
func TestExpiredCertificateIsReplacedInTheHandshake(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		m := open(t, Config{Dir: dir}, "*")
		if err := m.Manage(t.Context(), named("a.example")); err != nil {
			t.Fatal(err)
		}
		if err := m.Close(); err != nil { // nobody renews
			t.Fatal(err)
		}
		time.Sleep(30 * 24 * time.Hour)
		cert, err := m.certificate(t.Context(), "a.example")
		if err != nil {
			t.Fatal(err)
		}
		verify(t, m, cert, "a.example")
	})
}

func verify(t *testing.T, m *Manager, cert *tls.Certificate, host string) {
	t.Helper()
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AppendCertsFromPEM(m.Root())
	for _, der := range cert.Certificate[1:] {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		between.AddCert(c)
	}
	if _, err := cert.Leaf.Verify(x509.VerifyOptions{DNSName: host, Roots: roots, Intermediates: between}); err != nil {
		t.Fatalf("verify certificate of %s: %v", host, err)
	}
}

func TestSweepForgetsWhatIsNoLongerServed(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var hosts atomic.Pointer[[]string]
		hosts.Store(&[]string{"a.example", "b.example"})
		m := open(t, Config{Dir: dir, Hosts: func(host string) bool { return served(*hosts.Load(), host) }})
		defer m.Close()
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { m.Run(ctx) })
		for _, host := range []string{"a.example", "b.example", "localhost"} {
			if cert, err := m.certificate(t.Context(), host); cert == nil || err != nil {
				t.Fatalf("%s: %v", host, err)
			}
		}
		hosts.Store(&[]string{"a.example"})
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if m.local.count() != 2 || m.local.valid("b.example") != nil || m.local.valid("a.example") == nil {
			t.Errorf("%d names, want a.example and localhost", m.local.count())
		}
		cancel()
		running.Wait()
	})
}

func TestRestartKeepsTheRoot(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "certs")
	first := open(t, Config{Dir: dir})
	second := open(t, Config{Dir: dir})
	if !bytes.Equal(first.Root(), second.Root()) || first.Fingerprint() != second.Fingerprint() {
		t.Error("the root changed")
	}
	onDisk, err := os.ReadFile(second.RootPath())
	if err != nil || !bytes.Equal(onDisk, second.Root()) {
		t.Errorf("%s does not hold the root: %v", second.RootPath(), err)
	}
	if got, err := Fingerprint(onDisk); err != nil || got != second.Fingerprint() || len(got) != 95 {
		t.Errorf("Fingerprint = %q, %v, want %q", got, err, second.Fingerprint())
	}
	for name, mode := range map[string]os.FileMode{rootFile: 0o644, keyFile: 0o600} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: mode %v, %v, want %v", name, info.Mode(), err, mode)
		}
	}
	// A client that trusts what the first start made trusts the second.
	addr := listen(t, second)
	if _, err := handshake(t, first, addr, "localhost"); err != nil {
		t.Error(err)
	}
}

func TestLostRootIsMadeAnewForTheKey(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "certs")
	first := open(t, Config{Dir: dir})
	if err := os.Remove(first.RootPath()); err != nil {
		t.Fatal(err)
	}
	second := open(t, Config{Dir: dir})
	addr := listen(t, second)
	if _, err := handshake(t, first, addr, "localhost"); err != nil {
		t.Errorf("a client that trusts the first root: %v", err)
	}
}

func TestDamagedFilesAreNamed(t *testing.T) {
	other := open(t, Config{})
	otherRoot := other.Root()
	for _, tt := range []struct {
		name, file string
		content    []byte // nil removes it
		want       string
	}{
		{"key cut short", keyFile, []byte("-----BEGIN PRIVATE KEY-----\nMIGH"), "it is damaged"},
		{"key empty", keyFile, []byte{}, "it is damaged"},
		{"key is text", keyFile, []byte("-----BEGIN PRIVATE KEY-----\naGVsbG8=\n-----END PRIVATE KEY-----\n"), "no PKCS #8 key"},
		{"key lost", keyFile, nil, "is missing"},
		{"root cut short", rootFile, []byte("-----BEGIN CERTIFICATE-----\nMIGH"), "it is damaged"},
		{"root is text", rootFile, []byte("-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n"), "it is damaged"},
		{"root of another CA", rootFile, otherRoot, "does not belong to the key"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "certs")
			open(t, Config{Dir: dir})
			file := filepath.Join(dir, tt.file)
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
			if tt.content != nil {
				if err := os.WriteFile(file, tt.content, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			_, err := New(t.Context(), Config{Dir: dir})
			if err == nil {
				t.Fatal("New succeeded")
			}
			for _, want := range []string{file, tt.want, "backup", "remove"} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
		})
	}
}

func TestKeyModeIsTightened(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "certs")
	open(t, Config{Dir: dir})
	file := filepath.Join(dir, keyFile)
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	open(t, Config{Dir: dir, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v, want 0600", info.Mode(), err)
	}
	if !strings.Contains(log.String(), file) {
		t.Errorf("log %q does not name the file", log.String())
	}
}

// The log at its most talkative has what failed, and no key.
func TestLog(t *testing.T) {
	var log bytes.Buffer
	var mu sync.Mutex
	handler := slog.NewTextHandler(lockedWriter{&mu, &log}, &slog.HandlerOptions{Level: slog.LevelDebug})
	m := open(t, Config{Logger: slog.New(handler)}, "*")
	if err := m.Manage(t.Context(), named("a.example")); err != nil {
		t.Fatal(err)
	}
	if _, err := m.certificate(t.Context(), "b.example"); err != nil {
		t.Fatal(err)
	}
	m.Close()
	mu.Lock()
	defer mu.Unlock()
	text := log.String()
	if !strings.Contains(text, "certmagic: ") || strings.Contains(text, "level=INFO") {
		t.Errorf("certmagic's doings are not at Debug:\n%s", text)
	}
	if strings.Contains(text, "PRIVATE KEY") {
		t.Error("a key is in the log")
	}
}

type lockedWriter struct {
	mu *sync.Mutex
	w  io.Writer
}

func (w lockedWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.w.Write(p)
}

func BenchmarkLookup(b *testing.B) {
	m := open(b, Config{}, "*")
	hosts := make([]string, 1000)
	for i := range hosts {
		hosts[i] = fmt.Sprintf("h%d.example", i)
	}
	if err := m.Manage(context.Background(), named(hosts...)); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if cert, err := m.certificate(context.Background(), "h500.example"); cert == nil || err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkIssue(b *testing.B) {
	m := open(b, Config{}, "*")
	i := 0
	for b.Loop() {
		i++
		if err := m.local.ensure(context.Background(), fmt.Sprintf("h%d.example", i), true); err != nil {
			b.Fatal(err)
		}
	}
}
