package measure

import (
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// edge is a leaf node in this process: its server, its table, what it has seen.
type edge struct {
	name  string
	srv   *server.Server
	nc    *nats.Conn
	table atomic.Pointer[map[string]string]

	mu   sync.Mutex // guards took
	took []seen
}

// seen is a change that was applied, so long after it was made.
type seen struct {
	seq   int
	after time.Duration
}

// startEdge starts an edge below the first of remotes, the others being where it
// goes when that dies.
func startEdge(name string, o serverOptions, subjects ...string) (*edge, error) {
	srv, err := o.start()
	if err != nil {
		return nil, err
	}
	e := &edge{name: name, srv: srv}
	table := map[string]string{}
	for i := range 100 {
		table[fmt.Sprintf("app-%d", i)] = "sha256:0"
	}
	e.table.Store(&table)
	if e.nc, err = dial(srv); err != nil {
		e.close()
		return nil, err
	}
	for _, subject := range subjects {
		if _, err := e.nc.Subscribe(subject, e.receive); err != nil {
			e.close()
			return nil, fmt.Errorf("subscribe %s to %s: %w", name, subject, err)
		}
	}
	return e, e.nc.Flush()
}

// receive puts a change into a copy of the table, swaps it in, and acknowledges. An
// acknowledgement that cannot be sent is one that the collector misses.
func (e *edge) receive(m *nats.Msg) {
	seq, at, ack := decode(m.Data)
	next := maps.Clone(*e.table.Load())
	next["app-0"] = string(m.Data[:header])
	e.table.Store(&next)
	e.mu.Lock()
	e.took = append(e.took, seen{seq, time.Since(at)})
	e.mu.Unlock()
	if ack {
		answer := append(m.Data[:header:header], make([]byte, ackPayload-header)...)
		_ = e.nc.Publish(acks+"."+e.name, answer)
	}
}

// take returns what was seen since the last call.
func (e *edge) take() []seen {
	e.mu.Lock()
	defer e.mu.Unlock()
	took := e.took
	e.took = nil
	return took
}

func (e *edge) close() {
	if e.nc != nil {
		e.nc.Close()
	}
	e.srv.Shutdown()
	e.srv.WaitForShutdown()
}
