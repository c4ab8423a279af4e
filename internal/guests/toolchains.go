package guests

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// rustTarget is Rust's bare target: what a handler needs it imports from its host.
const rustTarget = "wasm32-unknown-unknown"

// Rust returns the http-wasm handler in the Rust file at path, which is relative to the
// module's root, built with the standard library and no crates.
func Rust(t testing.TB, path string, flags ...string) []byte {
	t.Helper()
	source := filepath.Join(Root(t), path)
	rustc := Rustc(t)
	key := append([]string{"rust", version(t, rustc)}, flags...)
	return cached(t, key, []string{source}, func(out string) *exec.Cmd {
		args := []string{"--edition=2021", "--target=" + rustTarget, "--crate-type=cdylib", "-O", "-Cstrip=symbols", "-Dwarnings", "-o", out}
		cmd := exec.CommandContext(t.Context(), rustc, append(append(args, flags...), source)...)
		cmd.Dir = t.TempDir() // for intermediate files
		return cmd
	})
}

// Rustc returns the path of a rustc that has the standard library for WebAssembly: the
// one in PATH, or that of the distribution, which a rustup may hide.
func Rustc(t testing.TB) string {
	t.Helper()
	for _, rustc := range []string{"rustc", "/usr/bin/rustc"} {
		out, err := exec.CommandContext(t.Context(), rustc, "--print=target-libdir", "--target="+rustTarget).Output()
		if err != nil {
			continue
		}
		if _, err := os.Stat(strings.TrimSpace(string(out))); err == nil {
			path, err := exec.LookPath(rustc)
			if err != nil {
				t.Fatal(err)
			}
			return path
		}
	}
	t.Fatalf("guests: no rustc with a standard library for %s; run make deps, or: rustup target add %s", rustTarget, rustTarget)
	return ""
}

func version(t testing.TB, compiler string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), compiler, "--version").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// AssemblyScript returns the module in the AssemblyScript file at path, which is
// relative to the module's root.
func AssemblyScript(t testing.TB, path string, flags ...string) []byte {
	t.Helper()
	source := filepath.Join(Root(t), path)
	asc := installed(t, "assemblyscript/bin/asc.js")
	key := append([]string{"assemblyscript"}, flags...)
	return cached(t, key, []string{source, lockFile(t)}, func(out string) *exec.Cmd {
		args := append([]string{asc, filepath.Base(source), "-O", "--outFile", out}, flags...)
		cmd := exec.CommandContext(t.Context(), "node", args...)
		cmd.Dir = filepath.Dir(source) // it takes no absolute path
		return cmd
	})
}
