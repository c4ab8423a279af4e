package peer_test

import (
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/orla-edge/orla/modules"
	"github.com/orla-edge/orla/modules/peer"
)

func unclaimed(modules.Digest) bool { return false }

// Until a release that needs them is live nobody claims the blobs that were
// fetched for it: their age alone protects them.
func TestFetchedBlobsAreNotCollected(t *testing.T) {
	id := identity(t)
	contents, blobs := small(200)
	contents = append(contents, noise(2<<20))
	blobs = append(blobs, blob(contents[200]))
	base, _ := node(t, id, contents...)
	f, dir, root := fetcher(t, id, base)
	long := time.Now().Add(-48 * time.Hour)
	for _, c := range contents[:50] { // the release before it had them, long ago
		digest, err := dir.Put(c)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(filepath.Join(root, "sha256", digest.Hex()[:2], digest.Hex()[2:]), long, long); err != nil {
			t.Fatal(err)
		}
	}
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			if _, _, err := dir.Collect(unclaimed, time.Now().Add(-time.Hour)); err != nil {
				t.Error(err)
			}
			select {
			case <-done:
				return
			default:
			}
		}
	})
	err := f.Ensure(t.Context(), blobs)
	close(done)
	wg.Wait()
	if err != nil {
		t.Fatal(err)
	}
	if n, _, err := dir.Collect(unclaimed, time.Now().Add(-time.Hour)); n > 0 || err != nil {
		t.Errorf("Collect of what is older than an hour = %d, %v, want none", n, err)
	}
	verify(t, dir, blobs...)
}

// A transfer may take longer than blobs are left alone: then what was collected
// meanwhile is fetched again before Ensure returns.
func TestBlobsCollectedDuringATransferAreFetchedAgain(t *testing.T) {
	id := identity(t)
	early, late := noise(1<<20), noise(1<<20)
	src, _ := store(t)
	src.Put(early)
	src.Put(late)
	handler := peer.NewHandler(src, peer.Limits{})
	dir, _ := store(t)
	var asked atomic.Int64
	base := serve(t, id, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) == 2 {
			if n, _, err := dir.Collect(unclaimed, time.Now().Add(time.Hour)); n != 1 || err != nil {
				t.Errorf("Collect = %d, %v, want the first blob", n, err)
			}
		}
		handler.ServeHTTP(w, r)
	}))
	f := peer.New(peer.Config{Blobs: dir, Client: client(t, id), Parallel: 1, Peers: func() []string { return []string{base} }})
	if err := f.Ensure(t.Context(), []peer.Blob{blob(early), blob(late)}); err != nil {
		t.Fatal(err)
	}
	verify(t, dir, blob(early), blob(late))
}
