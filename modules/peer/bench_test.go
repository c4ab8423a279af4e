package peer_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

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

// BenchmarkEnsureAll asks for blobs that are all there already, as the second deploy of a
// release does for nearly all of its own. They were stored some minutes ago.
func BenchmarkEnsureAll(b *testing.B) {
	root := b.TempDir()
	dir, err := modules.OpenDir(root)
	if err != nil {
		b.Fatal(err)
	}
	defer dir.Close()
	blobs := make([]peer.Blob, 2000)
	for i := range blobs {
		content := noise(1 << 10)
		blobs[i] = blob(content)
		if _, err := dir.Put(content); err != nil {
			b.Fatal(err)
		}
	}
	f := peer.New(peer.Config{Blobs: dir})
	for b.Loop() {
		b.StopTimer()
		ago := time.Now().Add(-5 * time.Minute)
		for _, bl := range blobs {
			hex := bl.Digest.Hex()
			if err := os.Chtimes(filepath.Join(root, "sha256", hex[:2], hex[2:]), ago, ago); err != nil {
				b.Fatal(err)
			}
		}
		b.StartTimer()
		if err := f.Ensure(b.Context(), blobs); err != nil {
			b.Fatal(err)
		}
	}
}
