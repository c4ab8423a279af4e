package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

// exchangeRaw sends a request as written and returns the response.
func exchangeRaw(t *testing.T, n *node, request string) *http.Response {
	t.Helper()
	c := n.dial(t)
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Body.Close() })
	return res
}

func TestRequestHeaderHygiene(t *testing.T) {
	var got http.Header
	var host string
	base := upstreamAt(t, func(_ http.ResponseWriter, r *http.Request) { got, host = r.Header.Clone(), r.Host })
	n := nodeWith(t, Config{}, base)
	for _, tt := range []struct {
		name string
		sent string // header lines
		want map[string]string
	}{
		{"nothing is invented", "", map[string]string{"User-Agent": "", "Accept-Encoding": "", "Connection": "", "Te": ""}},
		{"ordinary fields pass", "Cookie: a=b\r\nAuthorization: Basic x\r\nAccept-Encoding: br\r\nUser-Agent: u\r\n", map[string]string{"Cookie": "a=b", "Authorization": "Basic x", "Accept-Encoding": "br", "User-Agent": "u"}},
		{"the client is told about", "", map[string]string{"X-Forwarded-For": "127.0.0.1", "X-Real-Ip": "127.0.0.1", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "shop.example", "Forwarded": `for=127.0.0.1;host="shop.example";proto=http`}},
		{"claims about the client are replaced", "X-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\n", map[string]string{"X-Forwarded-For": "127.0.0.1", "X-Real-Ip": "127.0.0.1", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "shop.example", "Forwarded": `for=127.0.0.1;host="shop.example";proto=http`}},
		{"unknown claims are dropped", "X-Forwarded-Port: 1\r\nX-Forwarded-Client-Cert: x\r\n", map[string]string{"X-Forwarded-Port": "", "X-Forwarded-Client-Cert": ""}},
		{"claims with underscores too", "X_Forwarded_For: 6.6.6.6\r\nx_request_id: 6\r\nX-Forwarded_Proto: https\r\n", map[string]string{"X_forwarded_for": "", "X_request_id": "", "X-Forwarded_proto": ""}},
		{"what is said to the node stays there", "Orla-Debug: 1\r\nOrla-Min-Revision: 3\r\n", map[string]string{"Orla-Debug": "", "Orla-Min-Revision": ""}},
		{"hop-by-hop fields", "Connection: keep-alive, X-Mine\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\nProxy-Authorization: x\r\nX-Mine: 1\r\nTE: gzip\r\n", map[string]string{"Connection": "", "Keep-Alive": "", "Proxy-Connection": "", "Proxy-Authorization": "", "X-Mine": "", "Te": ""}},
		{"named beside close", "Connection: close, X-Mine\r\nX-Mine: 1\r\n", map[string]string{"Connection": "", "X-Mine": ""}},
		{"Connection cannot remove ours", "Connection: X-Forwarded-For, Via, X-Request-Id\r\n", map[string]string{"X-Forwarded-For": "127.0.0.1", "Via": "1.1 orla", "X-Request-Id": "id-1"}},
		{"the client's certificate is the node's word", "Connection: Client-Cert\r\nClient-Cert: :AA==:\r\nClient_Cert: :BB==:\r\nClient-Cert_Chain: :BB==:\r\n", map[string]string{"Client-Cert": ":AA==:", "Client_cert": "", "Client-Cert_chain": ""}},
		{"TE: trailers passes", "TE: trailers, deflate;q=0.5\r\n", map[string]string{"Te": "trailers"}},
		{"request id", "X-Request-Id: client\r\n", map[string]string{"X-Request-Id": "id-1"}},
		{"Via grows", "Via: 1.0 fred, 1.1 p.example\r\nVia: 2.0 x\r\n", map[string]string{"Via": "1.0 fred, 1.1 p.example, 2.0 x, 1.1 orla"}},
		{"trace context passes without a span", "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n", map[string]string{"Traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			exchangeRaw(t, n, "GET / HTTP/1.1\r\nHost: shop.example\r\n"+tt.sent+"\r\n")
			for name, want := range tt.want {
				if have := strings.Join(got[name], ", "); have != want {
					t.Errorf("%s = %q, want %q", name, have, want)
				}
			}
			if host != "shop.example" {
				t.Errorf("Host = %q, want the client's", host)
			}
		})
	}
}

func TestResponseHeaderHygiene(t *testing.T) {
	base := rawUpstream(t, answerWith("HTTP/1.1 200 OK\r\nServer: nginx\r\nX-Request-Id: theirs\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\n"+
		"Keep-Alive: 5\r\nProxy-Authenticate: x\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\nContent-Length: 6\r\n\r\n<html>"))
	n := nodeWith(t, Config{}, base)
	res := n.get(t, "GET", "/")
	want := http.Header{
		"Server":         {"orla"},
		"X-Request-Id":   {"id-1"},
		"Set-Cookie":     {"a=1", "b=2"},
		"Date":           {"Mon, 01 Jan 2024 00:00:00 GMT"},
		"Content-Length": {"6"},
		// No Content-Type: it is not guessed.
	}
	if diff := cmp.Diff(want, res.Header); diff != "" {
		t.Errorf("header (-want +got):\n%s", diff)
	}
}

