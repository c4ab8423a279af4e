package peer

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/orla-edge/orla/modules"
)

func frames(blobs ...[]byte) []byte {
	var b []byte
	for _, blob := range blobs {
		b = binary.BigEndian.AppendUint64(b, uint64(len(blob)))
		b = append(b, blob...)
	}
	return b
}

// Whatever a peer sends as frames, what the store has afterwards is right.
func FuzzTakeFrame(f *testing.F) {
	want := []byte("the bytes of a blob")
	f.Add(frames(want))
	f.Add(frames([]byte("the bytes of a blah")))
	f.Add(frames([]byte("short"), want))
	f.Add(binary.BigEndian.AppendUint64(nil, absent))
	f.Add(frames(want)[:12])
	f.Add(binary.BigEndian.AppendUint64(nil, 1<<63))
	dir, err := modules.OpenDir(f.TempDir())
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { dir.Close() })
	fetcher := New(Config{Blobs: dir})
	w := wanted(want)
	f.Fuzz(func(t *testing.T, in []byte) {
		err := fetcher.takeFrame(bufio.NewReader(bytes.NewReader(in)), w)
		right := bytes.HasPrefix(in, frames(want))
		if (err == nil) != right {
			t.Errorf("takeFrame(%q) = %v", in, err)
		}
		if err == nil {
			if err := dir.Verify(w.digest); err != nil {
				t.Error(err)
			}
		}
	})
}

func wanted(b []byte) want {
	return want{digest: modules.Sum(b), size: int64(len(b)), limit: int64(len(b))}
}
