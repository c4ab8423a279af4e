package cluster

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// said reads the audit log at a node.
func (n *node) said(t *testing.T, q AuditQuery) (all []string, last uint64) {
	t.Helper()
	err := NewAudit(n.Cluster).Read(t.Context(), q, func(seq uint64, data []byte) error {
		if seq <= last {
			t.Errorf("record %d after %d", seq, last)
		}
		all, last = append(all, string(data)), seq
		return nil
	})
	if err != nil {
		t.Fatalf("Read at %s: %v", n.cfg.Node, err)
	}
	return all, last
}

func TestAuditIsReadAtEveryHubAtOnce(t *testing.T) {
	for _, hubs := range []int{1, 3} {
		t.Run(fmt.Sprint(hubs), func(t *testing.T) {
			t.Parallel()
			l := newLab(t, hubs, 1)
			log := NewAudit(l.hubs[0].Cluster)
			const records = 2*auditPage + 10 // several pages
			var want, shop []string
			for i := range records {
				rec := AuditRecord{ID: fmt.Sprint("id", i), Data: []byte(fmt.Sprint("record ", i))}
				if i%2 == 1 {
					rec.Topic = "shop"
					shop = append(shop, string(rec.Data))
				}
				want = append(want, string(rec.Data))
				must(t, log.Append(t.Context(), rec))
				if i%100 == 0 { // again: nobody knows whether it arrived
					must(t, log.Append(t.Context(), rec))
				}
			}
			for _, n := range l.hubs {
				if got, _ := n.said(t, AuditQuery{}); !slices.Equal(got, want) {
					t.Errorf("%s reads %d records, want %d in order", n.cfg.Node, len(got), len(want))
				}
				if got, _ := n.said(t, AuditQuery{Topic: "shop"}); !slices.Equal(got, shop) {
					t.Errorf("%s reads %d records of shop, want %d in order", n.cfg.Node, len(got), len(shop))
				}
				if got, _ := n.said(t, AuditQuery{Topic: "sho"}); got != nil {
					t.Errorf("%s reads %q of an app that has none", n.cfg.Node, got)
				}
			}
			if err := NewAudit(l.edges[0].Cluster).Append(t.Context(), AuditRecord{ID: "x"}); !errors.Is(err, ErrReadOnly) {
				t.Errorf("Append at an edge = %v, want ErrReadOnly", err)
			}
		})
	}
}

func TestAuditFromTimeAndSequence(t *testing.T) {
	n := newNode(t, Config{Dir: t.TempDir()}).run()
	n.ready()
	log := NewAudit(n.Cluster)
	must(t, log.Append(t.Context(), AuditRecord{ID: "1", Data: []byte("old")}))
	between := time.Now()
	must(t, log.Append(t.Context(), AuditRecord{ID: "2", Data: []byte("new"), Topic: "a.b *>"}))
	all, last := n.said(t, AuditQuery{})
	for _, tt := range []struct {
		q    AuditQuery
		want string
	}{
		{AuditQuery{}, "old new"},
		{AuditQuery{Since: between}, "new"},
		{AuditQuery{Since: time.Now().Add(time.Hour)}, ""},
		{AuditQuery{After: last - 1}, "new"},
		{AuditQuery{After: last}, ""},
		{AuditQuery{Topic: "a.b *>"}, "new"},
		{AuditQuery{Topic: "*"}, ""},
	} {
		if got, _ := n.said(t, tt.q); strings.Join(got, " ") != tt.want {
			t.Errorf("Read(%+v) = %q, want %q of %q", tt.q, got, tt.want, all)
		}
	}
	stop := errors.New("stop")
	if err := log.Read(t.Context(), AuditQuery{}, func(uint64, []byte) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("Read = %v, want f's error", err)
	}
	for _, rec := range []AuditRecord{{}, {ID: "x", Data: make([]byte, MaxAuditRecord+1)}, {ID: "x", Topic: strings.Repeat("x", 64)}} {
		if err := log.Append(t.Context(), rec); !errors.Is(err, ErrAuditInvalid) {
			t.Errorf("Append(%d bytes) = %v, want ErrAuditInvalid", len(rec.Data), err)
		}
	}
}

// Neither an edge nor a hub that has been taken over can take a record back.
func TestAuditTakesNothingBack(t *testing.T) {
	l := newLab(t, 1, 1)
	must(t, NewAudit(l.hubs[0].Cluster).Append(t.Context(), AuditRecord{ID: "1", Data: []byte("kept")}))
	must(t, l.edges[0].bus.conn().Publish(auditPrefix+"x", []byte("evil")))
	for _, n := range l.all() {
		for ask, body := range map[string]string{
			"STREAM.PURGE.":      "{}",
			"STREAM.MSG.DELETE.": `{"seq":1}`,
			"STREAM.UPDATE.":     `{"name":"orla_audit","subjects":["orla.audit.>"],"deny_delete":false,"deny_purge":false}`,
		} {
			m, err := n.bus.conn().Request("$JS.hub.API."+ask+auditStream, []byte(body), 300*time.Millisecond)
			if err == nil && !strings.Contains(string(m.Data), `"error"`) {
				t.Errorf("%s%s at %s was answered: %s", ask, auditStream, n.cfg.Node, m.Data)
			}
		}
	}
	if got, _ := l.hubs[0].said(t, AuditQuery{}); !slices.Equal(got, []string{"kept"}) {
		t.Errorf("the log says %q, want what was written to it", got)
	}
}
