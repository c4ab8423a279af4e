package certs

import (
	"context"
	"encoding/base64"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libdns/libdns"
	"github.com/miekg/dns"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

const testZone = "zone.test."

// nameServer has a zone, and lets who has the key change its TXT records.
type nameServer struct {
	addr   string
	key    string
	also   func(name, value string) error // nil is fine
	refuse bool

	mu  sync.Mutex // guards txt
	txt map[string][]string
}

func newNameServer(t *testing.T) *nameServer {
	t.Helper()
	s := &nameServer{key: base64.StdEncoding.EncodeToString([]byte("a key of the server's")), txt: map[string][]string{}}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	pc, err := net.ListenPacket("udp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s.addr = ln.Addr().String()
	var running sync.WaitGroup
	t.Cleanup(running.Wait)
	for _, server := range []*dns.Server{{Listener: ln}, {PacketConn: pc}} {
		started := make(chan struct{})
		server.Handler, server.TsigSecret = s, map[string]string{"orla.": s.key}
		server.MsgAcceptFunc = func(dns.Header) dns.MsgAcceptAction { return dns.MsgAccept }
		server.NotifyStartedFunc = func() { close(started) }
		running.Go(func() {
			if err := server.ActivateAndServe(); err != nil {
				t.Error(err)
			}
		})
		<-started
		t.Cleanup(func() {
			if err := server.Shutdown(); err != nil {
				t.Error(err)
			}
		})
	}
	return s
}

func (s *nameServer) values(name string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.txt[name])
}

// ServeDNS implements [dns.Handler].
func (s *nameServer) ServeDNS(w dns.ResponseWriter, r *dns.Msg) {
	answer := new(dns.Msg)
	answer.SetReply(r)
	switch {
	case r.Opcode == dns.OpcodeUpdate:
		answer.Rcode = s.update(r, w.TsigStatus())
	case r.Question[0].Qtype == dns.TypeSOA && r.Question[0].Name == testZone:
		answer.Answer = append(answer.Answer, &dns.SOA{
			Hdr: dns.RR_Header{Name: testZone, Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: 60}, Ns: "ns." + testZone, Mbox: "admin." + testZone, Refresh: 60,
		})
	case r.Question[0].Qtype == dns.TypeTXT:
		for _, v := range s.values(r.Question[0].Name) {
			answer.Answer = append(answer.Answer, &dns.TXT{
				Hdr: dns.RR_Header{Name: r.Question[0].Name, Rrtype: dns.TypeTXT, Class: dns.ClassINET}, Txt: []string{v},
			})
		}
	}
	if t := r.IsTsig(); t != nil && w.TsigStatus() == nil {
		answer.SetTsig(t.Hdr.Name, t.Algorithm, tsigFudge, time.Now().Unix())
	}
	_ = w.WriteMsg(answer) // the client finds out
}

func (s *nameServer) update(r *dns.Msg, signature error) int {
	if r.IsTsig() == nil || signature != nil {
		return dns.RcodeNotAuth
	}
	if s.refuse {
		return dns.RcodeRefused
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, rr := range r.Ns {
		txt, ok := rr.(*dns.TXT)
		if !ok {
			return dns.RcodeFormatError
		}
		name, value := txt.Hdr.Name, strings.Join(txt.Txt, "")
		if txt.Hdr.Class == dns.ClassNONE {
			s.txt[name] = slices.DeleteFunc(s.txt[name], func(v string) bool { return v == value })
			continue
		}
		s.txt[name] = append(s.txt[name], value)
		if s.also != nil {
			if err := s.also(name, value); err != nil {
				return dns.RcodeServerFailure
			}
		}
	}
	return dns.RcodeSuccess
}

// settings writes a provider's file.
func settings(t testing.TB, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "dns.json")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func (s *nameServer) settings(t *testing.T) string {
	return settings(t, `{"server": "`+s.addr+`", "key_name": "Orla", "key": "`+s.key+`"}`)
}

func TestDNSUpdate(t *testing.T) {
	s := newNameServer(t)
	d, err := LoadDNS(DNSUpdate, s.settings(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	name := "_acme-challenge." + testZone
	record := func(value string) []libdns.Record {
		return []libdns.Record{libdns.RR{Type: "TXT", Name: "_acme-challenge", Data: value}}
	}
	for _, value := range []string{"one", "two"} { // of a host and its wildcard
		if made, err := d.provider.AppendRecords(t.Context(), testZone, record(value)); err != nil || len(made) != 1 {
			t.Fatal(made, err)
		}
	}
	if got := s.values(name); !slices.Equal(got, []string{"one", "two"}) {
		t.Errorf("records %q", got)
	}
	if _, err := d.provider.DeleteRecords(t.Context(), testZone, record("one")); err != nil {
		t.Fatal(err)
	}
	if got := s.values(name); !slices.Equal(got, []string{"two"}) {
		t.Errorf("records %q after one was deleted", got)
	}
	other := &updater{server: s.addr, keyName: "orla.", algorithm: dns.HmacSHA256, key: base64.StdEncoding.EncodeToString([]byte("another"))}
	if err := other.update(t.Context(), testZone, name, "x", true); err == nil {
		t.Error("an update with another key was taken")
	}
	s.refuse = true
	if _, err := d.provider.AppendRecords(t.Context(), testZone, record("x")); err == nil || !strings.Contains(err.Error(), "update policy") {
		t.Errorf("refused: %v", err)
	} else if text := advice("*.zone.test", &issueError{Directory{URL: "https://ca.example"}, err}); !strings.Contains(text, "--acme-dns-file") {
		t.Errorf("advice %q", text)
	}
}

func TestDNSExec(t *testing.T) {
	dir := t.TempDir()
	hook := filepath.Join(dir, "hook")
	script := "#!/bin/sh\n[ \"$1\" = extra ] || exit 9\n[ \"$3\" != _acme-challenge.bad.test. ] || { echo no such zone; exit 1; }\necho \"$2 $3 $4\" >> " + dir + "/log\n"
	if err := os.WriteFile(hook, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	d, err := LoadDNS(DNSExec, settings(t, `{"command": ["`+hook+`", "extra"]}`), nil)
	if err != nil {
		t.Fatal(err)
	}
	record := []libdns.Record{libdns.RR{Type: "TXT", Name: "_acme-challenge", Data: "v$(id)"}}
	if _, err := d.provider.AppendRecords(t.Context(), testZone, record); err != nil {
		t.Fatal(err)
	}
	if _, err := d.provider.DeleteRecords(t.Context(), testZone, record); err != nil {
		t.Fatal(err)
	}
	want := "set _acme-challenge.zone.test. v$(id)\nclear _acme-challenge.zone.test. v$(id)\n"
	if got, err := os.ReadFile(filepath.Join(dir, "log")); err != nil || string(got) != want {
		t.Errorf("called with %q, %v, want %q", got, err, want)
	}
	if _, err := d.provider.AppendRecords(t.Context(), "bad.test.", record); err == nil || !strings.Contains(err.Error(), "no such zone") {
		t.Errorf("a program that fails: %v", err)
	}
}

func TestBadDNS(t *testing.T) {
	open := settings(t, `{}`)
	if err := os.Chmod(open, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, provider, file string
		resolvers            []string
		want                 string
	}{
		{"no file", DNSUpdate, "", nil, "go together"},
		{"no provider", "", settings(t, `{}`), nil, "go together"},
		{"unknown provider", "acme", settings(t, `{}`), nil, "there are rfc2136 and exec"},
		{"file not there", DNSUpdate, "/nonexistent/dns.json", nil, "--acme-dns-file"},
		{"file of all", DNSUpdate, open, nil, "chmod 600"},
		{"no JSON", DNSUpdate, settings(t, `server = "x"`), nil, "no JSON"},
		{"more than JSON", DNSUpdate, settings(t, `{} {}`), nil, "after the object"},
		{"unknown key", DNSUpdate, settings(t, `{"sever": "x"}`), nil, `unknown field "sever"`},
		{"nothing", DNSUpdate, settings(t, `{}`), nil, `"key_name", the name of the TSIG key`},
		{"no base64", DNSUpdate, settings(t, `{"server": "a", "key_name": "b", "key": "%"}`), nil, "not base64"},
		{"weak", DNSUpdate, settings(t, `{"server": "a", "key_name": "b", "key": "YQ==", "key_algorithm": "hmac-md5"}`), nil, "want hmac-sha256"},
		{"no command", DNSExec, settings(t, `{}`), nil, `"command"`},
		{"no program", DNSExec, settings(t, `{"command": ["/nonexistent/hook"]}`), nil, "/nonexistent/hook"},
		{"resolver", DNSExec, settings(t, `{}`), []string{"9.9.9.9"}, "9.9.9.9:53"},
	} {
		if _, err := LoadDNS(tt.provider, tt.file, tt.resolvers); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}

// FuzzDNSSettings: settings are refused or of use, whatever the file has.
func FuzzDNSSettings(f *testing.F) {
	f.Add([]byte(`{"server": "ns:53", "key_name": "a", "key": "YQ=="}`))
	f.Add([]byte(`{"command": ["true"]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if u, err := newUpdater(text); err == nil && (u.key == "" || u.keyName == "" || u.server == "") {
			t.Errorf("%q is taken", text)
		}
		if r, err := newRunner(text); err == nil && len(r.command) == 0 {
			t.Errorf("%q is taken", text)
		}
	})
}

// TestWildcardsNeedDNS: without DNS-01 a wildcard is not ordered, and that is told.
func TestWildcardsNeedDNS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t, 24*time.Hour, "shop.example")
		m, stop := g.add("n1", nil)
		g.manage(m, Host{Name: "*.shop.example"}, Host{Name: "shop.example"})
		time.Sleep(10 * time.Minute)
		if n := g.ca.issued.Load(); n != 1 {
			t.Errorf("%d certificates, want that of shop.example", n)
		}
		failed := m.book.failure("*.shop.example")
		if failed == nil || !strings.Contains(failed.GetError(), "--acme-dns") || failed.GetAttempts() != 0 {
			t.Fatalf("told: %v", failed)
		}
		if err := m.Renew(context.Background(), "*.shop.example"); err == nil || errors.Is(err, ErrNotLeading) {
			t.Errorf("Renew: %v", err)
		}
		stop()
		g.ca.delay = time.Minute
		m, _ = g.add("n1", func(c *Config) { c.ACME.DNS = new(DNS) })
		g.manage(m, Host{Name: "*.shop.example"}, Host{Name: "shop.example"})
		time.Sleep(30 * time.Second)
		if c, err := m.Show("*.shop.example"); err != nil || c.GetState() != orlav1.Certificate_STATE_PENDING {
			t.Errorf("while it is ordered: %v, %v", c, err)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if m.book.cert("*.shop.example") == nil || m.book.failure("*.shop.example") != nil {
			t.Errorf("not ordered once there is a way: %v\n%s", m.book.failure("*.shop.example"), g.log)
		}
	})
}
