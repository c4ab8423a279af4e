package server

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// Clients of every kind hammer while the server drains. Their requests cannot be
// sent twice: one that fails after it was accepted is lost.
func TestDrainLosesNothing(t *testing.T) {
	const (
		clients = 16
		rounds  = 3
	)
	for _, tt := range []struct {
		name, proto, scheme string
		fresh               bool // a connection for each request
	}{
		{"HTTP/1 keep-alive", "h1", "http", false},
		{"HTTP/1 new connections", "h1", "http", true},
		{"HTTP/1 over TLS keep-alive", "h1", "https", false},
		{"HTTP/2", "h2", "https", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var ok, refused atomic.Int64
			for range rounds {
				hammer := &hammer{accepted: map[string]bool{}, answered: map[string]bool{}, failed: map[string]error{}}
				srv := start(t, Config{Handler: hammer, DrainIdle: 2 * time.Second})
				var wg sync.WaitGroup
				for i := range clients {
					client := srv.client(t, tt.proto)
					client.Transport.(*http.Transport).DisableKeepAlives = tt.fresh
					wg.Go(func() {
						n, err := hammer.send(t.Context(), client, srv.url(tt.scheme), i)
						ok.Add(int64(n))
						if err != nil {
							t.Error(err)
						}
						refused.Add(1)
					})
				}
				await(t, func() bool { return hammer.count() > 5*clients })
				srv.stop()
				<-srv.done
				wg.Wait()
				if lost := hammer.lost(); len(lost) > 0 {
					t.Errorf("%d of %d accepted requests were lost: %v", len(lost), hammer.count(), hammer.failures(lost))
				}
			}
			t.Logf("%d requests answered, 0 lost, %d clients turned away", ok.Load(), refused.Load())
		})
	}
}

func (r *running) url(scheme string) string {
	if scheme == "https" {
		return "https://" + r.https + "/"
	}
	return "http://" + r.http + "/"
}

// hammer is both sides of a load: what was accepted, and what was answered.
type hammer struct {
	mu                 sync.Mutex
	accepted, answered map[string]bool
	failed             map[string]error // why the client has no answer
}

func (h *hammer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	h.mu.Lock()
	h.accepted[string(body)] = true
	h.mu.Unlock()
	time.Sleep(2 * time.Millisecond) // work
	_, _ = w.Write(body)
}

func (h *hammer) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.accepted)
}

func (h *hammer) lost() (ids []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for id := range h.accepted {
		if !h.answered[id] {
			ids = append(ids, id)
		}
	}
	return ids
}

func (h *hammer) failures(ids []string) (errs []error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, id := range ids {
		errs = append(errs, h.failed[id])
	}
	return errs
}

// send posts until the server is gone. Its error is a failure on a connection
// that had been used before: the server closed it under a request.
func (h *hammer) send(ctx context.Context, client *http.Client, url string, worker int) (n int, err error) {
	for ; ; n++ {
		id := fmt.Sprint(worker, "/", n)
		reused := false
		traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { reused = i.Reused }})
		body := io.NopCloser(strings.NewReader(id)) // cannot be rewound: no retries
		req, err := http.NewRequestWithContext(traced, http.MethodPost, url, body)
		if err != nil {
			return n, err
		}
		resp, err := client.Do(req)
		if err != nil {
			h.mu.Lock()
			h.failed[id] = err
			h.mu.Unlock()
			if reused && !notProcessed(err) {
				return n, fmt.Errorf("request %s on a used connection: %w", id, err)
			}
			return n, nil // no connection any more
		}
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || string(got) != id {
			return n, fmt.Errorf("answer to %s: %q, %w", id, got, err)
		}
		h.mu.Lock()
		h.answered[id] = true
		h.mu.Unlock()
		time.Sleep(time.Duration(worker) * 5 * time.Millisecond) // so that some connections are idle
	}
}

// notProcessed reports whether HTTP/2 told the client that the request was not
// looked at (RFC 9113 §6.8).
func notProcessed(err error) bool {
	return strings.Contains(err.Error(), "GOAWAY") || strings.Contains(err.Error(), "REFUSED_STREAM") ||
		strings.Contains(err.Error(), "client connection lost") || strings.Contains(err.Error(), "graceful shutdown")
}

// A connection that was accepted is not idle while it shakes hands.
func TestDrainWaitsForHandshakes(t *testing.T) {
	srv := start(t, Config{Handler: http.HandlerFunc(echo), DrainIdle: time.Millisecond})
	raw, err := net.Dial("tcp", srv.https)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	raw.SetDeadline(time.Now().Add(15 * time.Second))
	await(t, func() bool { return srv.conns.count() == 1 })
	srv.stop()
	await(t, srv.draining.Load)
	time.Sleep(5 * backlogTime) // what would be closed as idle is closed by now
	c := tls.Client(raw, &tls.Config{RootCAs: srv.roots, ServerName: "a.test", NextProtos: []string{"http/1.1"}})
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
	got, _ := responses(t, c)
	if len(got) != 1 || got[0].StatusCode != 200 || !got[0].Close {
		t.Errorf("answers %v, want one with Connection: close", got)
	}
	wait(t, srv.done)
}

