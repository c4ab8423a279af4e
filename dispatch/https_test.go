package dispatch

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
	"github.com/orla-edge/orla/router"
)

// secured builds a release of a route set that says t about HTTPS.
func secured(t *testing.T, d *Dispatcher, number uint64, name string, tls *orlav1.Tls, hosts []string, routes ...*orlav1.Route) *Release {
	t.Helper()
	r, err := d.Build(t.Context(), Spec{Number: number, Manifest: &orlav1.Manifest{
		Name: name, Kind: orlav1.Kind_KIND_ROUTES, Hosts: hosts, Routes: routes, Tls: tls,
	}})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRedirectsToHTTPS(t *testing.T) {
	d := newDispatcher(t)
	d.cfg.HTTPSPort = 8443
	d.cfg.RedirectHTTPS = func(host string) bool { return host != "bare.test" }
	all := respondRoute("/*", "plain")
	swap(t, d, 1,
		secured(t, d, 1, "silent", nil, []string{"a.test", "bare.test", "localhost", "*.localhost", "10.0.0.1", "[::1]"}, all),
		secured(t, d, 1, "always", &orlav1.Tls{Redirect: new(true)}, []string{"*"}, all),
		secured(t, d, 1, "never", &orlav1.Tls{Redirect: new(false)}, []string{"never.test"}, all))
	for _, tt := range []struct{ name, method, url, location string }{
		{"a host with a certificate", "GET", "http://a.test/x", "https://a.test/x"},
		{"the path as it came", "GET", "http://a.test/a%2Fb//c%20d/", "https://a.test/a%2Fb//c%20d/"},
		{"the query as it came", "GET", "http://a.test/x?b=1&a=%2f+&b", "https://a.test/x?b=1&a=%2f+&b"},
		{"an empty query", "GET", "http://a.test/x?", "https://a.test/x?"},
		{"other methods", "POST", "http://a.test/x", "https://a.test/x"},
		{"HEAD", "HEAD", "http://a.test/x", "https://a.test/x"},
		{"a host in another spelling", "GET", "http://A.Test./x", "https://a.test/x"},
		{"a port", "GET", "http://a.test:8080/x", "https://a.test:8443/x"},
		{"an empty port", "GET", "http://a.test:/x", "https://a.test/x"},
		{"a path that looks like a host", "GET", "http://a.test//b.test/x", "https://a.test//b.test/x"},
		{"the path of challenges", "GET", "http://a.test/.well-known/acme-challenge/token", ""},
		{"beside the path of challenges", "GET", "http://a.test/.well-known/acme-challenges/x", "https://a.test/.well-known/acme-challenges/x"},
		{"a host without a certificate", "GET", "http://bare.test/x", ""},
		{"localhost", "GET", "http://localhost:8080/x", ""},
		{"below localhost", "GET", "http://a.localhost/x", ""},
		{"an address", "GET", "http://10.0.0.1/x", ""},
		{"an IPv6 address", "GET", "http://[::1]:8080/x", ""},
		{"never", "GET", "http://never.test/x", ""},
		{"always: a host without a certificate", "GET", "http://b.test/x", "https://b.test/x"},
		{"always: an address", "GET", "http://10.0.0.2:80/x", "https://10.0.0.2:8443/x"},
		{"always: an IPv6 address", "GET", "http://[::2]:80/x", "https://[::2]:8443/x"},
		{"always: an IPv6 address without a port", "GET", "http://[::2]/x", "https://[::2]/x"},
		{"always: the path of challenges", "GET", "http://b.test/.well-known/acme-challenge/token", ""},
		{"HTTPS", "GET", "https://b.test/x", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			res := do(d, tt.method, tt.url)
			want := http.StatusPermanentRedirect
			if tt.location == "" {
				want = http.StatusOK
			}
			if u, err := url.Parse(tt.url); err == nil && u.Scheme == "http" {
				e := d.Explain(u.Host, &router.Request{Method: tt.method, Path: u.EscapedPath()})
				if got := d.ExplainHTTP(&e, u); got != tt.location {
					t.Errorf("ExplainHTTP(%s) = %q, want %q", tt.url, got, tt.location)
				}
			}
			if got := res.Header.Get("Location"); got != tt.location || res.StatusCode != want {
				t.Errorf("%s %s = %d, to %q, want %d, to %q", tt.method, tt.url, res.StatusCode, got, want, tt.location)
			}
		})
	}
	d.cfg.HTTPSPort = 443
	if got := do(d, "GET", "http://a.test:8080/x").Header.Get("Location"); got != "https://a.test/x" {
		t.Errorf("Location with the port 443 = %q, want https://a.test/x", got)
	}
	d.cfg.RedirectHTTPS = nil
	if got := do(d, "GET", "http://a.test/x").StatusCode; got != http.StatusOK {
		t.Errorf("without RedirectHTTPS = %d, want 200", got)
	}
	d.cfg.HTTPSPort = 0
	if got := do(d, "GET", "http://b.test/x").StatusCode; got != http.StatusOK {
		t.Errorf("without a port for HTTPS = %d, want 200", got)
	}
}

