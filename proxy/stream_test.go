package proxy

import (
	"bufio"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"runtime"
	"strings"
	"sync"
	"testing"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

func write(t testing.TB, w io.Writer, s string) {
	t.Helper()
	if _, err := io.WriteString(w, s); err != nil {
		t.Fatal(err)
	}
}

// expect reads want and nothing more.
func expect(t testing.TB, r io.Reader, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(r, got); err != nil || string(got) != want {
		t.Fatalf("read %q, %v; want %q", got[:n], err, want)
	}
}

// echo answers with what it reads, as it comes.
func echo(w http.ResponseWriter, r *http.Request) {
	rc := http.NewResponseController(w)
	_ = rc.EnableFullDuplex()
	w.WriteHeader(http.StatusOK)
	_ = rc.Flush()
	buf := make([]byte, 1024)
	for {
		n, err := r.Body.Read(buf)
		_, _ = w.Write(buf[:n])
		_ = rc.Flush()
		if err != nil {
			return
		}
	}
}

func TestStreamsBothWays(t *testing.T) {
	n := nodeWith(t, Config{}, upstreamAt(t, echo))
	body, feed := io.Pipe()
	req, err := http.NewRequestWithContext(t.Context(), "POST", n.URL, body)
	if err != nil {
		t.Fatal(err)
	}
	res, err := n.Client().Do(req) // returns before the request has ended
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	for i := range 5 {
		s := fmt.Sprintf("piece %d", i)
		write(t, feed, s)
		expect(t, res.Body, s) // before the next is sent
	}
	feed.Close()
	if rest, err := io.ReadAll(res.Body); err != nil || len(rest) != 0 {
		t.Errorf("at the end came %q, %v", rest, err)
	}
}

func TestHTTP2ClientStreamsBothWays(t *testing.T) {
	n := nodeWith(t, Config{}, upstreamAt(t, echo))
	s := httptest.NewUnstartedServer(http.HandlerFunc(n.serve))
	s.EnableHTTP2 = true
	s.StartTLS()
	defer s.Close()
	body, feed := io.Pipe()
	req, err := http.NewRequestWithContext(t.Context(), "POST", s.URL, body)
	if err != nil {
		t.Fatal(err)
	}
	res, err := s.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.ProtoMajor != 2 {
		t.Fatalf("spoke %s", res.Proto)
	}
	write(t, feed, "hello")
	expect(t, res.Body, "hello")
	feed.Close()
	expect(t, res.Body, "")
}

func TestServerSentEvents(t *testing.T) {
	next := make(chan struct{})
	n := nodeWith(t, Config{}, upstreamAt(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		rc := http.NewResponseController(w)
		_ = rc.Flush() // the head alone
		for i := range 3 {
			<-next
			fmt.Fprintf(w, "data: %d\n\n", i)
			_ = rc.Flush()
		}
	}))
	res := n.get(t, "GET", "/") // returns before there is an event
	for i := range 3 {
		next <- struct{}{}
		expect(t, res.Body, fmt.Sprintf("data: %d\n\n", i))
	}
}

func TestBytesOfKnownLengthDoNotWait(t *testing.T) {
	next := make(chan struct{})
	n := nodeWith(t, Config{}, upstreamAt(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "10")
		rc := http.NewResponseController(w)
		_ = rc.Flush()
		<-next
		_, _ = io.WriteString(w, "hello")
		_ = rc.Flush()
		<-next
		_, _ = io.WriteString(w, "world")
	}))
	res := n.get(t, "GET", "/")
	next <- struct{}{}
	expect(t, res.Body, "hello")
	next <- struct{}{}
	expect(t, res.Body, "world")
}

// zeros is an endless body that notes the highest heap it has seen.
type zeros struct {
	left int64
	peak uint64
	step int
}

func (z *zeros) Read(p []byte) (int, error) {
	if z.left == 0 {
		return 0, io.EOF
	}
	if z.step++; z.step%64 == 0 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		z.peak = max(z.peak, m.HeapAlloc)
	}
	n := min(z.left, int64(len(p)))
	z.left -= n
	return int(n), nil
}

