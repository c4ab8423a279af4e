package guests

import "testing"

// Hello is a handler that answers "hello" as text/plain, and does nothing else.
type Hello struct {
	Language string
	Wasm     []byte
}

// Hellos returns such a handler in each language, in stock Go both with package guest
// ("Go net/http") and without ("Go").
func Hellos(t testing.TB) []Hello {
	t.Helper()
	return []Hello{
		{"Go net/http", Go(t, "internal/guests/hello")},
		{"Go", Go(t, "internal/guests/hello/raw")},
		{"C", C(t, "internal/guests/c/hello.c", "-mexec-model=reactor")},
		{"Rust", Rust(t, "internal/guests/rust/hello.rs")},
		{"AssemblyScript", AssemblyScript(t, "internal/guests/assemblyscript/hello.ts", "--use", "abort=")},
	}
}
