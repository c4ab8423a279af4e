package server

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// wantClosed waits until the server closes c.
func wantClosed(t *testing.T, c net.Conn, what string) {
	t.Helper()
	_, err := io.Copy(io.Discard, c)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%s: the connection is still open", what)
	}
}

func TestSlowClientsAreCut(t *testing.T) {
	srv := start(t, Config{
		Handler: http.HandlerFunc(echo),
		Limits:  Limits{Header: 50 * time.Millisecond, Handshake: 50 * time.Millisecond, Idle: 50 * time.Millisecond},
	})
	t.Run("head", func(t *testing.T) {
		for _, alpn := range []string{"", "http/1.1"} {
			c := srv.dial(t, alpn)
			io.WriteString(c, "GET / HTTP/1.1\r\nHo")
			wantClosed(t, c, "half a head over "+alpn)
		}
	})
	t.Run("nothing", func(t *testing.T) { wantClosed(t, srv.dial(t, ""), "no byte at all") })
	t.Run("handshake", func(t *testing.T) {
		c, err := net.Dial("tcp", srv.https)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(15 * time.Second))
		c.Write([]byte{22, 3, 1})
		wantClosed(t, c, "half a handshake")
	})
	t.Run("idle", func(t *testing.T) {
		c := srv.dial(t, "")
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		got, _ := responses(t, c)
		if len(got) != 1 || got[0].StatusCode != 200 || got[0].Close {
			t.Errorf("answers %v, want one with keep-alive", got)
		}
	})
}

func TestPlainRequestToTLSPort(t *testing.T) {
	srv := start(t, Config{Handler: http.HandlerFunc(echo)})
	c, err := net.Dial("tcp", srv.https)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(15 * time.Second))
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	got, bodies := responses(t, c)
	if len(got) != 1 || got[0].StatusCode != 400 || !strings.Contains(bodies[0], "https://") {
		t.Errorf("answers %v %q, want a 400 that says https://", got, bodies)
	}
}

func TestSlowBodiesAreCut(t *testing.T) {
	cause := make(chan error, 1)
	srv := start(t, Config{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, err := io.Copy(io.Discard, r.Body)
			cause <- err
			if err != nil {
				http.Error(w, "upstream's error", http.StatusBadGateway)
			}
		}),
		Limits: Limits{BodyGrace: 100 * time.Millisecond, BodyRate: 1000},
	})
	drip := func(c io.Writer) { // 100 bytes/s, until the server has had enough
		for {
			if _, err := io.WriteString(c, "1\r\nx\r\n"); err != nil {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	for _, tt := range []struct {
		name, head string
		then       func(io.Writer)
	}{
		{"nothing", "Content-Length: 10\r\n\r\n", func(io.Writer) {}},
		{"standstill", "Content-Length: 10\r\n\r\nabc", func(io.Writer) {}},
		{"drip", "Transfer-Encoding: chunked\r\n\r\n", drip},
	} {
		for _, alpn := range []string{"", "http/1.1"} {
			c := srv.dial(t, alpn)
			io.WriteString(c, "POST / HTTP/1.1\r\nHost: a\r\n"+tt.head)
			go tt.then(c)
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Fatalf("%s: %v", tt.name, err)
			}
			if resp.StatusCode != 408 || !resp.Close {
				t.Errorf("%s: %d, close %v, want 408 and close", tt.name, resp.StatusCode, resp.Close)
			}
			if err := <-cause; !errors.Is(err, ErrSlowBody) || !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%s: the handler read %v, want ErrSlowBody", tt.name, err)
			}
			c.Close()
		}
	}
	t.Run("HTTP/2", func(t *testing.T) {
		body, feed := io.Pipe()
		defer feed.Close()
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+srv.https+"/", body)
		go io.WriteString(feed, "abc")
		resp, err := srv.client(t, "h2").Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != 408 || resp.ProtoMajor != 2 {
			t.Errorf("%s %d, want 408", resp.Proto, resp.StatusCode)
		}
		<-cause
	})
}

func TestSteadyBodiesAreRead(t *testing.T) {
	srv := start(t, Config{
		Handler: http.HandlerFunc(echo),
		Limits:  Limits{BodyGrace: time.Second, BodyRate: 100},
	})
	for _, proto := range []string{"h1", "h2"} {
		body, feed := io.Pipe()
		go func() { // longer than the grace in all, at more than the rate
			for range 45 {
				io.WriteString(feed, "0123456789")
				time.Sleep(30 * time.Millisecond)
			}
			feed.Close()
		}()
		resp, err := srv.client(t, proto).Post("https://"+srv.https+"/", "text/plain", body)
		if err != nil {
			t.Fatal(err)
		}
		got, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != 200 || len(got) != 450 {
			t.Errorf("%s: %d with %d bytes, want 200 with 450", proto, resp.StatusCode, len(got))
		}
	}
}

// A handler that sets a deadline of its own reads for as long as it likes.
func TestStreamsLive(t *testing.T) {
	const grace = 50 * time.Millisecond
	srv := start(t, Config{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			rc := http.NewResponseController(w)
			if err := rc.SetReadDeadline(time.Time{}); err != nil {
				t.Error(err)
			}
			echo(w, r)
		}),
		Limits: Limits{BodyGrace: grace},
	})
	for _, proto := range []string{"h1", "h2"} {
		body, feed := io.Pipe()
		go func() {
			time.Sleep(4 * grace)
			io.WriteString(feed, "late")
			feed.Close()
		}()
		resp, err := srv.client(t, proto).Post("https://"+srv.https+"/", "text/plain", body)
		if err != nil {
			t.Fatal(err)
		}
		got, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if string(got) != "late" {
			t.Errorf("%s: %d %q, want the body", proto, resp.StatusCode, got)
		}
	}
}

