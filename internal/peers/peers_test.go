package peers_test

import (
	"io"
	"net/http"
	"testing"

	"github.com/orla-edge/orla/internal/peers"
)

// BenchmarkHello sends one request after the other over one connection. It is no test:
// tests don't install peers.
func BenchmarkHello(b *testing.B) {
	for _, peer := range []struct {
		name  string
		start func(testing.TB) string
	}{
		{"workerd", peers.Workerd},
		{"wasmtime", peers.Wasmtime},
	} {
		b.Run(peer.name, func(b *testing.B) {
			url := peer.start(b)
			defer http.DefaultClient.CloseIdleConnections()
			for b.Loop() {
				hello(b, url)
			}
		})
	}
}

func hello(b *testing.B, url string) {
	resp, err := http.Get(url)
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); string(body) != "hello" || resp.StatusCode != 200 || err != nil {
		b.Fatalf("%d %q, %v", resp.StatusCode, body, err)
	}
}
