package proxy

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// upstreamAt starts an app server and returns its base URL.
func upstreamAt(t testing.TB, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

// node is a server with a Proxy as its handler.
type node struct {
	*httptest.Server
	proxy *Proxy

	mu      sync.Mutex
	records []*telemetry.Request // of the requests that have been answered
	done    chan struct{}        // gets one for each
}

// nodeWith starts a node in front of the upstreams. Config.Proxy may be nil.
func nodeWith(t testing.TB, c Config, to ...string) *node {
	t.Helper()
	if c.Proxy == nil {
		c.Proxy = &orlav1.Proxy{}
	}
	c.Proxy.To = to
	p, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	n := &node{proxy: p, done: make(chan struct{}, 10_000)}
	n.Server = httptest.NewServer(http.HandlerFunc(n.serve))
	t.Cleanup(func() {
		n.Client().CloseIdleConnections()
		n.Close()
		p.Close()
	})
	return n
}

// serve does what package server does: a record, an id, the Server field.
func (n *node) serve(w http.ResponseWriter, r *http.Request) {
	record := &telemetry.Request{ID: "id-1"}
	w.Header().Set("Server", "orla")
	w.Header().Set("X-Request-Id", record.ID)
	defer func() {
		n.mu.Lock()
		n.records = append(n.records, record)
		n.mu.Unlock()
		n.done <- struct{}{}
	}()
	n.proxy.ServeHTTP(w, r.WithContext(telemetry.WithRequest(r.Context(), record)))
}

// record waits for the next request to be answered and returns its record.
func (n *node) record(t testing.TB) *telemetry.Request {
	t.Helper()
	select {
	case <-n.done:
	case <-time.After(10 * time.Second):
		t.Fatal("the handler does not return")
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.records[len(n.records)-1]
}

// dial connects to the node.
func (n *node) dial(t testing.TB) net.Conn {
	t.Helper()
	c, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", n.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// get makes a GET request, or one of another method, without a body.
func (n *node) get(t testing.TB, method, path string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, n.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := n.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Body.Close() })
	return res
}

// deadAddress returns an address that refuses connections.
func deadAddress(t testing.TB) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// rawUpstream is an app server that answers each connection's first request with
// fixed bytes and closes.
func rawUpstream(t testing.TB, answer func(net.Conn)) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				answer(c)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		wg.Wait()
	})
	return "http://" + l.Addr().String()
}
