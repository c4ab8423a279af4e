package control

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/orla-edge/orla/cluster"
	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/telemetry"
)

func tailMessage(t *testing.T, m *orlav1.Tail) cluster.Message {
	t.Helper()
	b, err := encode(m)
	if err != nil {
		t.Fatal(err)
	}
	return cluster.Message{Data: b}
}

// A node stops sending its log to a reader that is not heard of any more, and has only
// so many readers.
func TestReadersThatHaveGoneCostNothing(t *testing.T) {
	register, err := cluster.New(cluster.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer register.Close()
	synctest.Test(t, func(t *testing.T) {
		s := &Service{cfg: Config{Node: "n1", Register: register, Tail: telemetry.NewTail(telemetry.TailConfig{}), Logger: discard()}}
		readers := func() int {
			synctest.Wait()
			s.tails.mu.Lock()
			defer s.tails.mu.Unlock()
			return len(s.tails.open)
		}
		ask := func(m *orlav1.Tail) { s.onTail(context.Background(), tailMessage(t, m)) }
		hold := uint32(holdTail.Milliseconds())
		for _, m := range []*orlav1.Tail{
			{Id: "", HoldMs: hold},
			{Id: "a.b", HoldMs: hold},
			{Id: "x>", HoldMs: hold},
			{Id: strings.Repeat("x", 65), HoldMs: hold},
			{Id: "mine", Origin: "n1", HoldMs: hold},
			{Id: "others", Node: "n2", HoldMs: hold},
		} {
			if ask(m); readers() != 0 {
				t.Errorf("%v is answered", m)
			}
		}
		ask(&orlav1.Tail{Id: "a", HoldMs: hold})
		ask(&orlav1.Tail{Id: "forever", HoldMs: 1 << 31})
		time.Sleep(holdTail - time.Second)
		ask(&orlav1.Tail{Id: "a", HoldMs: hold})
		time.Sleep(2 * time.Second)
		if n := readers(); n != 2 {
			t.Errorf("%d readers, want the two that have been heard of", n)
		}
		s.onUntail(tailMessage(t, &orlav1.Tail{Id: "a"})) // the id is the first field of both
		if n := readers(); n != 1 {
			t.Errorf("%d readers after one has said that it goes, want 1", n)
		}
		time.Sleep(maxHold)
		if n := readers(); n != 0 {
			t.Errorf("%d readers after a long silence, want none", n)
		}
		for i := range 2 * maxTails {
			ask(&orlav1.Tail{Id: fmt.Sprint(i), HoldMs: hold})
		}
		if n := readers(); n != maxTails {
			t.Errorf("%d readers at once, want %d at most", n, maxTails)
		}
		time.Sleep(2 * holdTail)
		s.background.Wait()
	})
}

func TestOutboxIsBounded(t *testing.T) {
	var sent []*orlav1.TailLogsResponse
	o := &outbox{tell: func(m *orlav1.Tailed) {
		size := 0
		for _, r := range m.GetRecords() {
			size += len(r.GetMessage())
		}
		if size > messageBytes {
			t.Errorf("a message of %d bytes", size)
		}
		sent = append(sent, m.GetRecords()...)
	}}
	now := time.Now()
	for range 2 * tailRecords {
		o.offer(&orlav1.TailLogsResponse{Message: "short"}, now)
	}
	o.remark("n1", now) // not before the second is over
	o.flush(false)
	if len(sent) != tailRecords {
		t.Errorf("%d records in a second, want %d", len(sent), tailRecords)
	}
	sent, now = nil, now.Add(time.Second)
	o.remark("n1", now)
	large := strings.Repeat("x", 16<<10)
	for range 100 {
		o.offer(&orlav1.TailLogsResponse{Message: large}, now)
	}
	o.flush(false)
	if want := "dropped 500 records: a node sends at most 500, or 512 KiB, in a second"; len(sent) == 0 || sent[0].GetMessage() != want || sent[0].GetNode() != "n1" {
		t.Errorf("first comes %v, want %q", sent, want)
	}
	if n := len(sent) - 1; n*len(large) > tailBytes || n < tailBytes/len(large)-1 {
		t.Errorf("%d large records in a second, want about %d KiB", n, tailBytes>>10)
	}
}
