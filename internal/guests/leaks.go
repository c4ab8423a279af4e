package guests

import "testing"

// Leak is a handler that leaks state from request to request on purpose.
type Leak struct {
	Language string
	Wasm     []byte
}

// Leaks returns such a handler in each language. It counts its requests, and keeps the
// value of each request's x-secret header. Its answer is
//
//	n=2 seen=17
//
// n is which request this is: 1 in a clean instance. seen is how many bytes of the
// secrets of others it holds: 0 in a clean instance, 4096 at most.
func Leaks(t testing.TB) []Leak {
	t.Helper()
	return []Leak{
		{"Go", Go(t, "internal/guests/leak")},
		{"C", C(t, "internal/guests/c/leak.c", "-mexec-model=reactor")},
		{"Rust", Rust(t, "internal/guests/rust/leak.rs")},
		{"AssemblyScript", AssemblyScript(t, "internal/guests/assemblyscript/leak.ts", "--use", "abort=")},
	}
}
