package server

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/orla-edge/orla/router"
)

// The same bytes are sent in the clear and through TLS: what follows must not
// depend on that.
func TestRequestVectors(t *testing.T) {
	const host = "Host: a.test\r\n"
	srv := start(t, Config{Handler: http.HandlerFunc(echo)})
	for _, tt := range []struct {
		name, raw string
		status    []int // of every answer before the connection is closed
		body      string
	}{
		{"plain", "GET / HTTP/1.1\r\n" + host + "Connection: close\r\n\r\n", []int{200}, ""},
		{"length and coding", "POST / HTTP/1.1\r\n" + host + "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n" + host + "\r\n", []int{200}, ""},
		{"coding and length", "POST / HTTP/1.1\r\n" + host + "transfer-encoding: chunked\r\ncontent-length: 1\r\n\r\n1\r\nx\r\n0\r\n\r\n", []int{200}, "x"},
		{"second chunked request after a chunked one", "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nPOST / HTTP/1.1\r\n" + host + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n" + host + "\r\n", []int{200, 200}, ""},
		{"after a body", "POST / HTTP/1.1\r\n" + host + "Content-Length: 3\r\n\r\nabcPOST / HTTP/1.1\r\n" + host + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n" + host + "\r\n", []int{200, 200}, "abc"},
		{"HTTP/1.0 with coding", "POST / HTTP/1.0\r\n" + host + "Transfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n0\r\n\r\n", []int{400}, ""},
		{"HTTP/1.0 with coding and length", "POST / HTTP/1.0\r\n" + host + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n0\r\n\r\n", []int{400}, ""},
		{"two lengths", "POST / HTTP/1.1\r\n" + host + "Content-Length: 3\r\nContent-Length: 5\r\n\r\nabcde", []int{400}, ""},
		{"signed length", "POST / HTTP/1.1\r\n" + host + "Content-Length: +3\r\n\r\nabc", []int{400}, ""},
		{"unknown coding", "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", []int{501}, ""},
		{"two codings", "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", []int{501}, ""},
		{"space before colon", "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", []int{400}, ""},
		{"null in value", "GET / HTTP/1.1\r\n" + host + "X: a\x00b\r\n\r\n", []int{400}, ""},
		{"no host", "GET / HTTP/1.1\r\n\r\n", []int{400}, ""},
		{"no host in HTTP/1.0", "GET / HTTP/1.0\r\n\r\n", []int{400}, ""},
		{"two hosts", "GET / HTTP/1.1\r\n" + host + "Host: b.test\r\n\r\n", []int{400}, ""},
		{"host with path", "GET / HTTP/1.1\r\nHost: a.test/../b\r\n\r\n", []int{400}, ""},
		{"host with user", "GET / HTTP/1.1\r\nHost: x@a.test\r\n\r\n", []int{400}, ""},
		{"host with bad port", "GET / HTTP/1.1\r\nHost: a.test:http\r\n\r\n", []int{400}, ""},
		{"target with user", "GET http://u:p@a.test/ HTTP/1.1\r\n" + host + "\r\n", []int{400}, ""},
		{"target of another scheme", "GET ftp://a.test/ HTTP/1.1\r\n" + host + "\r\n", []int{400}, ""},
		{"encoded dot-dot", "GET /a/%2e%2e/x HTTP/1.1\r\n" + host + "\r\n", []int{400}, ""},
		{"encoded dot-dot-slash", "GET /a/..%2f..%2fx HTTP/1.1\r\n" + host + "\r\n", []int{400}, ""},
		{"above the root", "GET /../x HTTP/1.1\r\n" + host + "\r\n", []int{400}, ""},
		{"backslash", "GET /a\\..\\x HTTP/1.1\r\n" + host + "\r\n", []int{400}, ""},
		{"encoded backslash", "GET /a%5c..%5Cx HTTP/1.1\r\n" + host + "\r\n", []int{400}, ""},
		{"encoded null", "GET /a%00b HTTP/1.1\r\n" + host + "\r\n", []int{400}, ""},
		{"control character", "GET /a\x01b HTTP/1.1\r\n" + host + "\r\n", []int{400}, ""},
		{"space in target", "GET /a b HTTP/1.1\r\n" + host + "\r\n", []int{400}, ""},
		{"CONNECT", "CONNECT a.test:443 HTTP/1.1\r\n" + host + "Connection: close\r\n\r\n", []int{405}, ""},
		{"TRACE", "TRACE / HTTP/1.1\r\n" + host + "Connection: close\r\n\r\n", []int{405}, ""},
		{"OPTIONS *", "OPTIONS * HTTP/1.1\r\n" + host + "Connection: close\r\n\r\n", []int{204}, ""},
		{"GET *", "GET * HTTP/1.1\r\n" + host + "\r\n", []int{400}, ""},
		{"URL too long", "GET /" + strings.Repeat("a", 8<<10) + " HTTP/1.1\r\n" + host + "\r\n", []int{414}, ""},
		{"too many fields", "GET / HTTP/1.1\r\n" + host + strings.Repeat("A: 1\r\n", 101) + "\r\n", []int{431}, ""},
		{"fields too large", "GET / HTTP/1.1\r\n" + host + "A: " + strings.Repeat("a", 40<<10) + "\r\n\r\n", []int{431}, ""},
	} {
		for _, transport := range []string{"", "http/1.1"} {
			t.Run(tt.name+"/"+cmpOr(transport, "plain"), func(t *testing.T) {
				c := srv.dial(t, transport)
				go func() { _, _ = io.WriteString(c, tt.raw) }() // the server may stop reading
				got, bodies := responses(t, c)
				var status []int
				for _, r := range got {
					status = append(status, r.StatusCode)
				}
				if fmt.Sprint(status) != fmt.Sprint(tt.status) {
					t.Fatalf("answers %v, want %v, then closed", status, tt.status)
				}
				if tt.body != "" && bodies[0] != tt.body {
					t.Errorf("body %q, want %q", bodies[0], tt.body)
				}
			})
		}
	}
}

func cmpOr(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func TestTargetIsNormalised(t *testing.T) {
	srv := start(t, Config{Handler: http.HandlerFunc(echo)})
	for _, tt := range []struct{ target, want, path, host string }{
		{"/a/b?q=%2e", "/a/b?q=%2e", "/a/b", "a.test"},
		{"/a/./b/../c", "/a/c", "/a/c", "a.test"},
		{"/%61%2fb", "/a%2Fb", "/a%2Fb", "a.test"},
		{"/it's(fine)!*", "/it's(fine)!*", "/it's(fine)!*", "a.test"},
		{"/%27", "/'", "/'", "a.test"},
		{"/a\"b", "/a%22b", "/a%22b", "a.test"},
		{"/caf\u00e9?x=1", "/caf%C3%A9?x=1", "/caf%C3%A9", "a.test"},
		{"//x//", "//x//", "//x//", "a.test"},
		{"http://b.test/x?y=1", "/x?y=1", "/x", "b.test"},
		{"http://b.test:8080", "/", "/", "b.test:8080"},
		{"https://b.test?y", "/?y", "/", "b.test"},
	} {
		c := srv.dial(t, "")
		fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n", tt.target)
		got, _ := responses(t, c)
		if len(got) != 1 || got[0].StatusCode != 200 {
			t.Errorf("GET %s: %d answers, %v", tt.target, len(got), got)
			continue
		}
		h := got[0].Header
		if h.Get("Echo-Target") != tt.want || h.Get("Echo-Path") != tt.path || h.Get("Echo-Host") != tt.host {
			t.Errorf("GET %s: target %q path %q host %q, want %q %q %q", tt.target,
				h.Get("Echo-Target"), h.Get("Echo-Path"), h.Get("Echo-Host"), tt.want, tt.path, tt.host)
		}
	}
}

func TestForgedFieldsAreRemoved(t *testing.T) {
	srv := start(t, Config{Handler: http.HandlerFunc(echo)})
	forged := []string{
		"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Anything", "Forwarded", "X-Real-Ip",
		"Client-Cert", "Client-Cert-Chain", "Client_Cert",
		"Orla-Node", "Orla-Revision", "Orla-Anything", "X_Forwarded_For", "Content_Length", "Proxy",
	}
	kept := []string{"Orla-Min-Revision", "Orla-Debug", "Orla-Token", "X-Forward", "Proxy-Authorization", "X-Request-Id", "Accept"}
	for _, proto := range []string{"h1", "h2"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+srv.https+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range append(append([]string(nil), forged...), kept...) {
			req.Header[name] = []string{"1"}
		}
		resp, err := srv.client(t, proto).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		seen := map[string]bool{}
		for _, name := range resp.Header["Echo-Fields"] {
			seen[strings.ToLower(name)] = true
		}
		for _, name := range forged {
			if seen[strings.ToLower(name)] {
				t.Errorf("%s: the handler saw %s", proto, name)
			}
		}
		for _, name := range kept {
			if !seen[strings.ToLower(name)] {
				t.Errorf("%s: the handler did not see %s", proto, name)
			}
		}
	}
}

func TestRequestID(t *testing.T) {
	srv := start(t, Config{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Request-Id", "upstream's")
		w.Header().Set("Seen", r.Header.Get("X-Request-Id"))
		if r.URL.Path == "/panic" {
			panic("as asked")
		}
	})})
	for _, tt := range []struct {
		path, sent string
		echoed     bool
	}{
		{"/", "a.B_c-9", true},
		{"/", strings.Repeat("a", 128), true},
		{"/", strings.Repeat("a", 129), false},
		{"/", "", false},
		{"/", "a b", false},
		{"/", "<script>", false},
		{"/panic", "abc", true},
		{"/%5c", "abc", true},
		{"/%5c", "", false},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+srv.http+tt.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if tt.sent != "" {
			req.Header.Set("X-Request-Id", tt.sent)
		}
		resp, err := srv.client(t, "h1").Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		got := resp.Header["X-Request-Id"]
		if len(got) != 1 || (got[0] == tt.sent) != tt.echoed || !validRequestID(got[0]) {
			t.Errorf("%s %q: X-Request-Id %q, want it echoed: %v", tt.path, tt.sent, got, tt.echoed)
			continue
		}
		if server := resp.Header["Server"]; len(server) != 1 || server[0] != "orla" {
			t.Errorf("%s: Server %q, want orla", tt.path, server)
		}
		if resp.StatusCode == 200 && resp.Header.Get("Seen") != got[0] {
			t.Errorf("%s: the handler saw %q, want %q", tt.path, resp.Header.Get("Seen"), got[0])
		}
		if resp.StatusCode != 200 && !bytes.Contains(body, []byte(got[0])) {
			t.Errorf("%s: page %q does not name the request", tt.path, body)
		}
	}
}

// FuzzNormalise feeds whole request heads to net/http's parser and to what
// comes after it.
func FuzzNormalise(f *testing.F) {
	for _, seed := range []string{
		"GET /a/%2e%2e/b HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET /a/../b?q=/../ HTTP/1.1\r\nHost: a:80\r\nX_Y: 1\r\nForwarded: for=1\r\n\r\n",
		"POST http://u@b/%61 HTTP/1.1\r\nHost: a\r\nOrla-Node: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET /\x80'%27\" HTTP/1.0\r\nHost: [::1]:1\r\n\r\n",
		"GET //a//. HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1\r\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	limits := Limits{}.withDefaults()
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
		if err != nil {
			return
		}
		if normalise(r, framing{}, &limits) != nil || r.RequestURI == "*" {
			return
		}
		path := r.URL.EscapedPath()
		if clean, err := router.CleanPath(path); err != nil || clean != path {
			t.Fatalf("EscapedPath %q, want %q, %v", path, clean, err)
		}
		if r.RequestURI != r.URL.RequestURI() {
			t.Fatalf("RequestURI %q, want %q", r.RequestURI, r.URL.RequestURI())
		}
		if before, _, _ := strings.Cut(r.RequestURI, "?"); before != path {
			t.Fatalf("RequestURI %q does not have the path %q", r.RequestURI, path)
		}
		if router.CleanHost(r.Host) == "" {
			t.Fatalf("host %q", r.Host)
		}
		for name := range r.Header {
			if forged(name) {
				t.Fatalf("field %q", name)
			}
		}
		again := r.Clone(t.Context())
		if ref := normalise(again, framing{}, &limits); ref != nil || again.RequestURI != r.RequestURI {
			t.Fatalf("normalised twice: %q, %v; once: %q", again.RequestURI, ref, r.RequestURI)
		}
	})
}
