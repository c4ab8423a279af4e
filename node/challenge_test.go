package node

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// TestReserved: no route sees the path of challenges, in whichever way it is written.
func TestReserved(t *testing.T) {
	const routed = http.StatusTeapot
	h := new(Node).reserved(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(routed) }))
	for _, tt := range []struct {
		method, target string
		want           int
	}{
		{"GET", "/.well-known/acme-challenge/token", http.StatusNotFound},
		{"POST", "/.well-known/acme-challenge/token", http.StatusNotFound},
		{"GET", "/.well-known/acme-challenge/", http.StatusNotFound},
		{"GET", "/.well-known/acme-challenge/a/b", http.StatusNotFound},
		{"GET", "/.well-known/acme-challenge%2Ftoken", http.StatusNotFound},
		{"GET", "/%2Ewell-known/acme%2Dchallenge/token", http.StatusNotFound},
		{"GET", "/.well-known/acme-challenge", routed},
		{"GET", "/.well-known/acme-challenges/token", routed},
		{"GET", "/x/.well-known/acme-challenge/token", routed},
		{"GET", "/", routed},
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(tt.method, "http://a.example"+tt.target, http.NoBody))
		if w.Code != tt.want {
			t.Errorf("%s %s = %d, want %d", tt.method, tt.target, w.Code, tt.want)
		}
	}
}

func TestValidToken(t *testing.T) {
	for token, want := range map[string]bool{
		"LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0": true, "a-_9": true,
		"": false, "a.b": false, "a/b": false, "ä": false, string(make([]byte, 257)): false,
	} {
		if got := validToken(token); got != want {
			t.Errorf("validToken(%q) = %t, want %t", token, got, want)
		}
	}
}
