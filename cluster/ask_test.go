package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// A question that the leader took with it when it died is asked again, and answered by the
// next one.
func TestReadsOutliveALeader(t *testing.T) {
	const answer = `{"message":{"subject":"$KV.orla.k","seq":7,"data":"dg=="}}`
	for _, unanswered := range []int{0, 1, 3} {
		t.Run(fmt.Sprint(unanswered, " questions lost"), func(t *testing.T) {
			t.Parallel()
			r, nc := plainRegister(t)
			var asked atomic.Int32
			_, err := nc.Subscribe(r.api+"STREAM.MSG.GET.>", func(m *nats.Msg) {
				if int(asked.Add(1)) > unanswered {
					m.Respond([]byte(answer))
				}
			})
			if err = errors.Join(err, nc.Flush()); err != nil {
				t.Fatal(err)
			}
			e, err := r.last(t.Context(), "k")
			if err != nil || string(e.Value) != "v" || e.Revision != 7 {
				t.Errorf("last = %q at %d, %v, want %q at 7", e.Value, e.Revision, err, "v")
			}
		})
	}
}

// What nobody answers ends when its time is over, with the reason; where nobody listens, at
// once.
func TestReadsEnd(t *testing.T) {
	r, nc := plainRegister(t)
	if _, err := r.last(t.Context(), "k"); !errors.Is(err, ErrUnavailable) || errors.Is(err, errNoAnswer) {
		t.Errorf("last with nobody there = %v, want ErrUnavailable at once", err)
	}
	sub, err := nc.Subscribe(r.api+">", func(*nats.Msg) {})
	if err = errors.Join(err, nc.Flush()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), 3*askEvery, errNoAnswer)
	defer cancel()
	if _, err := r.last(ctx, "k"); !errors.Is(err, errNoAnswer) {
		t.Errorf("last without an answer = %v, want errNoAnswer", err)
	}
	leaves := make(chan *nats.Msg, 1) // after the first question, so that the second finds nobody
	if err := errors.Join(sub.Unsubscribe(), nc.Flush()); err != nil {
		t.Fatal(err)
	}
	last, err := nc.ChanSubscribe(r.api+">", leaves)
	if err = errors.Join(err, last.AutoUnsubscribe(1), nc.Flush()); err != nil {
		t.Fatal(err)
	}
	if _, err := r.last(t.Context(), "k"); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "gone") {
		t.Errorf("last after everybody has left = %v, want ErrUnavailable, and that the bucket is gone", err)
	}
}

// plainRegister is a register on a server that keeps nothing, and a connection to it.
func plainRegister(t *testing.T) (*register, *nats.Conn) {
	t.Helper()
	srv, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(func() { stopServer(srv) })
	if !srv.ReadyForConnections(10 * time.Second) {
		t.Fatal("not ready")
	}
	connect := func() *nats.Conn {
		nc, err := nats.Connect(srv.ClientURL())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		return nc
	}
	r := newRegister(Topology{}, askEvery)
	r.nc = connect()
	return r, connect()
}