func TestLargeUploadNeedsLittleMemory(t *testing.T) {
	const size = 100 << 20 // once; the other way of framing shows the same with less
	n := nodeWith(t, Config{}, upstreamAt(t, func(w http.ResponseWriter, r *http.Request) {
		got, err := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, got, err)
	}))
	var before runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for length, size := range map[int64]int64{size: size, -1: size / 10} {
		body := &zeros{left: size}
		req, err := http.NewRequestWithContext(t.Context(), "PUT", n.URL, body)
		if err != nil {
			t.Fatal(err)
		}
		req.ContentLength = length
		res, err := n.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || string(answer) != fmt.Sprint(size, nil) {
			t.Errorf("upstream read %s, %v; want %d", answer, err, size)
		}
		if body.peak > before.HeapAlloc+16<<20 {
			t.Errorf("the heap grew from %d to %d bytes", before.HeapAlloc, body.peak)
		}
	}
}

func TestTrailersPassBothWays(t *testing.T) {
	h := func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Trailer", "X-Announced")
		_, _ = io.WriteString(w, "body")
		w.Header().Set("X-Announced", "a "+r.Trailer.Get("X-Client"))
		if r.URL.Path == "/more" {
			w.Header().Set(http.TrailerPrefix+"X-Unannounced", "u")
		}
	}
	n := nodeWith(t, Config{}, upstreamAt(t, h))
	for path, want := range map[string]string{"/": "", "/more": "u"} {
		req, err := http.NewRequestWithContext(t.Context(), "POST", n.URL+path, io.MultiReader(strings.NewReader("x")))
		if err != nil {
			t.Fatal(err)
		}
		req.Trailer = http.Header{"X-Client": {"c"}}
		res, err := n.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		expect(t, res.Body, "body")
		if _, err := io.Copy(io.Discard, res.Body); err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if got := res.Trailer.Get("X-Announced") + "|" + res.Trailer.Get("X-Unannounced"); got != "a c|"+want {
			t.Errorf("%s: trailers %q, want %q", path, got, "a c|"+want)
		}
	}
}

func TestEarlyHints(t *testing.T) {
	n := nodeWith(t, Config{}, upstreamAt(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</a.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Set("X-Final", "1")
		_, _ = io.WriteString(w, "body")
	}))
	var hints []textproto.MIMEHeader
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
		if code == http.StatusEarlyHints {
			hints = append(hints, h)
		}
		return nil
	}})
	req, err := http.NewRequestWithContext(ctx, "GET", n.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := n.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if len(hints) != 1 || hints[0].Get("Link") != "</a.css>; rel=preload" || len(hints[0]) != 1 {
		t.Errorf("hints = %v", hints)
	}
	if res.Header.Get("X-Final") != "1" || res.Header.Get("Server") != "orla" || res.Header.Get("X-Request-Id") != "id-1" || len(res.Header["Link"]) != 1 {
		t.Errorf("final header = %v", res.Header)
	}
}

