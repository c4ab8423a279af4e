package dispatch

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/orla-edge/orla/telemetry"
)

// TestCertProblemIsLogged: the client is told nothing of a route that wants a certificate,
// the access log is told why no route matched.
func TestCertProblemIsLogged(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	d := newDispatcher(t)
	swap(t, d, 1,
		secured(t, d, 1, "app", ca.tls(), []string{"a.test"}, certRoute("/in", "alice", "in"), respondRoute("/free", "free")),
		secured(t, d, 1, "open", nil, []string{"b.test"}, respondRoute("/free", "free")))
	shown := func(c *tls.Certificate, by *authority) *tls.ConnectionState {
		return &tls.ConnectionState{PeerCertificates: []*x509.Certificate{c.Leaf}, VerifiedChains: [][]*x509.Certificate{{c.Leaf, by.cert}}}
	}
	for _, tt := range []struct {
		name, url string
		tls       *tls.ConnectionState
		status    int
		want      string
	}{
		{"no certificate", "https://a.test/in", new(tls.ConnectionState), 404, `client certificate is missing, want one for "alice"`},
		{"plain HTTP", "http://a.test/in", nil, 404, `client certificate is missing, want one for "alice"`},
		{"another name", "https://a.test/in", shown(ca.client(t, "bob"), ca), 404, `client certificate is for "bob", want "alice"`},
		{"another CA's", "https://a.test/in", shown(other.client(t, "alice"), other), 404, errUntrusted.Error()},
		{"the right one", "https://a.test/in", shown(ca.client(t, "alice"), ca), 200, ""},
		{"no such path", "https://a.test/none", new(tls.ConnectionState), 404, ""},
		{"a route without the condition", "https://a.test/free", new(tls.ConnectionState), 200, ""},
		{"a host that does not ask", "https://b.test/in", new(tls.ConnectionState), 404, ""},
	} {
		var rec telemetry.Request
		r := httptest.NewRequest(http.MethodGet, tt.url, nil)
		if r.TLS = tt.tls; r.TLS != nil {
			r.TLS.ServerName = r.Host
		}
		w := httptest.NewRecorder()
		d.ServeHTTP(w, r.WithContext(telemetry.WithRequest(t.Context(), &rec)))
		said := ""
		if rec.Err != nil {
			said = rec.Err.Error()
		}
		if w.Code != tt.status || said != tt.want {
			t.Errorf("%s: answer %d, logged %q; want %d, %q", tt.name, w.Code, said, tt.status, tt.want)
		}
		if body := w.Body.String(); tt.status == 404 && body != "not found\n" {
			t.Errorf("%s: the client is told %q", tt.name, body)
		}
	}
}