func TestPathAndQueryPassAsTheyAre(t *testing.T) {
	var got string
	base := upstreamAt(t, func(_ http.ResponseWriter, r *http.Request) { got = r.RequestURI })
	for _, tt := range []struct{ base, sent, want string }{
		{"", "/", "/"},
		{"/", "/a", "/a"},
		{"", "/a%2Fb/c%20d", "/a%2Fb/c%20d"},
		{"", "/a%2fb", "/a%2fb"},
		{"", "/%C3%A9", "/%C3%A9"},
		{"", "//double//", "//double//"},
		{"", "/a;b=c/(x)!$&'*+,=:@", "/a;b=c/(x)!$&'*+,=:@"},
		{"", "/?a=1;b=2&c=%zz&&d", "/?a=1;b=2&c=%zz&&d"},
		{"", "/x?", "/x?"},
		{"/base", "/a", "/base/a"},
		{"/base/", "/a/", "/base/a/"},
		{"/b%2Fs", "/a%2Fb?q=/", "/b%2Fs/a%2Fb?q=/"},
		{"/b s", "/x", "/b%20s/x"},
	} {
		t.Run(tt.base+" "+tt.sent, func(t *testing.T) {
			n := nodeWith(t, Config{}, base+tt.base)
			exchangeRaw(t, n, "GET "+tt.sent+" HTTP/1.1\r\nHost: h\r\n\r\n")
			if got != tt.want {
				t.Errorf("upstream saw %q, want %q", got, tt.want)
			}
		})
	}
}

func TestForwardedSpellsAddresses(t *testing.T) {
	for remote, want := range map[string]string{
		"192.0.2.1:80":          `for=192.0.2.1;host="h:1";proto=http`,
		"[2001:db8::1]:80":      `for="[2001:db8::1]";host="h:1";proto=http`,
		"[fe80::1%eth0]:80":     `for="[fe80::1]";host="h:1";proto=http`,
		"[::ffff:192.0.2.1]:80": `for=192.0.2.1;host="h:1";proto=http`,
		"192.0.2.1":             `for=192.0.2.1;host="h:1";proto=http`,
		"@":                     `host="h:1";proto=http`,
	} {
		h := http.Header{}
		setForwarded(h, &http.Request{RemoteAddr: remote, Host: "h:1"})
		if got := h.Get("Forwarded"); got != want {
			t.Errorf("client %q: Forwarded = %q, want %q", remote, got, want)
		}
	}
}

func TestLoopEnds(t *testing.T) {
	var n *node
	n = nodeWith(t, Config{}, upstreamAt(t, func(w http.ResponseWriter, r *http.Request) { n.serve(w, r) }))
	res := n.get(t, "GET", "/")
	if res.StatusCode != http.StatusLoopDetected {
		t.Errorf("status = %d, want 508", res.StatusCode)
	}
}

func TestNewRefuses(t *testing.T) {
	for _, tt := range []struct {
		proxy *orlav1.Proxy
		want  string
	}{
		{nil, "proxy.to: 0 upstreams"},
		{&orlav1.Proxy{To: make([]string, 65)}, "proxy.to: 65 upstreams"},
		{&orlav1.Proxy{To: []string{"http://a", "10.0.0.5:8080"}}, "proxy.to[1]: "},
		{&orlav1.Proxy{To: []string{"ftp://a"}}, "use http://, https:// or h2c://"},
		{&orlav1.Proxy{To: []string{"http://"}}, "no host"},
		{&orlav1.Proxy{To: []string{"http://u:p@a"}}, "credentials do not belong into routes"},
		{&orlav1.Proxy{To: []string{"http://a?x"}}, "query"},
		{&orlav1.Proxy{To: []string{"http://a#x"}}, "fragment"},
		{&orlav1.Proxy{To: []string{"http://a:0"}}, "port 0: use 1 to 65535"},
		{&orlav1.Proxy{To: []string{"http://a:70000"}}, "port 70000"},
		{&orlav1.Proxy{To: []string{"http://a"}, Health: "healthz"}, `proxy.health: "healthz" is not a path`},
	} {
		if _, err := New(Config{Proxy: tt.proxy}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("New(%v): error = %v, want %q", tt.proxy, err, tt.want)
		}
	}
}

// FuzzOutgoingURL holds that an upstream sees the octets of the path and query
// that the node has seen.
func FuzzOutgoingURL(f *testing.F) {
	for _, s := range []string{"/", "/a%2Fb?x;y", "//x", "/%zz", "/a|b", "/é?\"", "/a/../b?#"} {
		f.Add(s)
	}
	base := &target{upstream: &upstream{scheme: "http", host: "up:1"}, path: "/b s", rawPath: "/b%20s"}
	f.Fuzz(func(t *testing.T, s string) {
		in, err := url.ParseRequestURI(s)
		if err != nil || in.Host != "" || in.Opaque != "" || !strings.HasPrefix(in.Path, "/") {
			t.Skip()
		}
		want := "/b%20s" + in.EscapedPath()
		if in.RawQuery != "" || in.ForceQuery {
			want += "?" + in.RawQuery
		}
		if got := outgoingURL(base, in).RequestURI(); got != want {
			t.Errorf("%q becomes %q, want %q", s, got, want)
		}
	})
}

func TestHops(t *testing.T) {
	for via, want := range map[string]int{"": 0, "1.1 orla": 1, "1.1 orlando, 1.0 orla (x), orla": 1, "1.1 orla,2.0  orla": 2} {
		if got := hops([]string{via}); got != want {
			t.Errorf("hops(%q) = %d, want %d", via, got, want)
		}
	}
	if got := fmt.Sprint(isPrintable("websocket"), isPrintable("a\tb"), isPrintable("é")); got != "true false false" {
		t.Errorf("isPrintable = %s", got)
	}
}
