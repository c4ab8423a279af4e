package cgi

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/orla-edge/orla/runtime/host"
)

func envOf(r *http.Request, m Mount) map[string]string {
	env := make(map[string]string)
	for _, v := range Env(r, m) {
		env[v.Name] = v.Value
	}
	return env
}

func TestEnv(t *testing.T) {
	r := httptest.NewRequest("POST", "/api/a%20b/c%2Fd?x=1&y=%20", strings.NewReader("body"))
	r.Host = "shop.example:8443"
	r.TLS = &tls.ConnectionState{}
	r.RemoteAddr = "[2001:db8::1]:4711"
	r.Header = http.Header{
		"Content-Type": {"text/x"}, "Content-Length": {"4"}, "X-Multi": {"a", "b"}, "Cookie": {"a=1", "b=2"},
		"Authorization": {"Bearer t"}, "Proxy": {"p"}, "Connection": {"close"}, "X_Under": {"u"}, "Orla-Debug": {"1"},
		"Proxy-Authorization": {"x"}, "Traceparent": {"00-1-2-01"},
	}
	want := map[string]string{
		"GATEWAY_INTERFACE": "CGI/1.1", "REQUEST_METHOD": "POST", "SCRIPT_NAME": "/api", "PATH_INFO": "/a b/c/d",
		"QUERY_STRING": "x=1&y=%20", "REMOTE_ADDR": "2001:db8::1", "REMOTE_HOST": "2001:db8::1", "REMOTE_PORT": "4711",
		"SERVER_NAME": "shop.example", "SERVER_PORT": "8443", "SERVER_PROTOCOL": "HTTP/1.1", "SERVER_SOFTWARE": "orla",
		"REQUEST_SCHEME": "https", "HTTPS": "on", "REQUEST_URI": "/api/a%20b/c%2Fd?x=1&y=%20",
		"X_FULL_URL": "https://shop.example:8443/api/a%20b/c%2Fd?x=1&y=%20", "X_MATCHED_ROUTE": "/api/*",
		"X_RAW_PATH_INFO": "/a%20b/c%2Fd", "CONTENT_LENGTH": "4", "CONTENT_TYPE": "text/x",
		"HTTP_HOST": "shop.example:8443", "HTTP_X_MULTI": "a, b", "HTTP_COOKIE": "a=1; b=2",
		"HTTP_AUTHORIZATION": "Bearer t", "HTTP_TRACEPARENT": "00-1-2-01",
	}
	if diff := cmp.Diff(want, envOf(r, Mount{Pattern: "/api/*", ScriptName: "/api"})); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
}

func TestEnvPaths(t *testing.T) {
	for _, c := range []struct{ target, script, wantScript, wantInfo, wantRaw string }{
		{"/", "", "", "/", "/"},
		{"/a/b", "", "", "/a/b", "/a/b"},
		{"/api", "/api", "/api", "", ""},
		{"/api/", "/api", "/api", "/", "/"},
		{"/api/x%20y", "/api", "/api", "/x y", "/x%20y"},
		{"/apix", "/api", "", "/apix", "/apix"},    // not a segment of its own
		{"/other", "/api", "", "/other", "/other"}, // a rewrite has led out
		{"/a%20b/c", "/a b", "/a b", "/c", "/c"},
	} {
		env := envOf(httptest.NewRequest("GET", c.target, nil), Mount{ScriptName: c.script})
		if got := [3]string{env["SCRIPT_NAME"], env["PATH_INFO"], env["X_RAW_PATH_INFO"]}; got != [3]string{c.wantScript, c.wantInfo, c.wantRaw} {
			t.Errorf("%s under %q: script, info, raw = %q, want %q %q %q", c.target, c.script, got, c.wantScript, c.wantInfo, c.wantRaw)
		}
	}
}

func TestServerName(t *testing.T) {
	for _, c := range []struct{ host, scheme, name, port string }{
		{"a.example", "http", "a.example", "80"},
		{"a.example", "https", "a.example", "443"},
		{"a.example:8080", "http", "a.example", "8080"},
		{"[::1]", "http", "[::1]", "80"},
		{"[::1]:8080", "http", "[::1]", "8080"},
		{"", "http", "", "80"},
	} {
		if name, port := serverName(c.host, c.scheme); name != c.name || port != c.port {
			t.Errorf("serverName(%q, %s) = %q, %q, want %q, %q", c.host, c.scheme, name, port, c.name, c.port)
		}
	}
}

