package runtime_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/runtime"
	"github.com/orla-edge/orla/runtime/cgi"
	"github.com/orla-edge/orla/runtime/host"
)

func TestCGIEnvironmentReachesTheGuest(t *testing.T) {
	b := newBench(t, runtime.Config{})
	p := b.load(t, cgiGuest(t), &orlav1.Function{
		Source: "dir/x.wasm", Args: []string{"/a b.py", "2"},
		Env: map[string]string{"GREETING": "moin", "REQUEST_METHOD": "forged"},
	})
	if p.ABI() != orlav1.Abi_ABI_CGI {
		t.Fatalf("ABI() = %v, want CGI", p.ABI())
	}
	url, _ := serve(t, p.Handler("/api/*", "/api"))
	req, _ := http.NewRequestWithContext(t.Context(), "GET", url+"/api/env?a=1&b=2", nil)
	req.Header.Set("X-Custom", "v")
	req.Header.Set("Proxy", "http://evil.example")
	got := send(t, req).body
	for _, want := range []string{
		"argv[0]=x.wasm", "argv[1]=/a b.py", "argv[2]=2", "GREETING=moin", "REQUEST_METHOD=GET",
		"SCRIPT_NAME=/api", "PATH_INFO=/env", "QUERY_STRING=a=1&b=2", "HTTP_X_CUSTOM=v", "X_MATCHED_ROUTE=/api/*",
		"GATEWAY_INTERFACE=CGI/1.1", "SERVER_PROTOCOL=HTTP/1.1", "REMOTE_ADDR=127.0.0.1",
	} {
		if !strings.Contains(got, want+"\n") {
			t.Errorf("the guest does not see %q in\n%s", want, got)
		}
	}
	for _, not := range []string{"argv[3]", "HTTP_PROXY", "PATH=", "HOME=", "forged"} {
		if strings.Contains(got, not) {
			t.Errorf("the guest sees %q", not)
		}
	}
}

