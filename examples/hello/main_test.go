package main

import (
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestRoutes(t *testing.T) {
	t.Setenv("GREETING", "Olá")
	tests := []struct {
		method, url, body string
		status            int
		want              string
	}{
		{"GET", "/api/hello", "", 200, `"greeting":"Olá, stranger!"`},
		{"GET", "/api/hello?name=Ada", "", 200, `"greeting":"Olá, Ada!"`},
		{"GET", "/api/hello/Ada", "", 200, `"greeting":"Olá, Ada!"`},
		{"POST", "/api/hello", "", 405, "Method Not Allowed"},
		{"POST", "/api/shout", "hi there", 200, "HI THERE"},
		{"POST", "/api/shout", strings.Repeat("a", maxText+1), 413, "64 KiB"},
		{"GET", "/api/nothing", "", 404, "not found"},
	}
	for _, tt := range tests {
		w := httptest.NewRecorder()
		routes(slog.New(slog.DiscardHandler)).ServeHTTP(w, httptest.NewRequest(tt.method, tt.url, strings.NewReader(tt.body)))
		if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.want) {
			t.Errorf("%s %s = %d %q, want %d with %q", tt.method, tt.url, w.Code, w.Body, tt.status, tt.want)
		}
	}
}
