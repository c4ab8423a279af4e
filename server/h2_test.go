package server

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// attacker speaks HTTP/2 frame by frame.
type attacker struct {
	net.Conn
	*http2.Framer
	buf bytes.Buffer
	enc *hpack.Encoder
}

func attack(t *testing.T, srv *running, settings ...http2.Setting) *attacker {
	t.Helper()
	a := &attacker{Conn: srv.dial(t, "h2")}
	a.Framer = http2.NewFramer(a.Conn, a.Conn)
	a.enc = hpack.NewEncoder(&a.buf)
	io.WriteString(a.Conn, http2.ClientPreface)
	if err := a.WriteSettings(settings...); err != nil {
		t.Fatal(err)
	}
	return a
}

// head encodes a request's head with these fields, name and value by turns.
func (a *attacker) head(fields ...string) []byte {
	a.buf.Reset()
	all := append([]string{":method", "GET", ":scheme", "https", ":authority", "a.test", ":path", "/"}, fields...)
	for i := 0; i < len(all); i += 2 {
		a.enc.WriteField(hpack.HeaderField{Name: all[i], Value: all[i+1]})
	}
	return bytes.Clone(a.buf.Bytes())
}

// request opens a stream that has no body.
func (a *attacker) request(stream uint32, head []byte) error {
	const frame = 16 << 10
	first := head[:min(len(head), frame)]
	err := a.WriteHeaders(http2.HeadersFrameParam{
		StreamID: stream, BlockFragment: first, EndStream: true, EndHeaders: len(first) == len(head),
	})
	for head = head[len(first):]; err == nil && len(head) > 0; {
		next := head[:min(len(head), frame)]
		head = head[len(next):]
		err = a.WriteContinuation(stream, len(head) == 0, next)
	}
	return err
}

// until reads frames until match reports true; it fails the test at the end of
// the connection.
func (a *attacker) until(t *testing.T, what string, match func(http2.Frame) bool) {
	t.Helper()
	for {
		f, err := a.ReadFrame()
		if err != nil {
			t.Fatalf("no %s: %v", what, err)
		}
		if match(f) {
			return
		}
	}
}

func isReset(f http2.Frame) bool { _, ok := f.(*http2.RSTStreamFrame); return ok }

func isGoAway(f http2.Frame) bool { _, ok := f.(*http2.GoAwayFrame); return ok }

// A client that leaves no room in its window gets its stream reset, whether the
// handler is still writing or has returned.
func TestHTTP2ClientsThatDoNotReadAreCut(t *testing.T) {
	failed := make(chan error, 1)
	small := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "small") })
	for name, handler := range map[string]http.Handler{"handler writes": endless(failed), "handler has returned": small} {
		t.Run(name, func(t *testing.T) {
			srv := start(t, Config{Handler: handler, Limits: Limits{WriteStall: 100 * time.Millisecond}})
			a := attack(t, srv, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
			if err := a.request(1, a.head()); err != nil {
				t.Fatal(err)
			}
			a.until(t, "reset of the stream", isReset)
			if name == "handler writes" {
				wait(t, failed)
			}
		})
	}
}

// The "HTTP/2 bomb": many streams whose heads are references to one large entry
// of the compression table, and that nobody answers.
func TestHTTP2HeadsAreBounded(t *testing.T) {
	release := make(chan struct{})
	var running atomic.Int64
	srv := start(t, Config{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		running.Add(1)
		<-release
		runtime.KeepAlive(r)
	})})
	defer close(release)
	a := attack(t, srv)
	go io.Copy(io.Discard, a.Conn)
	large := strings.Repeat("v", 4000)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range uint32(100) {
		var fields []string
		for range 7 { // 7 × 4 KiB: what HeaderBytes allows
			fields = append(fields, "bomb", large)
		}
		if err := a.request(2*i+1, a.head(fields...)); err != nil {
			t.Fatal(err)
		}
	}
	await(t, func() bool { return running.Load() == 100 })
	runtime.GC()
	runtime.ReadMemStats(&after)
	held := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) >> 10
	t.Logf("100 streams hold %d KiB", held)
	if held > 8<<10 {
		t.Errorf("100 streams hold %d KiB, want at most 8 MiB", held)
	}
}