func TestCGIResponses(t *testing.T) {
	b := newBench(t, runtime.Config{})
	url, _ := serve(t, b.load(t, cgiGuest(t), &orlav1.Function{}).Handler("/*", ""))
	for _, c := range []struct {
		name, output, body string
		status             int
		header             map[string]string
	}{
		{"document", "Content-Type: text/plain\n\nhi", "hi", 200, map[string]string{"Content-Type": "text/plain"}},
		{"crlf and status", "Status: 404 Not Found\r\nContent-Type: text/x\r\n\r\nno", "no", 404, nil},
		{"status alone", "Status: 204\n\n", "", 204, nil},
		{"a body of no type", "Status: 200\n\n<html>", "<html>", 200, map[string]string{"Content-Type": ""}},
		{"redirect to a URL", "Location: https://x.example/a?b#c\n\n", "", 302, map[string]string{"Location": "https://x.example/a?b#c"}},
		{"redirect with a document", "Status: 303\nLocation: /a\nContent-Type: text/x\n\nsee", "see", 303, map[string]string{"Location": "/a", "Content-Type": "text/x"}},
		{"redirect to a path with a document", "Location: /a\nContent-Type: text/x\n\nsee", "see", 302, map[string]string{"Location": "/a"}},
		{"not modified", "Status: 304\nETag: \"x\"\nContent-Length: 9\n\nnot sent", "", 304, map[string]string{"Etag": `"x"`}},
		{"two cookies", "Content-Type: a/b\nSet-Cookie: a=1\nSet-Cookie: b=2\n\n", "", 200, map[string]string{"Set-Cookie": "a=1, b=2"}},
		{"how the body is sent", "Content-Type: a/b\nTransfer-Encoding: gzip\nTrailer: x\n\nhi", "hi", 200, map[string]string{"Transfer-Encoding": "", "Trailer": "", "Content-Length": "2"}},
		{"redirect to a path", "Location: /there?x=1\n\n", "", 302, map[string]string{"Location": "/there?x=1"}},
		{"redirect to a URL with status", "Status: 307\nLocation: https://x.example/\n\n", "", 307, map[string]string{"Location": "https://x.example/"}},
		{"two fields of one name", "Content-Type: a/b\nX-A: 1\nX-A: 2\n\n", "", 200, map[string]string{"X-A": "1, 2"}},
		{
			"the node's own fields", "Content-Type: a/b\nX-Request-Id: forged\nServer: x\nOrla-Node: y\nConnection: upgrade\n\n", "", 200,
			map[string]string{"X-Request-Id": "", "Server": "", "Orla-Node": ""},
		},
		{"content length", "Content-Type: a/b\nContent-Length: 2\n\nok", "ok", 200, map[string]string{"Content-Length": "2"}},
	} {
		got := do(t, "POST", url+"/raw", strings.NewReader(c.output))
		if got.StatusCode != c.status || got.body != c.body || got.err != nil {
			t.Errorf("%s: answer %d %q (%v), want %d %q", c.name, got.StatusCode, got.body, got.err, c.status, c.body)
		}
		for name, want := range c.header {
			if v := strings.Join(got.Header.Values(name), ", "); v != want {
				t.Errorf("%s: %s = %q, want %q", c.name, name, v, want)
			}
		}
	}
	if got := get(t, url+"/bytewise"); got.StatusCode != 201 || got.body != "body" {
		t.Errorf("a head written byte by byte: %d %q", got.StatusCode, got.body)
	}
	if got := do(t, "HEAD", url+"/x", nil); got.StatusCode != 200 || got.body != "" || got.Header.Get("Content-Type") != "text/plain" {
		t.Errorf("HEAD: %d %q %v", got.StatusCode, got.body, got.Header)
	}
	if got := do(t, "HEAD", url+"/head-length", nil); got.StatusCode != 200 || got.Header.Get("Content-Length") != "1234" {
		t.Errorf("HEAD of a document with a length: %d %v", got.StatusCode, got.Header)
	}
	if got := get(t, url+"/read-all"); got.body != "0\n" {
		t.Errorf("a GET without a body has %q bytes", got.body)
	}
	if got := do(t, "POST", url+"/close-stdin", strings.NewReader("unread")); got.body != "ok" {
		t.Errorf("a guest that closes stdin: %q", got.body)
	}
	if got := do(t, "POST", url+"/count", bytes.NewReader(make([]byte, 200<<10))); got.StatusCode != 200 {
		t.Errorf("a guest that ignores stdin: %d", got.StatusCode)
	}
}

// TestCGIAnswersEarly: the answer is there while the request's body is not.
func TestCGIAnswersEarly(t *testing.T) {
	b := newBench(t, runtime.Config{Timeout: time.Minute})
	url, last := serve(t, b.load(t, cgiGuest(t), &orlav1.Function{}).Handler("/*", ""))
	r, w := io.Pipe() // written to only once the answer is there
	req, _ := http.NewRequestWithContext(t.Context(), "POST", url+"/count", r)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || string(body) != "1\n" {
		t.Errorf("the answer is %q, %v", body, err)
	}
	w.Close()
	if rec := last(); rec.Err != nil {
		t.Errorf("the record has %v", rec.Err)
	}
}

// TestCGIContentLength: a body that is not as long as it says never passes for whole.
func TestCGIContentLength(t *testing.T) {
	b := newBench(t, runtime.Config{})
	url, last := serve(t, b.load(t, cgiGuest(t), &orlav1.Function{}).Handler("/*", ""))
	for name, output := range map[string]string{"longer": "Content-Type: a/b\nContent-Length: 2\n\nabc", "shorter": "Content-Type: a/b\nContent-Length: 4\n\nabc"} {
		got, rec := do(t, "POST", url+"/raw", strings.NewReader(output)), last()
		if got.err == nil {
			t.Errorf("%s: the client gets %q and no error", name, got.body)
		}
		if !errors.Is(rec.Err, cgi.ErrHead) || !strings.Contains(rec.Err.Error(), name+" than its Content-Length") {
			t.Errorf("%s: the record has %v", name, rec.Err)
		}
	}
}

