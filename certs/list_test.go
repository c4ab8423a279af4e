package certs

import (
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

// TestListTellsStates: every state, and why.
func TestListTellsStates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t, 24*time.Hour, "shop.example", "late.example", "a.wild.example", "b.bare.example", "new.example", "www.own.example")
		m, _ := g.add("n1", nil)
		edge, _ := g.add("e1", func(c *Config) { c.Lead = false })
		hosts := []Host{{Name: "shop.example"}, {Name: "late.example", OnDemand: true}, {Name: "*.wild.example"}, {Name: "*"}, {Name: "localhost"}, {Name: "www.own.example"}}
		made := newMaker(t, time.Now())
		key := made.key()
		for _, name := range []string{"*.wild.example", "*.own.example"} {
			if _, _, err := m.Import(t.Context(), name, pemOf(made.leaf(key, made.mid, nil, name), made.mid.cert), keyPEM(t, key), "ci"); err != nil {
				t.Fatal(err)
			}
		}
		for _, m := range []*Manager{m, edge} {
			g.manage(m, hosts...)
		}
		down := fmt.Errorf("no CA today")
		time.Sleep(time.Second)
		g.ca.fails.Store(&down)
		for _, m := range []*Manager{m, edge} {
			g.manage(m, append(hosts, Host{Name: "failing.example"}, Host{Name: "*.bare.example"})...)
		}
		time.Sleep(time.Second)
		for _, tt := range []struct {
			host   string
			state  orlav1.Certificate_State
			source orlav1.Certificate_Source
			says   string
		}{
			{"shop.example", orlav1.Certificate_STATE_VALID, orlav1.Certificate_SOURCE_ACME, ""},
			{"late.example", orlav1.Certificate_STATE_ON_DEMAND, orlav1.Certificate_SOURCE_ACME, ""},
			{"*.wild.example", orlav1.Certificate_STATE_VALID, orlav1.Certificate_SOURCE_IMPORTED, ""},
			{"a.wild.example", orlav1.Certificate_STATE_COVERED, orlav1.Certificate_SOURCE_IMPORTED, ""},
			{"www.own.example", orlav1.Certificate_STATE_COVERED, orlav1.Certificate_SOURCE_IMPORTED, ""},
			{"*.bare.example", orlav1.Certificate_STATE_NOT_ORDERED, orlav1.Certificate_SOURCE_ACME, "DNS-01"},
			{"b.bare.example", orlav1.Certificate_STATE_NOT_ORDERED, orlav1.Certificate_SOURCE_ACME, "wildcard route only"},
			{"*", orlav1.Certificate_STATE_NOT_ORDERED, orlav1.Certificate_SOURCE_ACME, "name the hosts"},
			{"failing.example", orlav1.Certificate_STATE_FAILED, orlav1.Certificate_SOURCE_ACME, ""},
			{"localhost", orlav1.Certificate_STATE_VALID, orlav1.Certificate_SOURCE_INTERNAL, ""},
			{"x.localhost", orlav1.Certificate_STATE_ON_DEMAND, orlav1.Certificate_SOURCE_INTERNAL, "first handshake"},
			{"other.test", orlav1.Certificate_STATE_NOT_ORDERED, orlav1.Certificate_SOURCE_ACME, "no live release serves it"},
		} {
			for node, m := range map[string]*Manager{"n1": m, "e1": edge} {
				c := m.List(&orlav1.ListCertificatesRequest{Hosts: []string{tt.host}}).GetCertificates()[0]
				if c.GetState() != tt.state || c.GetSource() != tt.source || !strings.Contains(c.GetReason(), tt.says) || tt.says == "" && c.GetReason() != "" {
					t.Errorf("%s at %s is %v, %v: %q; want %v, %v: %q", tt.host, node, c.GetState(), c.GetSource(), c.GetReason(), tt.state, tt.source, tt.says)
				}
				if failed := c.GetFailure() != nil; failed != (tt.state == orlav1.Certificate_STATE_FAILED) {
					t.Errorf("%s at %s has failed: %v", tt.host, node, c.GetFailure())
				}
			}
		}
		if c := edge.List(&orlav1.ListCertificatesRequest{Hosts: []string{"failing.example"}}).GetCertificates()[0]; !strings.Contains(c.GetFailure().GetError(), "no CA today") || c.GetFailure().GetAttempts() != 1 || c.GetFailure().GetNode() != "n1" {
			t.Errorf("at the edge: %v", c)
		}
		c, err := edge.Show("Shop.example")
		if err != nil || strings.Count(c.GetPem(), "BEGIN CERTIFICATE") != 2 || strings.Contains(c.GetPem(), "PRIVATE") || c.GetSerial() == "" || len(c.GetFingerprint()) != 95 || c.GetRenewAt() == nil {
			t.Errorf("Show = %v, %v", c, err)
		}
		for _, host := range []string{"other.test", "not a host", "", "*.*.example"} {
			if c, err := edge.Show(host); err == nil {
				t.Errorf("Show(%q) = %v", host, c)
			}
		}
		if l := edge.List(&orlav1.ListCertificatesRequest{}); l.GetLeader() != "n1" || l.GetMode() != ModeACME {
			t.Errorf("led by %q in mode %q", l.GetLeader(), l.GetMode())
		}
		time.Sleep(24*time.Hour + time.Minute)
		if c, _ := m.Show("shop.example"); c.GetState() != orlav1.Certificate_STATE_EXPIRED {
			t.Errorf("after its end: %v", c.GetState())
		}
	})
}