func TestHTTP2HeadsTooLargeAreRefused(t *testing.T) {
	srv := start(t, Config{Handler: http.HandlerFunc(echo)})
	for name, fields := range map[string]int{"bytes": 12, "fields": 101} {
		a := attack(t, srv)
		value := "v"
		if name == "bytes" {
			value = strings.Repeat("v", 4000)
		}
		var list []string
		for range fields {
			list = append(list, "bomb", value)
		}
		if err := a.request(1, a.head(list...)); err != nil {
			t.Fatal(err)
		}
		a.until(t, "response", func(f http2.Frame) bool {
			h, ok := f.(*http2.HeadersFrame)
			if !ok {
				return false
			}
			head, err := hpack.NewDecoder(4096, nil).DecodeFull(h.HeaderBlockFragment())
			if err != nil || head[0].Value != "431" {
				t.Errorf("%s: %v %v, want 431", name, head, err)
			}
			return true
		})
	}
}

// Rapid reset (CVE-2023-44487): the server does not run more handlers than
// streams are allowed, and gives the connection up.
func TestHTTP2RapidReset(t *testing.T) {
	release := make(chan struct{})
	var running, most atomic.Int64
	srv := start(t, Config{
		Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			n := running.Add(1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			<-release
			running.Add(-1)
		}),
		Limits: Limits{Streams: 10},
	})
	defer close(release)
	a := attack(t, srv)
	gone := make(chan string, 1)
	go func() {
		last := "closed"
		for {
			f, err := a.ReadFrame()
			if err != nil {
				gone <- last
				return
			}
			if g, ok := f.(*http2.GoAwayFrame); ok {
				last = g.ErrCode.String()
			}
		}
	}()
	head := a.head()
	for i := range uint32(100000) {
		if a.request(2*i+1, head) != nil || a.WriteRSTStream(2*i+1, http2.ErrCodeCancel) != nil {
			break
		}
	}
	if code := wait(t, gone); code != "ENHANCE_YOUR_CALM" && code != "closed" {
		t.Errorf("the connection ended with %s", code)
	}
	if m := most.Load(); m > 10 {
		t.Errorf("%d handlers at a time, want at most 10", m)
	}
}

func TestHTTP2ContinuationFlood(t *testing.T) {
	srv := start(t, Config{Handler: http.HandlerFunc(echo)})
	a := attack(t, srv)
	if err := a.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: a.head()}); err != nil {
		t.Fatal(err)
	}
	a.buf.Reset()
	a.enc.WriteField(hpack.HeaderField{Name: "x", Value: strings.Repeat("a", 15000), Sensitive: true})
	block := bytes.Clone(a.buf.Bytes())
	sent := 0
	for a.WriteContinuation(1, false, block) == nil {
		if sent += len(block); sent > 64<<20 {
			t.Fatal("64 MiB of header were taken")
		}
	}
}

func TestHTTP2AuthorityAndHostMustAgree(t *testing.T) {
	srv := start(t, Config{Handler: http.HandlerFunc(echo)})
	for host, want := range map[string]string{"a.test": "200", "A.test": "200", "b.test": "400"} {
		a := attack(t, srv)
		if err := a.request(1, a.head("host", host)); err != nil {
			t.Fatal(err)
		}
		a.until(t, "response", func(f http2.Frame) bool {
			h, ok := f.(*http2.HeadersFrame)
			if !ok {
				return false
			}
			head, err := hpack.NewDecoder(4096, nil).DecodeFull(h.HeaderBlockFragment())
			if err != nil || head[0].Value != want {
				t.Errorf("host %s: %v %v, want %s", host, head, err, want)
			}
			return true
		})
	}
}

func TestProtocols(t *testing.T) {
	srv := start(t, Config{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s tls=%v", r.Proto, scheme(r), r.TLS != nil && r.TLS.HandshakeComplete)
	})})
	for _, tt := range []struct{ proto, url, want string }{
		{"h1", "http://" + srv.http, "HTTP/1.1 http tls=false"},
		{"h1", "https://" + srv.https, "HTTP/1.1 https tls=true"},
		{"h2", "https://" + srv.https, "HTTP/2.0 https tls=true"},
	} {
		resp, err := srv.client(t, tt.proto).Get(tt.url)
		if err != nil {
			t.Fatal(err)
		}
		got, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if string(got) != tt.want {
			t.Errorf("%s over %s: %q, want %q", tt.proto, tt.url, got, tt.want)
		}
	}
}
