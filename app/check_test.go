package app_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"go.uber.org/goleak"

	"github.com/orla-edge/orla/app"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	moduleBytes    = "\x00asm\x01\x00\x00\x00"
	componentBytes = "\x00asm\x0d\x00\x01\x00"
)

// unpack writes an archive's files into an app's folder and makes it the current
// one. It returns what is under "want".
func unpack(t *testing.T, archive *txtar.Archive) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "My Shop!")
	want := ""
	for _, f := range archive.Files {
		switch content := strings.TrimSuffix(string(f.Data), "\n"); {
		case f.Name == "want":
			want = content
		case content == "MODULE":
			write(t, filepath.Join(dir, f.Name), moduleBytes)
		case content == "COMPONENT":
			write(t, filepath.Join(dir, f.Name), componentBytes)
		default:
			write(t, filepath.Join(dir, f.Name), string(f.Data))
		}
	}
	t.Chdir(dir)
	return want
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestCheck(t *testing.T) {
	archives, err := filepath.Glob("testdata/check/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatalf("no archives: %v", err)
	}
	for _, path := range archives {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			want := unpack(t, archive)
			got := ""
			if err := app.Check(t.Context(), "."); err != nil {
				got = err.Error()
			}
			if got != want {
				t.Errorf("Check says\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// The messages are release's own; where they point is app's part.
func TestCheckPlacesWhatReleaseFinds(t *testing.T) {
	dir := tree(t, map[string]string{"a.wasm": moduleBytes, "orla.toml": `name = "Shop"
hosts = [
  "a.example",
  "bad host",
]

[functions.api]
module = "a.wasm"
routes = [
  "/ok",
  "/{bad",
]

[[routes]]
match = { path = "/x", methods = ["GET", "BAD METHOD"] }
respond = {}

[[routes]]
respond = {
  status = 99 }

[[routes]]
match = { path = "/z" }
function = "apj"
`})
	err := app.Check(t.Context(), dir)
	problems, ok := errors.AsType[app.Problems](err)
	if !ok {
		t.Fatalf("Check = %v", err)
	}
	var lines []int
	for _, p := range problems {
		lines = append(lines, p.Line)
	}
	if want := []int{1, 4, 11, 15, 20, 24}; !slices.Equal(lines, want) {
		t.Errorf("problems in lines %v, want %v:\n%v", lines, want, err)
	}
}
