package main

import (
	"log/slog"
	"net/http/httptest"
	"testing"

	"go.uber.org/goleak"

	"github.com/orla-edge/orla/internal/guests/example"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestExample(t *testing.T) {
	t.Run("natively", func(t *testing.T) {
		srv := httptest.NewServer(newHandler("hello", slog.New(slog.DiscardHandler)))
		defer srv.Close()
		check(t, srv.URL)
	})
	t.Run("as a guest", func(t *testing.T) {
		t.Setenv("GOFLAGS", "-buildvcs=false") // the same module in every commit
		check(t, example.Serve(t, ".", true))
	})
}

func check(t *testing.T, url string) {
	t.Helper()
	example.Check(t, url, []example.Case{
		{Method: "GET", Path: "/hello/world", Status: 200, Want: "hello, world\n"},
		{Method: "POST", Path: "/sum", Body: "[1, 2, 3.5]", Status: 200, Want: `{"sum":6.5}`},
		{Method: "POST", Path: "/sum", Body: "one", Status: 400, Want: "want a JSON array"},
		{Method: "GET", Path: "/count", Status: 200, Want: "data: 1\n\ndata: 2\n\ndata: 3\n\n"},
		{Method: "POST", Path: "/upper", Body: "hello", Status: 200, Want: "HELLO"},
		{Method: "GET", Path: "/", Status: 200, Want: "try /hello/NAME"},
		{Method: "DELETE", Path: "/sum", Status: 405, Want: "Method Not Allowed"},
	})
}