func TestExpectContinueIsTheUpstreamsDecision(t *testing.T) {
	n := nodeWith(t, Config{}, upstreamAt(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/no" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		body, _ := io.ReadAll(r.Body) // sends 100
		_, _ = w.Write(body)
	}))
	t.Run("wanted", func(t *testing.T) {
		c := n.dial(t)
		write(t, c, "PUT /yes HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
		expect(t, c, "HTTP/1.1 100 Continue\r\n\r\n")
		write(t, c, "hello")
		expect(t, c, "HTTP/1.1 200 OK\r\n")
	})
	t.Run("not wanted", func(t *testing.T) {
		c := n.dial(t)
		write(t, c, "PUT /no HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
		all, err := io.ReadAll(c) // the node closes: nobody knows whether a body follows
		if err != nil || !strings.HasPrefix(string(all), "HTTP/1.1 403 ") {
			t.Errorf("answer = %q, %v", all, err)
		}
	})
}

func TestEarlyAnswerToAnUpload(t *testing.T) {
	n := nodeWith(t, Config{}, upstreamAt(t, func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		w.WriteHeader(http.StatusRequestEntityTooLarge)
	}))
	for _, length := range []string{"1000", "1000000"} {
		t.Run(length, func(t *testing.T) {
			c := n.dial(t)
			// The client waits in the middle of its body.
			write(t, c, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: "+length+"\r\n\r\nhello")
			res, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if res.StatusCode != http.StatusRequestEntityTooLarge || !res.Close {
				t.Errorf("status %d, close %v; want 413 and the connection's end", res.StatusCode, res.Close)
			}
			n.record(t) // the handler has returned although the body has not ended
			if rest, err := io.ReadAll(c); err != nil || len(rest) != 0 {
				t.Errorf("after the answer came %q, %v; want the connection's end", rest, err)
			}
		})
	}
}

func TestBodylessAnswers(t *testing.T) {
	n := nodeWith(t, Config{}, upstreamAt(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/304":
			w.Header().Set("Etag", `"x"`)
			w.WriteHeader(http.StatusNotModified)
		case "/204":
			w.WriteHeader(http.StatusNoContent)
		default:
			w.Header().Set("Content-Length", "1000")
		}
	}))
	if res := n.get(t, "HEAD", "/"); res.StatusCode != 200 || res.ContentLength != 1000 {
		t.Errorf("HEAD: status %d, length %d", res.StatusCode, res.ContentLength)
	}
	if res := n.get(t, "GET", "/304"); res.StatusCode != 304 || res.Header.Get("Etag") != `"x"` {
		t.Errorf("304: status %d, header %v", res.StatusCode, res.Header)
	}
	if res := n.get(t, "GET", "/204"); res.StatusCode != 204 {
		t.Errorf("204: status %d", res.StatusCode)
	}
}

func TestPoolKeepsConnectionsAcrossReleases(t *testing.T) {
	var mu sync.Mutex
	connections := map[string]bool{}
	base := upstreamAt(t, func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		connections[r.RemoteAddr] = true
	})
	pool, err := NewPool(PoolConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	var before *Proxy
	for release := range 5 {
		p, err := New(Config{Proxy: &orlav1.Proxy{To: []string{base}}, Pool: pool})
		if err != nil {
			t.Fatal(err)
		}
		if before != nil {
			before.Close()
			before.Close() // may be called again
		}
		before = p
		w := httptest.NewRecorder()
		p.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/", nil))
		if w.Code != 200 {
			t.Errorf("release %d: status %d", release, w.Code)
		}
	}
	if len(connections) != 1 {
		t.Errorf("five releases made %d connections, want 1", len(connections))
	}
	before.Close()
	if n := len(pool.snapshot()); n != 0 {
		t.Errorf("%d upstreams are left after the last Close", n)
	}
}

func TestHTTPSAndHTTP2Upstreams(t *testing.T) {
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Trailer", "Grpc-Status")
		fmt.Fprintf(w, "%s %s %s", r.Proto, r.Host, body)
		w.Header().Set("Grpc-Status", "0")
	})
	secure := httptest.NewUnstartedServer(h)
	secure.EnableHTTP2 = true
	secure.StartTLS()
	defer secure.Close()
	plain := httptest.NewUnstartedServer(h)
	plain.Config.Protocols = new(http.Protocols)
	plain.Config.Protocols.SetUnencryptedHTTP2(true)
	plain.Start()
	defer plain.Close()
	roots := x509.NewCertPool()
	roots.AddCert(secure.Certificate())
	pool, err := NewPool(PoolConfig{RootCAs: roots})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	for name, base := range map[string]string{"https": secure.URL, "h2c": "h2c" + strings.TrimPrefix(plain.URL, "http")} {
		t.Run(name, func(t *testing.T) {
			n := nodeWith(t, Config{Pool: pool}, base)
			req, err := http.NewRequestWithContext(t.Context(), "POST", n.URL, strings.NewReader("hello"))
			if err != nil {
				t.Fatal(err)
			}
			req.Host, req.Header = "shop.example", http.Header{"Te": {"trailers"}}
			res, err := n.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			body, err := io.ReadAll(res.Body)
			if want := "HTTP/2.0 shop.example hello"; err != nil || string(body) != want {
				t.Errorf("body = %q, %v; want %q", body, err, want)
			}
			if res.Trailer.Get("Grpc-Status") != "0" {
				t.Errorf("trailer = %v", res.Trailer)
			}
		})
	}
}