func TestCGIBadResponses(t *testing.T) {
	b := newBench(t, runtime.Config{})
	url, last := serve(t, b.load(t, cgiGuest(t), &orlav1.Function{}).Handler("/*", ""))
	for name, output := range map[string]string{
		"nothing": "", "no head": "hello\n\nx", "cut short": "Content-Type: a/b\n", "only a body": "\nx", "bad status": "Status: 99\n\n",
		"bad name": "Con tent: x\n\n", "control character": "Content-Type: a\x01b\n\n", "two lengths": "Status: 200\nContent-Length: 1\nContent-Length: 2\n\n",
		"a status line": "HTTP/1.1 200 OK\r\nContent-Type: a/b\r\n\r\nx", "a folded field": "Content-Type: a/b\n c\n\n", "two types": "Content-Type: a/b\nContent-Type: c/d\n\n",
	} {
		got := do(t, "POST", url+"/raw", strings.NewReader(output))
		if got.err != nil || got.StatusCode != http.StatusBadGateway || !strings.Contains(got.body, "request r1") || got.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: answer %d %q, want 502 with the request's id", name, got.StatusCode, got.body)
		}
		if rec := last(); !errors.Is(rec.Err, cgi.ErrHead) || strings.Contains(got.body, "cgi") {
			t.Errorf("%s: the record has %v, the client sees %q", name, rec.Err, got.body)
		}
	}
	if got := get(t, url+"/endless-head"); got.err != nil || got.StatusCode != http.StatusBadGateway {
		t.Errorf("an endless head: %v, cause %v", got.err, last().Err)
	}
}

func TestCGIFailures(t *testing.T) {
	b := newBench(t, runtime.Config{})
	p := b.load(t, cgiGuest(t), &orlav1.Function{Timeout: durationpb.New(300 * time.Millisecond), MemoryBytes: 8 << 20})
	url, last := serve(t, p.Handler("/*", ""))
	for _, c := range []struct {
		path   string
		status int
		cause  string
	}{
		{"/trap", 502, "unreachable"},
		{"/recurse", 502, ""},
		{"/exit?3", 502, "exit_code(3)"},
		{"/exit?0", 502, "printed nothing"},
		{"/loop", 504, "timeout has passed"},
		{"/sleep", 504, "timeout has passed"},
	} {
		got, rec := get(t, url+c.path), last()
		if got.StatusCode != c.status || rec.Err == nil || !strings.Contains(rec.Err.Error(), c.cause) {
			t.Errorf("%s: answer %d, cause %v, want %d and %q", c.path, got.StatusCode, rec.Err, c.status, c.cause)
		}
		if rec.Target != "function" || rec.Function != "fn" || rec.Guest <= 0 {
			t.Errorf("%s: record %+v", c.path, rec)
		}
		if !strings.Contains(got.body, "request r1") {
			t.Errorf("%s: the answer %q does not name the request", c.path, got.body)
		}
	}
	if lines := b.log.lines("function failed", "request_id=r1", "outcome=crash", "app=app", "function=fn"); len(lines) < 3 {
		t.Errorf("the log has %d lines of crashes:\n%s", len(lines), b.log)
	}
	for _, path := range []string{"/late-trap", "/late-loop"} {
		if got := get(t, url+path); !errors.Is(got.err, io.ErrUnexpectedEOF) && !errors.Is(got.err, io.EOF) {
			t.Errorf("%s: the answer %q ends with %v, want to see that it is cut short", path, got.body, got.err)
		}
	}
	if got := get(t, url+"/late-exit?7"); got.body != "done" || got.err != nil {
		t.Errorf("/late-exit: %q %v, want the whole answer", got.body, got.err)
	}
	if b.log.lines("exit code 7", "level=WARN") == nil {
		t.Errorf("the log does not tell exit code 7:\n%s", b.log)
	}
}

