package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// An edge whose connection loses any of the messages that the stream republishes
// ends where the register is, and never hands on a part of a batch.
func TestLostMessagesAreFilledUp(t *testing.T) {
	n := start(t, t.TempDir())
	reg := n.status.Load().reg
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 1))
			edge := newNode(t, Config{Dir: t.TempDir()})
			s := &session{c: edge.Cluster, reg: reg, lost: make(chan struct{}, 1)}
			sub, err := reg.nc.SubscribeSync(republished + ">")
			must(t, err)
			defer sub.Unsubscribe()
			must(t, reg.nc.Flush())
			must(t, s.resume(t.Context()))

			gaps := 0
			for range 20 {
				last := n.commitPair(rnd)
				for {
					m, err := sub.NextMsg(10 * time.Second)
					must(t, err)
					if rnd.IntN(3) > 0 {
						before := s.c.synced.pos.seq
						must(t, s.receive(t.Context(), m))
						if s.c.synced.pos.seq > before+2 {
							gaps++
						}
					}
					s.checkPairs(t)
					if m.Header.Get(headerSequence) == fmt.Sprint(last) {
						break
					}
				}
			}
			must(t, s.check(t.Context()))
			want, err := n.List(t.Context(), "")
			must(t, err)
			got, inbox := edge.synced.entries, map[string]uint64{}
			d, _ := edge.box.take()
			for _, e := range d.update.Entries {
				inbox[e.Key] = e.Revision
			}
			revs := map[string]uint64{}
			for _, e := range want {
				revs[e.Key] = e.Revision
				if string(got[e.Key].Value) != string(e.Value) {
					t.Errorf("%s = %q, want %q", e.Key, got[e.Key].Value, e.Value)
				}
			}
			if !maps.Equal(inbox, revs) || len(got) != len(want) {
				t.Errorf("the edge has %v, want %v", inbox, revs)
			}
			if gaps == 0 {
				t.Error("no gap was filled: the test shows nothing")
			}
		})
	}
}

// commitPair commits two keys of one value in a batch, among others alone.
func (n *node) commitPair(rnd *rand.Rand) uint64 {
	n.t.Helper()
	value := []byte(fmt.Sprint(rnd.Uint64()))
	pair := fmt.Sprintf("pair%d", rnd.IntN(3))
	at := map[string]uint64{}
	all, err := n.List(n.t.Context(), "")
	must(n.t, err)
	for _, e := range all {
		at[e.Key] = e.Revision
	}
	single := fmt.Sprintf("single%d", rnd.IntN(3))
	n.must(Change{Key: single, Value: value, Expect: at[single]})
	return n.must(Change{Key: pair + ".a", Value: value, Expect: at[pair+".a"]}, Change{Key: pair + ".b", Value: value, Expect: at[pair+".b"]})
}

func (s *session) checkPairs(t *testing.T) {
	t.Helper()
	s.c.box.mu.Lock()
	defer s.c.box.mu.Unlock()
	for i := range 3 {
		key := fmt.Sprintf("pair%d", i)
		a, b := s.c.box.pending[key+".a"], s.c.box.pending[key+".b"]
		if string(a.Value) != string(b.Value) {
			t.Fatalf("%s was handed on as %q and %q", key, a.Value, b.Value)
		}
	}
}

func TestForeignMessagesAreRefused(t *testing.T) {
	good := func() *nats.Msg {
		m := nats.NewMsg(republished + "k")
		m.Header.Set(headerSubject, subjectPrefix+"k")
		m.Header.Set(headerSequence, "5")
		return m
	}
	tests := []struct {
		name   string
		damage func(*nats.Msg)
		want   string
	}{
		{"as it should be", func(*nats.Msg) {}, ""},
		{"no sequence", func(m *nats.Msg) { m.Header.Del(headerSequence) }, "sequence"},
		{"another stream", func(m *nats.Msg) { m.Header.Set(headerSubject, "$KV.other.k") }, "not of the register"},
		{"a batch without a place", func(m *nats.Msg) { m.Header.Set(headerBatch, "x") }, "place"},
		{"a batch at place 0", func(m *nats.Msg) { m.Header.Set(headerBatch, "x"); m.Header.Set(headerBatchSeq, "0") }, "place"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := good()
			tt.damage(m)
			_, err := parse(m)
			if (err != nil) != (tt.want != "") {
				t.Errorf("parse = %v, want %q", err, tt.want)
			}
		})
	}
}

// A List that asks a node whose sync lags behind the register waits for it: it
// never answers with what was true before the call.
func TestListWaitsForTheSync(t *testing.T) {
	n := start(t, t.TempDir())
	n.must(put("k", "v", 0))
	edge := newNode(t, Config{Dir: t.TempDir()})
	reg := n.status.Load().reg
	edge.status.Store(&status{reg: reg})
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if got, err := edge.List(short, ""); !errors.Is(err, ErrUnavailable) {
		t.Errorf("List behind the register = %v, %v, want ErrUnavailable", got, err)
	}
	s := &session{c: edge.Cluster, reg: reg}
	must(t, s.resume(t.Context()))
	if got, err := edge.List(t.Context(), ""); err != nil || len(got) != 1 || string(got[0].Value) != "v" {
		t.Errorf("List = %v, %v, want k", got, err)
	}
}

// What a node knows it tells without asking, but never as of before a revision that its
// caller has heard of.
func TestKnownWaitsForARevision(t *testing.T) {
	n := start(t, t.TempDir())
	first := n.must(put("k", "v", 0))
	for _, tt := range []struct {
		key      string
		revision uint64
		want     error
	}{
		{"k", 0, nil}, {"k", first, nil}, {"other", first, ErrNotFound}, {"k", first + 1, ErrUnavailable},
	} {
		must(t, n.Wait(t.Context(), first))
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		e, err := n.Known(ctx, tt.key, tt.revision)
		cancel()
		if !errors.Is(err, tt.want) || err == nil && (string(e.Value) != "v" || e.Revision != first) {
			t.Errorf("Known(%q, %d) = %v, %v, want %v", tt.key, tt.revision, e, err, tt.want)
		}
	}
}