// A handler that does not read the body must not be held up by it, nor the
// connection kept.
func TestUnreadBodiesAreNotWaitedFor(t *testing.T) {
	srv := start(t, Config{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			for range 100 { // beyond net/http's buffers
				io.WriteString(w, strings.Repeat("x", 100))
			}
		}),
		Limits: Limits{BodyGrace: 100 * time.Millisecond},
	})
	c := srv.dial(t, "")
	io.WriteString(c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nabc")
	got, bodies := responses(t, c)
	if len(got) != 1 || got[0].StatusCode != 200 || len(bodies[0]) != 10000 {
		t.Errorf("answers %v, want one of 10000 bytes, then closed", got)
	}
}

// endless writes until it fails, and reports how.
func endless(failed chan<- error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		chunk := []byte(strings.Repeat("x", 256<<10))
		for {
			if _, err := w.Write(chunk); err != nil {
				failed <- err
				return
			}
		}
	})
}

func TestClientsThatDoNotReadAreCut(t *testing.T) {
	failed := make(chan error, 1)
	srv := start(t, Config{Handler: endless(failed), Limits: Limits{WriteStall: 100 * time.Millisecond}})
	for _, alpn := range []string{"", "http/1.1"} {
		c := srv.dial(t, alpn)
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		if err := wait(t, failed); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("over %q: write failed with %v, want a timeout", alpn, err)
		}
		wantClosed(t, c, "a client that does not read")
	}
}

func wait[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(15 * time.Second):
		t.Fatal("nothing happened")
		panic("unreachable")
	}
}

// A client that reads slowly but does read gets everything, far beyond the
// stall's length.
func TestSlowReadersAreServed(t *testing.T) {
	const (
		size   = 32 << 20 // far more than the kernel buffers
		pieces = 40
	)
	srv := start(t, Config{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(make([]byte, size)) // in one piece
		}),
		Limits: Limits{WriteStall: time.Second},
	})
	for proto, scheme := range map[string]string{"h1": "http", "h2": "https"} {
		t.Run(proto, func(t *testing.T) {
			t.Parallel()
			resp, err := srv.client(t, proto).Get(srv.url(scheme))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			n := int64(0)
			for err == nil { // 2 s at least: twice the stall
				var m int64
				m, err = io.CopyN(io.Discard, resp.Body, size/pieces)
				n += m
				time.Sleep(2 * time.Second / pieces)
			}
			if n != size || !errors.Is(err, io.EOF) {
				t.Errorf("%d bytes, %v, want %d", n, err, size)
			}
		})
	}
}

func TestConnectionsAreCapped(t *testing.T) {
	for name, limits := range map[string]Limits{"per IP": {ConnsPerIP: 2}, "total": {Conns: 2}} {
		t.Run(name, func(t *testing.T) {
			srv := start(t, Config{Handler: http.HandlerFunc(echo), Limits: limits})
			get := func(c net.Conn) error {
				if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
					return err
				}
				resp, err := http.ReadResponse(bufio.NewReader(c), nil)
				if err != nil {
					return err
				}
				return resp.Body.Close()
			}
			a, b := srv.dial(t, ""), srv.dial(t, "")
			if err := errors.Join(get(a), get(b)); err != nil {
				t.Fatal(err)
			}
			third := func() error {
				c, err := net.Dial("tcp", srv.http)
				if err != nil {
					return err // the reset was faster
				}
				defer c.Close()
				c.SetDeadline(time.Now().Add(15 * time.Second))
				return get(c)
			}
			if err := third(); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("third connection: %v, want it closed", err)
			}
			if n := srv.conns.takeRefused(); n != 1 {
				t.Errorf("%d refused, want 1", n)
			}
			a.Close()
			await(t, func() bool { return srv.conns.count() == 1 })
			if err := get(srv.dial(t, "")); err != nil {
				t.Errorf("after one has gone: %v", err)
			}
		})
	}
}

// await waits until done reports true.
func await(t *testing.T, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	if poll(ctx, done); ctx.Err() != nil {
		t.Fatal("it did not happen")
	}
}

func TestNewRefusesWhatCannotRun(t *testing.T) {
	ln, err := Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	handler := http.NotFoundHandler()
	for _, tt := range []struct {
		cfg  Config
		want string
	}{
		{Config{HTTP: []net.Listener{ln}}, "Handler"},
		{Config{Handler: handler}, "listener"},
		{Config{Handler: handler, HTTPS: []net.Listener{ln}}, "TLS"},
	} {
		if _, err := New(tt.cfg); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("New = %v, want an error that says %s", err, tt.want)
		}
	}
}

func TestListen(t *testing.T) {
	ln, err := Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, err = Listen(t.Context(), ln.Addr().String())
	if !errors.Is(err, ErrAddressInUse) || !strings.Contains(fmt.Sprint(err), ln.Addr().String()) {
		t.Errorf("second listener: %v, want ErrAddressInUse with the address", err)
	}
	if _, err := Listen(t.Context(), "nonsense"); err == nil {
		t.Error("Listen on nonsense succeeded")
	}
}