func TestMemoryCap(t *testing.T) {
	b := newBench(t, runtime.Config{Memory: 4 << 20})
	small, _ := serve(t, b.load(t, cgiGuest(t), &orlav1.Function{}).Handler("/*", ""))
	large, _ := serve(t, b.load(t, cgiGuest(t), &orlav1.Function{MemoryBytes: 32 << 20}).Handler("/*", ""))
	if got := get(t, small+"/grow?64").body; got < "2\n" || got >= "4\n" {
		t.Errorf("with 4 MiB a guest gets %q times 1 MiB, want 2 or 3", got)
	}
	if got := get(t, large+"/grow?64").body; got < "25\n" || got > "31\n" {
		t.Errorf("with 32 MiB a guest gets %q times 1 MiB, want close to 31", got)
	}
	if got := get(t, large+"/grow?10").body; got != "10\n" {
		t.Errorf("with 32 MiB a guest gets %q times 1 MiB, want the 10 that it asks for", got)
	}
}

func TestDeadlineWhileTheClientIsSlow(t *testing.T) {
	b := newBench(t, runtime.Config{})
	p := b.load(t, cgiGuest(t), &orlav1.Function{Timeout: durationpb.New(200 * time.Millisecond)})
	url, last := serve(t, p.Handler("/*", ""))

	t.Run("sending its body", func(t *testing.T) {
		r, w := io.Pipe() // never written to
		defer w.Close()
		if got := do(t, "POST", url+"/read-all", r); got.StatusCode != 504 {
			t.Errorf("answer %d %q, want 504", got.StatusCode, got.body)
		}
		last()
	})
	t.Run("reading the answer", func(t *testing.T) {
		conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, "GET /flood HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if rec := last(); rec.Err == nil || !strings.Contains(rec.Err.Error(), "timeout has passed") {
			t.Errorf("the guest ended with %v", rec.Err)
		}
	})
}

func TestClientGoneStopsTheGuest(t *testing.T) {
	b := newBench(t, runtime.Config{Timeout: time.Minute})
	url, last := serve(t, b.load(t, cgiGuest(t), &orlav1.Function{}).Handler("/*", ""))
	for _, path := range []string{"/sleep", "/loop", "/flood"} {
		ctx, cancel := context.WithCancel(t.Context())
		req, _ := http.NewRequestWithContext(ctx, "GET", url+path, nil)
		time.AfterFunc(50*time.Millisecond, cancel)
		if resp, err := http.DefaultClient.Do(req); err == nil {
			_, err = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%s: the client ended with %v", path, err)
			}
		}
		if rec := last(); rec.Err == nil || strings.Contains(rec.Err.Error(), "timeout has passed") {
			t.Errorf("%s: the guest ended with %v", path, rec.Err)
		}
	}
}

func TestCGIStreamsBothWays(t *testing.T) {
	b := newBench(t, runtime.Config{})
	h := b.load(t, cgiGuest(t), &orlav1.Function{}).Handler("/*", "")
	for name, start := range map[string]func(*httptest.Server){
		"HTTP/1.1": (*httptest.Server).StartTLS,
		"HTTP/2":   func(s *httptest.Server) { s.EnableHTTP2 = true; s.StartTLS() },
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewUnstartedServer(h)
			start(srv)
			defer srv.Close()
			pingPong(t, srv, "/echo")
		})
	}
}

// pingPong sends a piece of a body only when the piece before has come back.
func pingPong(t *testing.T, srv *httptest.Server, path string) {
	t.Helper()
	r, w := io.Pipe()
	req, _ := http.NewRequestWithContext(t.Context(), "POST", srv.URL+path, r)
	type result struct {
		resp *http.Response
		err  error
	}
	answered := make(chan result, 1)
	go func() {
		resp, err := srv.Client().Do(req)
		answered <- result{resp, err}
	}()
	var in *bufio.Reader
	for _, piece := range []string{"one\n", "two\n", strings.Repeat("x", 100_000) + "\n"} {
		if _, err := io.WriteString(w, piece); err != nil {
			t.Fatal(err)
		}
		if in == nil {
			a := <-answered
			if a.err != nil {
				t.Fatal(a.err)
			}
			defer a.resp.Body.Close()
			in = bufio.NewReader(a.resp.Body)
		}
		if got, err := in.ReadString('\n'); got != piece {
			t.Fatalf("got %.20q (%v), want %.20q", got, err, piece)
		}
	}
	w.Close()
	if rest, err := io.ReadAll(in); len(rest) > 0 || err != nil {
		t.Errorf("at the end: %q, %v", rest, err)
	}
}