// fill puts certificates into a Manager's book, as the register would.
func fill(t testing.TB, m *Manager, n int) {
	t.Helper()
	now := time.Now()
	entries := make([]Entry, n)
	for i := range n {
		name := fmt.Sprintf("h%06d.example", i)
		value, err := proto.Marshal(&orlav1.CertRecord{
			Subject: name, Source: orlav1.CertRecord_SOURCE_IMPORTED, Names: []string{name},
			NotBefore: timestamppb.New(now), NotAfter: timestamppb.New(now.Add(time.Duration(1+i) * time.Hour)),
		})
		if err != nil {
			t.Fatal(err)
		}
		entries[i] = Entry{Key: certPrefix + name, Value: value, Revision: uint64(i + 1)}
	}
	if err := m.Apply(true, entries); err != nil {
		t.Fatal(err)
	}
}

// TestListPages: all of them, each once, in order, whatever the page's size.
func TestListPages(t *testing.T) {
	m := open(t, Config{})
	fill(t, m, 2500)
	for _, limit := range []uint32{0, 1, 7, 999, 5000} {
		if limit == 1 {
			fill(t, m, 5)
		}
		var got []string
		for after := ""; ; {
			res := m.List(&orlav1.ListCertificatesRequest{After: after, Limit: limit})
			for _, c := range res.GetCertificates() {
				got = append(got, c.GetSubject())
			}
			if len(res.GetCertificates()) > maxListed {
				t.Fatalf("%d on a page", len(res.GetCertificates()))
			}
			if after = res.GetAfter(); after == "" {
				break
			}
		}
		want := m.subjects()
		if len(got) != len(want) || strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("pages of %d: %d certificates, want %d", limit, len(got), len(want))
		}
		if limit == 1 {
			fill(t, m, 2500)
		}
	}
	res := m.List(&orlav1.ListCertificatesRequest{States: []orlav1.Certificate_State{orlav1.Certificate_STATE_EXPIRED}})
	if len(res.GetCertificates()) != 0 || len(res.GetCounts()) != 1 || res.GetCounts()[0].GetCount() != 2500 {
		t.Errorf("of a state that none has: %d, counts %v", len(res.GetCertificates()), res.GetCounts())
	}
}

// TestSummaryIsBounded: it names those that end soonest.
func TestSummaryIsBounded(t *testing.T) {
	m := open(t, Config{})
	fill(t, m, 2500)
	s := m.Summary()
	if len(s.Soonest) != maxEndings || s.Soonest[0].Subject != "h000000.example" || s.Soonest[maxEndings-1].Subject != "h000999.example" {
		t.Errorf("%d named, from %s", len(s.Soonest), s.Soonest[0].Subject)
	}
}