func TestDrainClosesIdleConnectionsSoon(t *testing.T) {
	srv := start(t, Config{Handler: http.HandlerFunc(echo), DrainTimeout: time.Hour})
	fresh := srv.dial(t, "") // nothing was ever sent on it
	idle := srv.dial(t, "")
	io.WriteString(idle, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if _, err := http.ReadResponse(bufio.NewReader(idle), nil); err != nil {
		t.Fatal(err)
	}
	h2 := attack(t, srv)
	if err := h2.request(1, h2.head()); err != nil {
		t.Fatal(err)
	}
	h2.until(t, "answer", func(f http2.Frame) bool { _, ok := f.(*http2.HeadersFrame); return ok })
	srv.stop()
	h2.until(t, "GOAWAY on an idle connection", isGoAway)
	wantClosed(t, fresh, "a connection without a request")
	wantClosed(t, idle, "an idle connection")
	wait(t, srv.done)
}

// Every answer given while draining asks the client to go.
func TestDrainAsksClientsToClose(t *testing.T) {
	inside, release := make(chan struct{}), make(chan struct{})
	srv := start(t, Config{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			close(inside)
			<-release
		}
		io.WriteString(w, "done")
	})})
	c := srv.dial(t, "")
	other := srv.dial(t, "")
	ob := bufio.NewReader(other)
	io.WriteString(other, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if resp, err := http.ReadResponse(ob, nil); err != nil || resp.Close {
		t.Fatalf("before the drain: %v, %v", resp, err)
	} else {
		io.Copy(io.Discard, resp.Body)
	}
	io.WriteString(c, "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
	<-inside
	srv.stop()
	await(t, srv.draining.Load)
	io.WriteString(other, "GET / HTTP/1.1\r\nHost: a\r\n\r\n") // on a connection from before
	if resp, err := http.ReadResponse(ob, nil); err != nil || !resp.Close {
		t.Errorf("while draining: %v, %v, want Connection: close", resp, err)
	}
	close(release)
	got, bodies := responses(t, c)
	if len(got) != 1 || !got[0].Close || bodies[0] != "done" {
		t.Errorf("answers %v %q, want one with Connection: close", got, bodies)
	}
	wait(t, srv.done)
}

func TestDrainTellsAndThenEndsWhatStays(t *testing.T) {
	srv := start(t, Config{
		DrainTimeout: 50 * time.Millisecond,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/stream" {
				http.NewResponseController(w).Flush()
				<-r.Context().Done()
				io.WriteString(w, "bye")
				return
			}
			c, rw, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: test\r\n\r\n")
			rw.Flush()
			if r.URL.Path == "/deaf" {
				io.Copy(io.Discard, c) // until it is closed
				return
			}
			<-r.Context().Done()
			io.WriteString(c, "bye")
		}),
	})
	open := func(path string) *bufio.Reader {
		c := srv.dial(t, "")
		fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: test\r\n\r\n", path)
		br := bufio.NewReader(c)
		for line := ""; line != "\r\n"; {
			var err error
			if line, err = br.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
		}
		return br
	}
	polite, deaf, stream := open("/polite"), open("/deaf"), open("/stream")
	srv.stop()
	for name, br := range map[string]*bufio.Reader{"hijacked": polite, "stream": stream} {
		if rest, err := io.ReadAll(br); !strings.Contains(string(rest), "bye") {
			t.Errorf("%s: %q, %v, want it told", name, rest, err)
		}
	}
	if rest, _ := io.ReadAll(deaf); len(rest) != 0 {
		t.Errorf("deaf: %q", rest)
	}
	wait(t, srv.done)
	srv.log.await(t, "connections outlast the drain", nil)
}

func TestDrainDelayGoesOnAccepting(t *testing.T) {
	srv := start(t, Config{Handler: http.HandlerFunc(echo), DrainDelay: time.Second})
	srv.stop()
	await(t, srv.draining.Load)
	c := srv.dial(t, "")
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	got, _ := responses(t, c)
	if len(got) != 1 || got[0].StatusCode != 200 || !got[0].Close {
		t.Errorf("answers %v, want one with Connection: close", got)
	}
	wait(t, srv.done)
}

// A listener that fails ends Run, and the rest is drained.
func TestBrokenListenerEndsRun(t *testing.T) {
	ln, err := Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	broken := &brokenListener{Listener: ln, err: errors.New("it broke")}
	s, err := New(Config{Handler: http.NotFoundHandler(), HTTP: []net.Listener{broken}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context()); !errors.Is(err, broken.err) {
		t.Errorf("Run = %v, want %v", err, broken.err)
	}
}

type brokenListener struct {
	net.Listener
	err error
}

func (l *brokenListener) Accept() (net.Conn, error) { return nil, l.err }
