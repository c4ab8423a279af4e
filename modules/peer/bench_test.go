package peer_test

import (
	"testing"

	"github.com/orla-edge/orla/modules"
	"github.com/orla-edge/orla/modules/peer"
)

// BenchmarkEnsure fetches from a node on the loopback into an empty store.
func BenchmarkEnsure(b *testing.B) {
	tests := []struct {
		name  string
		count int
		size  int
	}{
		{"10000x4KiB", 10_000, 4 << 10},
		{"1x200MiB", 1, 200 << 20},
	}
	for _, tt := range tests {
		b.Run(tt.name, func(b *testing.B) {
			id := identity(b)
			contents := make([][]byte, tt.count)
			blobs := make([]peer.Blob, tt.count)
			for i := range contents {
				contents[i] = noise(tt.size)
				blobs[i] = blob(contents[i])
			}
			base, _ := node(b, id, contents...)
			c := client(b, id)
			b.SetBytes(int64(tt.count) * int64(tt.size))
			for b.Loop() {
				b.StopTimer()
				dir, err := modules.OpenDir(b.TempDir())
				if err != nil {
					b.Fatal(err)
				}
				f := peer.New(peer.Config{Blobs: dir, Client: c, Peers: func() []string { return []string{base} }})
				b.StartTimer()
				if err := f.Ensure(b.Context(), blobs); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				dir.Close()
				b.StartTimer()
			}
		})
	}
}