func TestRedirectComesBeforeSplits(t *testing.T) {
	d := newDispatcher(t)
	d.cfg.HTTPSPort = 443
	tls := &orlav1.Tls{Redirect: new(true)}
	one := secured(t, d, 1, "app", tls, []string{"a.test"}, respondRoute("/*", "1"))
	two := secured(t, d, 2, "app", tls, []string{"a.test"}, respondRoute("/*", "2"))
	if err := d.Swap(1, []Group{{{one, 5000}, {two, 5000}}}, nil); err != nil {
		t.Fatal(err)
	}
	if res := do(d, "GET", "http://a.test/"); res.StatusCode != 308 || res.Header.Get("Set-Cookie") != "" {
		t.Errorf("answer = %d with the cookie %q, want 308 without", res.StatusCode, res.Header.Get("Set-Cookie"))
	}
}

func TestHSTS(t *testing.T) {
	d := newDispatcher(t)
	day := durationpb.New(24 * time.Hour)
	own := respondRoute("/own", "x")
	own.Headers = &orlav1.HeaderChanges{Add: []*orlav1.Field{{Name: fieldHSTS, Value: "max-age=1"}}}
	loop := &orlav1.Route{Match: &orlav1.Match{Path: "/loop"}, Rewrite: "/loop"}
	routes := []*orlav1.Route{respondRoute("/a", "x"), own, loop}
	swap(t, d, 1,
		secured(t, d, 1, "plain", nil, []string{"plain.test"}, routes...),
		secured(t, d, 1, "hsts", &orlav1.Tls{Hsts: &orlav1.Hsts{MaxAge: day}}, []string{"*", "localhost"}, routes...),
		secured(t, d, 1, "all", &orlav1.Tls{Hsts: &orlav1.Hsts{MaxAge: day, IncludeSubdomains: true, Preload: true}}, []string{"all.test"}, routes...),
		secured(t, d, 1, "forget", &orlav1.Tls{Hsts: &orlav1.Hsts{MaxAge: new(durationpb.Duration)}}, []string{"forget.test"}, routes...))
	for _, tt := range []struct {
		name, url string
		status    int
		want      string
	}{
		{"an answer", "https://a.test/a", 200, "[max-age=86400]"},
		{"one field, the release's", "https://a.test/own", 200, "[max-age=86400]"},
		{"no route", "https://a.test/none", 404, "[max-age=86400]"},
		{"an error", "https://a.test/loop", 508, "[max-age=86400]"},
		{"subdomains and lists", "https://all.test/a", 200, "[max-age=86400; includeSubDomains; preload]"},
		{"take it back", "https://forget.test/a", 200, "[max-age=0]"},
		{"not over plain HTTP", "http://a.test/a", 200, "[]"},
		{"not for addresses", "https://10.0.0.1/a", 200, "[]"},
		{"not for IPv6 addresses", "https://[::1]:8443/a", 200, "[]"},
		{"not for localhost", "https://localhost/a", 200, "[]"},
		{"not below localhost", "https://a.localhost/a", 200, "[]"},
		{"not without", "https://plain.test/a", 200, "[]"},
		{"a route's own without", "https://plain.test/own", 200, "[max-age=1]"},
	} {
		res := do(d, "GET", tt.url)
		if got := fmt.Sprint(res.Header[fieldHSTS]); res.StatusCode != tt.status || got != tt.want {
			t.Errorf("%s: %s = %d %s, want %d %s", tt.name, tt.url, res.StatusCode, got, tt.status, tt.want)
		}
	}
}