// TestAlarm: who leads says once a day what ends soon, and a person can see why.
func TestAlarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const life = 12 * 24 * time.Hour
		g := newGroup(t, life, "shop.example", "gone.example")
		leader, stop := g.add("n1", func(c *Config) { c.lease = time.Hour })
		var cut atomic.Bool
		edge, _ := g.add("e1", func(c *Config) { c.Lead, c.CutOff = false, cut.Load })
		for _, m := range []*Manager{leader, edge} {
			g.manage(m, Host{Name: "shop.example"}, Host{Name: "gone.example"})
		}
		time.Sleep(time.Second)
		for _, m := range []*Manager{leader, edge} {
			g.manage(m, Host{Name: "shop.example"})
		}
		down := fmt.Errorf("no CA today")
		g.ca.fails.Store(&down)
		alarms := func() (soon, expired int) {
			text := g.log.String()
			return strings.Count(text, "certificate ends soon"), strings.Count(text, "certificate has expired")
		}
		time.Sleep(life * 74 / 100)
		if n, _ := alarms(); n != 0 {
			t.Errorf("%d alarms before a quarter of life is left", n)
		}
		if s := leader.Summary(); s.Alarm() != "" || s.Failed == 0 || s.Ordered != 2 {
			t.Errorf("summary %+v, alarm %q", s, s.Alarm())
		}
		time.Sleep(life / 100 * 2)
		n, _ := alarms()
		if n != 1 {
			t.Errorf("%d alarms at a quarter of life, want one", n)
		}
		if s := edge.Summary(); s.AlarmCount != 1 || !strings.Contains(s.Alarm(), "the certificate of shop.example ends at") || !strings.Contains(s.Alarms[0].Failed, "no CA today") {
			t.Errorf("at the edge: %+v", s)
		}
		time.Sleep(48 * time.Hour)
		if n, _ := alarms(); n != 3 {
			t.Errorf("%d alarms two days later, want one a day", n)
		}
		stop()
		cut.Store(true) // as the register is gone, every node raises them
		time.Sleep(time.Hour)
		if n, _ := alarms(); n != 4 {
			t.Errorf("%d alarms, want one of the node that is cut off", n)
		}
		time.Sleep(life / 4)
		if _, expired := alarms(); expired == 0 {
			t.Error("no alarm after the end")
		}
		if strings.Contains(g.log.String(), "ends soon\" host=gone.example") {
			t.Error("an alarm for a host that is not served")
		}
	})
}

// TestAlarmOfALateLeader: a node that leads only some time after its start raises the alarm
// then, as after a start of all nodes, when the lease is still that of one before.
func TestAlarmOfALateLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const life = 12 * 24 * time.Hour
		g := newGroup(t, life, "shop.example")
		first, stop := g.add("n1", func(c *Config) { c.lease = time.Hour })
		g.manage(first, Host{Name: "shop.example"})
		time.Sleep(time.Second)
		g.leave("n1", stop)
		down := fmt.Errorf("no CA today")
		g.ca.fails.Store(&down)
		time.Sleep(life * 8 / 10)
		g.mu.Lock()
		g.leases[leaseACME] = lease{"n1", g.revision, time.Now().Add(leaseLife)}
		g.mu.Unlock()
		second, _ := g.add("n2", nil)
		g.manage(second, Host{Name: "shop.example"})
		time.Sleep(leaseLife / 2)
		if text := g.log.String(); strings.Contains(text, "certificate ends soon") {
			t.Errorf("an alarm of a node that does not lead\n%s", text)
		}
		time.Sleep(time.Minute)
		if n := strings.Count(g.log.String(), "certificate ends soon"); n != 1 || second.Leader() != "n2" {
			t.Errorf("%d alarms a minute after %q leads, want one", n, second.Leader())
		}
	})
}

// TestAlarmLooksAfresh: what was said of certificates before there were any, by a metrics
// scrape at the node's start, does not hide for ten minutes that one ends soon.
func TestAlarmLooksAfresh(t *testing.T) {
	log := new(lockedBuffer)
	m := open(t, Config{Logger: slog.New(slog.NewTextHandler(log, nil))})
	if s := m.Summary(); s.AlarmCount != 0 {
		t.Fatalf("%d alarms before there is a certificate", s.AlarmCount)
	}
	fill(t, m, 1)
	m.alarm(map[string]time.Time{}, time.Now().Add(50*time.Minute))
	if text := log.String(); !strings.Contains(text, "certificate ends soon") {
		t.Errorf("log %q, want an alarm", text)
	}
}

func BenchmarkSummary(b *testing.B) {
	m := open(b, Config{})
	fill(b, m, 100_000)
	for b.Loop() {
		m.summarise(time.Now())
	}
}

func BenchmarkListPage(b *testing.B) {
	m := open(b, Config{})
	fill(b, m, 100_000)
	for b.Loop() {
		m.List(&orlav1.ListCertificatesRequest{After: "h050000.example"})
	}
}