func TestEnvOfChunkedBody(t *testing.T) {
	r := httptest.NewRequest("POST", "/", io.NopCloser(strings.NewReader("x")))
	r.ContentLength = -1
	if v, ok := envOf(r, Mount{})["CONTENT_LENGTH"]; ok {
		t.Errorf("CONTENT_LENGTH = %q for a body of unknown length, want none", v)
	}
}

func TestHeadLimit(t *testing.T) {
	fits := "Content-Type: a/b\nX: " + strings.Repeat("x", MaxHead-25) + "\n\n"
	for _, c := range []struct {
		head string
		ok   bool
	}{{fits, true}, {"Y: " + fits, false}, {strings.Repeat("x", MaxHead+1), false}} {
		x := host.NewExchange(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
		failed := 0
		o := NewOutput(x, func(error) { failed++ })
		_, err := o.Write([]byte(c.head))
		if (err == nil) != c.ok || x.Started() != c.ok {
			t.Errorf("a head of %d bytes: %v, want ok = %v", len(c.head), err, c.ok)
		}
		if err != nil {
			if _, again := o.Write([]byte("x")); again == nil || failed != 1 || o.Close() == nil {
				t.Errorf("after %v: Write = %v, %d calls of fail", err, again, failed)
			}
		}
		x.Close()
	}
}

func TestStatusLineIsExplained(t *testing.T) {
	_, err := ParseHead([]byte("HTTP/1.0 200 OK\r\n\r\n"))
	if !errors.Is(err, ErrHead) || !strings.Contains(err.Error(), "nph-") || !strings.Contains(err.Error(), "Status: 200 OK") {
		t.Errorf("ParseHead of a status line = %v, want ErrHead with what to print", err)
	}
}

// slow is the obvious way to find the end of a head.
func slow(b []byte) int {
	lines := bytes.SplitAfter(b, []byte("\n"))
	end := 0
	for _, l := range lines {
		end += len(l)
		if s := string(l); s == "\n" || s == "\r\n" {
			return end
		}
	}
	return 0
}

// FuzzOutput feeds output in pieces and checks that however it is cut, the response is
// the same, and that no field gets through that a header cannot hold.
func FuzzOutput(f *testing.F) {
	for _, s := range []string{
		"Content-Type: text/plain\n\nbody", "Status: 404 Not Found\r\nContent-Type: a/b\r\n\r\n", "Location: /x\n\n", "\n\n", "\r\n\r\n",
		"Content-Length: 5\nStatus: 200\n\nhello", "a: b\nContent-Type: x\r\n\n\r\nrest", "no colon\n\n", "Status: 1000\n\n", "A\x00: b\n\n",
	} {
		f.Add([]byte(s), uint8(3))
	}
	f.Fuzz(func(t *testing.T, out []byte, size uint8) {
		if end, _ := endOfHead(out, 0); end != slow(out) {
			t.Fatalf("endOfHead(%q) = %d, want %d", out, end, slow(out))
		}
		whole, errWhole := response(out, len(out)+1)
		cut, errCut := response(out, int(size)+1)
		if (errWhole == nil) != (errCut == nil) || errWhole != nil && !errors.Is(errWhole, ErrHead) {
			t.Fatalf("%q: whole %v, in pieces %v", out, errWhole, errCut)
		}
		if errWhole != nil {
			return
		}
		if whole.Code != cut.Code || !bytes.Equal(whole.Body.Bytes(), cut.Body.Bytes()) || !cmp.Equal(whole.Header(), cut.Header()) {
			t.Fatalf("%q: %d %q whole, %d %q in pieces", out, whole.Code, whole.Body, cut.Code, cut.Body)
		}
		for name, values := range whole.Header() {
			if host.Own(name) || slices.ContainsFunc(values, func(v string) bool { return host.CheckField(name, v) != nil }) {
				t.Fatalf("%q: the client gets %s: %q", out, name, values)
			}
		}
	})
}

func response(out []byte, size int) (*httptest.ResponseRecorder, error) {
	w := httptest.NewRecorder()
	x := host.NewExchange(w, httptest.NewRequest("GET", "/", nil))
	defer x.Close()
	o := NewOutput(x, func(error) {})
	for piece := range slices.Chunk(out, size) {
		if _, err := o.Write(piece); err != nil {
			return w, err
		}
	}
	return w, o.Close()
}
