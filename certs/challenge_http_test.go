package certs

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestServeChallenges(t *testing.T) {
	known := map[string]string{"shop.example tok_En-1": "tok_En-1.thumbprint", "10.0.0.1 ip": "ip.thumbprint", "::1 ip": "ip6.thumbprint"}
	answer := func(_ context.Context, host, token string) (string, bool) {
		keyAuth, ok := known[host+" "+token]
		return keyAuth, ok
	}
	const none = "404 no such challenge\n"
	for _, tt := range []struct{ name, method, url, want string }{
		{"a challenge", "GET", "http://shop.example/.well-known/acme-challenge/tok_En-1", "200 tok_En-1.thumbprint"},
		{"a head", "HEAD", "http://shop.example/.well-known/acme-challenge/tok_En-1", "200 "},
		{"over HTTPS", "GET", "https://shop.example/.well-known/acme-challenge/tok_En-1", "200 tok_En-1.thumbprint"},
		{"with a port and in another spelling", "GET", "http://SHOP.example.:8080/.well-known/acme-challenge/tok_En-1", "200 tok_En-1.thumbprint"},
		{"an address", "GET", "http://10.0.0.1:80/.well-known/acme-challenge/ip", "200 ip.thumbprint"},
		{"an IPv6 address", "GET", "http://[::1]:80/.well-known/acme-challenge/ip", "200 ip6.thumbprint"},
		{"an IPv6 address without port", "GET", "http://[::1]/.well-known/acme-challenge/ip", "200 ip6.thumbprint"},
		{"with a query", "GET", "http://shop.example/.well-known/acme-challenge/tok_En-1?x", "200 tok_En-1.thumbprint"},

		{"another host", "GET", "http://other.example/.well-known/acme-challenge/tok_En-1", none},
		{"another token", "GET", "http://shop.example/.well-known/acme-challenge/other", none},
		{"no token", "GET", "http://shop.example/.well-known/acme-challenge/", none},
		{"a path as token", "GET", "http://shop.example/.well-known/acme-challenge/tok_En-1/x", none},
		{"an encoded slash", "GET", "http://shop.example/.well-known/acme-challenge%2Fother", none},
		{"other escapes", "GET", "http://shop.example/%2Ewell-known/acme%2Dchallenge/other", none},
		{"beyond ASCII", "GET", "http://shop.example/.well-known/acme-challenge/t%C3%B6ken", none},
		{"an escaped token", "GET", "http://shop.example/.well-known/acme-challenge/tok%2FEn", none},
		{"a long token", "GET", "http://shop.example/.well-known/acme-challenge/" + strings.Repeat("a", 300), none},
		{"POST", "POST", "http://shop.example/.well-known/acme-challenge/tok_En-1", none},
		{"OPTIONS", "OPTIONS", "http://shop.example/.well-known/acme-challenge/tok_En-1", none},

		{"beside it", "GET", "http://shop.example/.well-known/acme-challenge", "418 next"},
		{"in another spelling", "GET", "http://shop.example/.well-known/ACME-challenge/tok_En-1", "418 next"},
		{"beside it, longer", "GET", "http://shop.example/.well-known/acme-challenges/tok_En-1", "418 next"},
		{"below another path", "GET", "http://shop.example/x/.well-known/acme-challenge/tok_En-1", "418 next"},
		{"another path", "GET", "http://shop.example/", "418 next"},
	} {
		next := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusTeapot)
			_, _ = io.WriteString(w, "next")
		})
		for kind, f := range map[string]func(context.Context, string, string) (string, bool){"": answer, ", nothing to answer": nil} {
			w := httptest.NewRecorder()
			ServeChallenges(f, next).ServeHTTP(w, httptest.NewRequest(tt.method, tt.url, nil))
			want := tt.want
			if f == nil && strings.HasPrefix(want, "200 ") {
				want = none
				if tt.method == http.MethodHead {
					want = "404 "
				}
			}
			res := w.Result()
			body, _ := io.ReadAll(res.Body)
			if got := res.Status[:4] + string(body); got != want {
				t.Errorf("%s%s: %s %s = %q, want %q", tt.name, kind, tt.method, tt.url, got, want)
			}
			if media := res.Header.Get("Content-Type"); res.StatusCode != http.StatusTeapot && !strings.HasPrefix(media, "text/plain") {
				t.Errorf("%s%s: %s is sent as %q, want text/plain", tt.name, kind, tt.url, media)
			}
		}
	}
}