func TestHSTSWithASplit(t *testing.T) {
	d := newDispatcher(t)
	tls := &orlav1.Tls{Hsts: &orlav1.Hsts{MaxAge: durationpb.New(time.Hour)}}
	one := secured(t, d, 1, "app", tls, []string{"a.test"}, respondRoute("/*", "1"))
	two := secured(t, d, 2, "app", tls, []string{"a.test"}, respondRoute("/*", "2"))
	if err := d.Swap(1, []Group{{{one, 5000}, {two, 5000}}}, nil); err != nil {
		t.Fatal(err)
	}
	h := do(d, "GET", "https://a.test/").Header
	if h.Get(fieldHSTS) != "max-age=3600" || !strings.HasPrefix(h.Get("Set-Cookie"), cookieName) || h.Get("Vary") != "Cookie" {
		t.Errorf("headers = %v, want HSTS and the split's", h)
	}
}

// over returns the status of a request over a connection that was made for sni.
func over(d *Dispatcher, sni, url string) int {
	r := httptest.NewRequest("GET", url, nil)
	r.TLS.ServerName = sni
	w := httptest.NewRecorder()
	d.ServeHTTP(w, r)
	return w.Code
}

func TestMisdirected(t *testing.T) {
	d := newDispatcher(t)
	swap(t, d, 1,
		secured(t, d, 1, "one", nil, []string{"a.test", "*.a.test"}, respondRoute("/*", "x")),
		secured(t, d, 1, "two", nil, []string{"b.test", "localhost"}, respondRoute("/*", "x")))
	for _, tt := range []struct {
		sni, url string
		want     int
	}{
		{"a.test", "https://a.test/", 200},
		{"a.test", "https://A.test.:8443/", 200},
		{"A.TEST", "https://a.test/", 200},
		{"a.test", "https://x.a.test/", 200}, // of the same app
		{"x.a.test", "https://a.test/", 200},
		{"", "https://a.test/", 200}, // none, as with an address
		{"localhost", "https://a.test/", 200},
		{"x.localhost", "https://a.test/", 200},
		{"b.test", "https://a.test/", 421},
		{"B.test", "https://a.test/", 421},
		{"a.test", "https://b.test/", 421},
		{"x.a.test", "https://localhost/", 421},
		{"gone.test", "https://a.test/", 421}, // an app that is removed
		{"a.test", "https://nobody.test/", 404},
	} {
		if got := over(d, tt.sni, tt.url); got != tt.want {
			t.Errorf("%s over a connection for %q = %d, want %d", tt.url, tt.sni, got, tt.want)
		}
	}
}

func TestOnDemand(t *testing.T) {
	d := newDispatcher(t)
	on, route := &orlav1.Tls{OnDemand: true}, respondRoute("/*", "x")
	swap(t, d, 1,
		secured(t, d, 1, "on", on, []string{"a.test", "*.a.test", "*"}, route),
		secured(t, d, 1, "off", nil, []string{"b.test"}, route))
	if err := d.Swap(2, []Group{{
		{secured(t, d, 1, "split", nil, []string{"s.test"}, route), 9999},
		{secured(t, d, 2, "split", on, []string{"s.test"}, route), 1},
	}}, nil); err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]bool{
		"a.test": true, "x.a.test": false, "*.a.test": false, "*": false, "other.test": false, "": false, ".a.test": false, "b.test": false, "s.test": true,
	} {
		if got := d.OnDemand(host); got != want {
			t.Errorf("OnDemand(%q) = %t, want %t", host, got, want)
		}
	}
}

func BenchmarkServe(b *testing.B) {
	d := New(Config{Node: "n1"})
	defer d.Close()
	r, err := d.Build(b.Context(), Spec{Number: 1, Manifest: &orlav1.Manifest{
		Name: "app", Kind: orlav1.Kind_KIND_ROUTES, Hosts: []string{"a.test"}, Routes: []*orlav1.Route{respondRoute("/*", "")},
	}})
	if err != nil {
		b.Fatal(err)
	}
	if err := d.Swap(1, groups(r), nil); err != nil {
		b.Fatal(err)
	}
	request := httptest.NewRequest("GET", "https://a.test/", nil)
	request.TLS.ServerName = "a.test"
	w := httptest.NewRecorder()
	b.ReportAllocs()
	for b.Loop() {
		d.ServeHTTP(w, request)
	}
}
