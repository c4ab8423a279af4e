package ccgi_test

import (
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/orla-edge/orla/internal/guests"
	"github.com/orla-edge/orla/internal/guests/example"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestExample(t *testing.T) {
	t.Setenv("PATH", filepath.Dir(guests.Zig(t))+string(os.PathListSeparator)+os.Getenv("PATH"))
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(".")); err != nil {
		t.Fatal(err)
	}
	example.Check(t, example.Serve(t, dir, true), []example.Case{
		{Method: "GET", Path: "/a%3Cb?x=1", Status: 200, Want: "<code>/a&lt;b</code>, with the query <code>x=1</code>"},
		{Method: "GET", Path: "/", Status: 200, Want: "<h1>Hello from C</h1>"},
		{Method: "POST", Path: "/count", Body: "one\ntwo\n", Status: 200, Want: `{"bytes": 8, "lines": 2}`},
		{Method: "GET", Path: "/count", Status: 405, Want: "send"},
		{Method: "GET", Path: "/old", Status: 200, Want: "<code>/new</code>"}, // the client follows
	})
}