func TestCGILargeBody(t *testing.T) {
	b := newBench(t, runtime.Config{Memory: 2 << 20}) // far less than the body
	url, _ := serve(t, b.load(t, cgiGuest(t), &orlav1.Function{}).Handler("/*", ""))
	body := make([]byte, 20<<20)
	rand.Read(body)
	if got := do(t, "POST", url+"/echo", bytes.NewReader(body)); got.body != string(body) {
		t.Errorf("20 MiB came back as %d bytes (%v)", len(got.body), got.err)
	}
}

func TestGuestOutputReachesTheLog(t *testing.T) {
	b := newBench(t, runtime.Config{})
	// The first request takes of what the second may print in a second, by default as many
	// lines as one request may.
	fn := &orlav1.Function{Limits: &orlav1.Limits{LogLinesPerSecond: 10 * host.MaxLines}}
	url, _ := serve(t, b.load(t, cgiGuest(t), fn).Handler("/*", ""))
	get(t, url+"/log")
	for _, line := range []string{"first", `"second half"`, "last"} {
		if got := b.log.lines("msg="+line+" ", "stream=stderr", "app=app", "function=fn", "request_id=r1"); len(got) != 1 {
			t.Errorf("%d log lines for %s in\n%s", len(got), line, b.log)
		}
	}
	get(t, url+"/log-many")
	if got := len(b.log.lines(`msg="line `)); got != host.MaxLines {
		t.Errorf("%d lines of 5000 reach the log, want %d", got, host.MaxLines)
	}
	if b.log.lines("printed too much for one request; dropping the rest", "limit=log") == nil {
		t.Error("the log does not tell that lines were dropped")
	}
}

func TestGuestHasRandomAndClocks(t *testing.T) {
	b := newBench(t, runtime.Config{})
	url, _ := serve(t, b.load(t, cgiGuest(t), &orlav1.Function{}).Handler("/*", ""))
	one, two := strings.Fields(get(t, url+"/random").body), strings.Fields(get(t, url+"/random").body)
	if len(one) != 2 || len(two) != 2 || one[0] == two[0] || one[1] < "1700000000" {
		t.Errorf("random and time: %v, then %v", one, two)
	}
}

func TestIsolation(t *testing.T) {
	b := newBench(t, runtime.Config{})
	for name, wasm := range map[string][]byte{"cgi": cgiGuest(t), "http-wasm": handlerGuest(t)} {
		url, _ := serve(t, b.load(t, wasm, &orlav1.Function{}).Handler("/*", ""))
		for range 3 {
			if got := strings.TrimSpace(get(t, url+"/count").body); got != "1" {
				t.Errorf("%s: the guest's counter is at %q, want 1 in every request", name, got)
			}
		}
	}
}

// TestUnreadBodyDoesNotCostTheAnswer: a client that still sends when its answer is there,
// on a connection that ends with it, is not cut off. One try in ten was.
func TestUnreadBodyDoesNotCostTheAnswer(t *testing.T) {
	b := newBench(t, runtime.Config{})
	url, _ := serve(t, b.load(t, cgiGuest(t), &orlav1.Function{}).Handler("/*", ""))
	for range 100 {
		if got := do(t, "POST", url+"/count", bytes.NewReader(make([]byte, 200<<10))); got.StatusCode != 200 || got.body != "1\n" {
			t.Fatalf("answer %d %q", got.StatusCode, got.body)
		}
	}
}
